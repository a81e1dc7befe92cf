"""The arranging stage: from a prompt and references to where each reference sounds."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from .errors import InputError
from .language.layout import Layout, lay_out
from .language.mentions import Similarity
from .language.merge import merge
from .language.prompt import read_prompt
from .networks.arranger import (
    Arranger,
    ArrangerOutput,
    predict,
)
from .networks.arranger_timeline import decode_timeline, default_timeline, nothing_missing
from .scene.reference import Reference
from .scene.timeline import MISSING, ArrangedReference, Arrangement, Placement, Placements


class Tokens(NamedTuple):
    """Token features [..., L, D] of texts and their mask [..., L] (True = token)."""

    features: Tensor
    mask: Tensor


def check_missing(missing: str) -> None:
    """Refuse anything but the choices of `MISSING`."""
    if missing not in MISSING:
        raise InputError(f"missing: expected one of {', '.join(MISSING)}, found {missing!r}")


def arrange_references(
    references: Sequence[Reference],
    seconds: float,
    missing: str,
    grid: float,
    prompt: Tokens | None,
    captions: Tokens,
    arranger: Arranger | None,
    text: str = "",
    similarity: Similarity | None = None,
) -> Arrangement:
    """Where each reference sounds: as the user has fixed it, else as the prompt states it, else as
    the trained arranger understands it.

    Parameters
    ----------
    references
        With their fixed placements, if any.
    seconds
        Length of the target.
    missing
        One of `MISSING`.
    grid
        The arranger's starts are whole multiples of this, in seconds.
    prompt
        Encoded prompt [n L, D], in n windows of L tokens; None if there is none to read.
    captions
        Encoded captions [K, L, D].
    arranger
        None places the references back to back.
    text, similarity
        The prompt as written, and cosines of texts by the text encoder; without `similarity` only
        the trained arranger reads the prompt.
    """
    fixed = [r.fixed_placements(seconds, f"reference {i + 1}") for i, r in enumerate(references)]
    active = [k for k, reference in enumerate(references) if reference.active]
    lengths = [references[k].seconds for k in active]
    open_places = any(fixed[k] is None for k in active)
    read: list[tuple] = [()] * len(active)
    complete: bool | None = None
    # One pass of the network answers both questions: where, and whether anything else is wanted.
    if active and arranger is not None and prompt is not None:
        if open_places or missing == "auto":
            rows = Tokens(captions.features[active], captions.mask[active])
            outs = [predict(arranger, *w, *rows, lengths, seconds) for w in _windows(prompt, rows)]
            read, complete = _strongest(outs, lengths, seconds, grid)
    elif open_places:
        unset = [k for k in active if fixed[k] is None]
        guess = dict(
            zip(unset, default_timeline([references[k].seconds for k in unset], seconds, grid))
        )
        read = [guess.get(k, ()) for k in active]
    reasons = [""] * len(references)
    warnings: tuple[str, ...] = ()
    if active and open_places and prompt is not None and similarity is not None:
        layout = _read_text(
            text,
            [references[k] for k in active],
            seconds,
            similarity,
            None if complete is None else read,
        )
        read = [tuple(places or ()) for places in layout.places]
        warnings = _renumbered(layout.warnings, active, fixed)
        for k, reason in zip(active, layout.reasons):
            reasons[k] = reason
    arranged = [
        _arranged(
            reference,
            fixed[k],
            read[active.index(k)] if k in active else (),
            complete is not None or bool(reasons[k]),
            reasons[k],
        )
        for k, reference in enumerate(references)
    ]
    resolved = _resolve(missing, bool(active), complete)
    return Arrangement(seconds, tuple(arranged), resolved, warnings)


def _windows(prompt: Tokens, captions: Tokens) -> list[Tokens]:
    """A prompt's windows, each as long as the network was trained on."""
    size = captions.features.shape[-2]
    pairs = zip(prompt.features.split(size), prompt.mask.split(size))
    return [Tokens(features, mask) for features, mask in pairs if mask.any()]


def _strongest(
    outs: Sequence[ArrangerOutput], lengths: Sequence[float], seconds: float, grid: float
) -> tuple[list[tuple], bool]:
    """Each reference as in the window that asks for it most, and whether no window asks for more
    than the references.
    """
    timelines = [decode_timeline(out, lengths, seconds, grid) for out in outs]
    best = torch.stack([out.occurs[0] for out in outs]).argmax(0).tolist()
    return [timelines[w][k] for k, w in enumerate(best)], all(map(nothing_missing, outs))


def _read_text(
    text: str,
    references: Sequence[Reference],
    seconds: float,
    similarity: Similarity,
    network: Sequence[Sequence[Placement]] | None,
) -> Layout:
    """What the prompt states, and the network's answer for what it leaves open."""
    names = [r.name for r in references]
    asked = None if network is None else [bool(places) for places in network]
    reading = read_prompt(text, [r.caption for r in references], seconds, similarity, names, asked)
    lengths = [r.seconds for r in references]
    return merge(reading, lay_out(reading, lengths), network, lengths)


def _renumbered(
    warnings: Sequence[str], active: Sequence[int], fixed: Sequence[Placements]
) -> tuple[str, ...]:
    """Warnings about references as they are numbered from outside, without those set by hand."""
    kept = []
    for warning in warnings:
        match = re.match(r"reference (\d+)(.*)", warning)
        if match is None:
            kept.append(warning)
        elif fixed[k := active[int(match[1]) - 1]] is None:
            kept.append(f"reference {k + 1}{match[2]}")
    return tuple(kept)


def check_arrangement(
    arrangement: Arrangement, references: Sequence[Reference], name: str = "arrangement"
) -> Arrangement:
    """An arrangement from outside, fitted to the references that it is for.

    Raises
    ------
    InputError
        If it is for another number of references, or a placement starts outside the target.
    """
    if len(arrangement.references) != len(references):
        raise InputError(
            f"{name}: holds {len(arrangement.references)} references, expected {len(references)}; "
            "arrange these references again"
        )
    fitted = []
    for k, (arranged, reference) in enumerate(zip(arrangement.references, references), 1):
        given = replace(reference, placements=arranged.placements if arranged.used else ())
        places = given.fixed_placements(arrangement.seconds, f"{name}: reference {k}")
        fitted.append(replace(arranged, used=arranged.used and places != (), placements=places))
    return replace(arrangement, references=tuple(fitted))


def _arranged(
    reference: Reference, fixed: Placements, read: tuple, by_arranger: bool, why: str = ""
) -> ArrangedReference:
    caption = reference.caption
    if not reference.active:
        return ArrangedReference(caption, False, fixed or (), "its strength is 0")
    if fixed is not None:
        return ArrangedReference(caption, bool(fixed), fixed, "set by hand")
    if not by_arranger:
        return ArrangedReference(caption, True, read, "placed in the order given")
    reason = "placed by the arranger" if read else "not asked for by the prompt"
    return ArrangedReference(caption, bool(read), read, why or reason)


def _resolve(missing: str, any_active: bool, complete: bool | None) -> str:
    """`missing` without `auto`; where no reference is active the network makes everything."""
    if not any_active:
        return "generate"
    if missing != "auto":
        return missing
    return "generate" if complete is False else "silence"
