"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..scene.timeline import MISSING_CHOICES, Placement, parse_starts

if TYPE_CHECKING:
    from ..scene.reference import Reference


class _ReferenceOption(argparse.Action):
    """`--reference FILE CAPTION` opens a reference; `--at`, `--for`, `--strength`, `--gain`,
    `--begin`, `--end` and `--whole` belong to the last.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        references = list(getattr(namespace, "references", None) or [])
        if option_string == "--reference":
            references.append(
                {
                    "file": values[0],
                    "caption": values[1],
                    "starts": [],
                    "for": None,
                    "strength": 1.0,
                    "gain": 0.0,
                    "begin": 0.0,
                    "end": None,
                    "whole": False,
                }
            )
        elif not references:
            parser.error(
                f"{option_string} belongs to the --reference before it; put a --reference first"
            )
        elif option_string == "--at":
            references[-1]["starts"] += values or []
        elif option_string == "--whole":
            references[-1]["whole"] = True
        else:
            references[-1][option_string.lstrip("-")] = values
        namespace.references = references


def _starts(text: str) -> tuple[float, ...] | None:
    try:
        return parse_starts(text, "--at")
    except InputError as error:
        # argparse names the option itself.
        raise argparse.ArgumentTypeError(str(error).removeprefix("--at: ")) from error


def _part_limit(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds from 0, found {text!r}")
    return value


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    """What is to be made: prompt, references, length."""
    parser.add_argument("--prompt", required=True, help="text description of the audio")
    parser.add_argument(
        "--reference",
        action=_ReferenceOption,
        nargs=2,
        metavar=("FILE", "CAPTION"),
        dest="references",
        help="a reference sound and what it sounds like; repeat for more",
    )
    parser.add_argument(
        "--at",
        action=_ReferenceOption,
        type=_starts,
        metavar="SECONDS",
        dest="references",
        help="start of the preceding --reference, or several, as in 0.5,3.2; may be repeated "
        "(default: as the arranger reads the prompt)",
    )
    parser.add_argument(
        "--strength",
        action=_ReferenceOption,
        type=float,
        metavar="X",
        dest="references",
        help="guidance scale of the preceding --reference alone (default 1)",
    )
    parser.add_argument(
        "--for",
        action=_ReferenceOption,
        type=float,
        metavar="SECONDS",
        dest="references",
        help="how long the preceding --reference sounds, from each --at (or from 0): a part of it, "
        "or repeated with cross-fades",
    )
    parser.add_argument(
        "--gain",
        action=_ReferenceOption,
        type=float,
        metavar="DB",
        dest="references",
        help="level of the preceding --reference in the result against its file (default 0 dB)",
    )
    for name, what in (("begin", "from"), ("end", "up to")):
        parser.add_argument(
            f"--{name}",
            action=_ReferenceOption,
            type=_part_limit,
            metavar="SECONDS",
            dest="references",
            help=f"second of the file {what} which the preceding --reference is used (default: "
            "without the silence around it)",
        )
    parser.add_argument(
        "--whole",
        action=_ReferenceOption,
        nargs=0,
        dest="references",
        help="use the whole file of the preceding --reference, silence included",
    )
    parser.add_argument("--seconds", type=float, help="length (default: the model's own)")
    parser.add_argument(
        "--missing",
        choices=MISSING_CHOICES,
        default="auto",
        help="parts of the prompt without a reference: take fitting sounds from the starter "
        "library, generate them, keep silence, or (auto) the first two as the prompt asks",
    )
    parser.add_argument(
        "--model",
        default="mini",
        help="embedded model, model folder, or a preset with all its parts",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ...")


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Option that allows existing outputs to be replaced."""
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """Option for the precision that weights are stored in; `getattr(torch, args.dtype)`."""
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="to store the weights in (default float32)",
    )


def check_free(outputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse to replace files unasked, before the work that leads there.

    Raises
    ------
    InputError
        If one of `outputs` exists.
    """
    for path in outputs:
        if not overwrite and os.path.lexists(path):
            raise InputError(
                f"--out: {path} exists; choose another name, or add --overwrite to replace it"
            )


def load_references(given: list[dict[str, Any]] | None) -> list[Reference]:
    """References of the command line."""
    from ..scene.reference import chosen_part, load_reference

    references = []
    for i, r in enumerate(given or [], 1):
        part = chosen_part(r["begin"], r["end"])
        if part and r["whole"]:
            raise InputError(
                f"reference {i}: give --whole or a part by --begin and --end, not both"
            )
        reference = load_reference(
            r["file"],
            r["caption"],
            r["strength"],
            sorted(r["starts"]) or None,
            f"reference {i}",
            gain=r["gain"],
            trim_silence=not r["whole"],
            part=part,
        )
        if r["for"] is not None:
            starts = sorted(r["starts"]) or [0.0]
            places = tuple(Placement(start, r["for"]) for start in starts)
            reference = replace(reference, placements=places)
        references.append(reference)
    return references


def describe_used(references: list[Reference]) -> list[str]:
    """A line for each reference of which a part is used."""
    lines = []
    for k, reference in enumerate(references, 1):
        original = reference.source
        if original.begin > 0.05 or original.end < original.total - 0.05:
            lines.append(
                f"reference {k}: {original.begin:.2f} to {original.end:.2f} s of "
                f"{original.total:.2f} s are used; --whole uses all, "
                "--begin and --end a part"
            )
    return lines
