"""Timelines: where on the target's time axis each reference sounds, as plain values."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Optional

from ..errors import InputError
from ..json_text import parse_json

# What becomes of parts of the prompt that no reference stands for: `generate` lets the network
# make them, `silence` keeps silence where nothing is placed, and `auto` does the one or the other
# as the arranger finds such a part or not.
MISSING = ("auto", "generate", "silence")
# Before the arranging stage, sounds of the starter library may become references: `library` takes
# what fits and keeps silence elsewhere; `auto` prefers what fits, if the model says so.
MISSING_CHOICES = (*MISSING, "library")
VERSION = 1


@dataclass(frozen=True)
class Placement:
    """One occurrence of a reference in the target.

    Parameters
    ----------
    start
        Seconds from the beginning of the target.
    duration
        Seconds that it lasts.
    gain
        Level against the reference, in dB.
    offset
        Seconds into the trimmed reference at which the used part begins; `None` takes its loudest
        stretch.
    fade_in, fade_out
        Seconds.
    pan
        From -1 (left) to 1 (right).
    pan_end
        Where a sound that moves across the stereo image arrives at its end; `None` keeps it at
        `pan`.
    pinned
        Set by hand: a new reading of the prompt leaves it where it is.
    """

    start: float
    duration: float
    gain: float = 0.0
    offset: Optional[float] = None
    fade_in: float = 0.0
    fade_out: float = 0.0
    pan: float = 0.0
    pan_end: Optional[float] = None
    pinned: bool = False


# A reference's places: an empty tuple says that it does not occur, None that the network is free to
# place it.
Placements = Optional[tuple[Placement, ...]]


@dataclass(frozen=True)
class ArrangedReference:
    """One reference in an arrangement.

    Parameters
    ----------
    caption
        As the user wrote it.
    used
        Whether it sounds.
    placements
        Where; `None` leaves that to the network (the paper's mode).
    reason
        Why, in one sentence.
    """

    caption: str
    used: bool
    placements: Placements
    reason: str = ""


@dataclass(frozen=True)
class Arrangement:
    """Where each reference sounds, and what happens elsewhere: what the arranging stage gives, and
    what can be edited and given back.

    Parameters
    ----------
    seconds
        Length of the target.
    references
        In the order in which they were given.
    missing
        `"generate"` lets the network make what no reference stands for; `"silence"` keeps silence
        where nothing is placed.
    warnings
        What was not understood, left out, cut or shortened, one sentence each.
    """

    seconds: float
    references: tuple[ArrangedReference, ...] = ()
    missing: str = "generate"
    warnings: tuple[str, ...] = ()
    version: int = field(default=VERSION, kw_only=True)

    @property
    def timeline(self) -> tuple[Placements, ...]:
        """Placements of each reference."""
        return tuple(r.placements for r in self.references)

    def describe(self) -> list[str]:
        """A line for each reference, then the warnings."""
        lines = []
        for k, reference in enumerate(self.references, 1):
            places = reference.placements
            where = "where the network puts it" if places is None else "not used"
            if places:
                where = ", ".join(f"{p.start:.2f} s for {p.duration:.2f} s" for p in places)
            lines.append(f"reference {k}, {reference.caption!r}: {where} ({reference.reason})")
        return lines + [f"warning: {text}" for text in self.warnings]

    def to_json(self, indent: int | None = None) -> str:
        """JSON text whose keys are the names of the fields."""
        return json.dumps(dataclasses.asdict(self), indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str = "arrangement") -> Arrangement:
        """Arrangement from its JSON text.

        Raises
        ------
        InputError
            Names the field that is missing, unknown or out of range.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise InputError(f"{name}: not readable JSON ({error})") from error
        version = values.get("version", VERSION) if isinstance(values, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise InputError(
                f"{name}: has version {version}, this release reads up to {VERSION}; update it"
            )
        seconds = _number(_object(values, name, {"seconds"}, _ARRANGEMENT), "seconds", name)
        references = values.get("references", [])
        warnings = values.get("warnings", [])
        missing = values.get("missing", "generate")
        if not isinstance(references, list):
            raise InputError(f"{name}.references: expected a list, found {references!r}")
        if not isinstance(warnings, list) or not all(isinstance(w, str) for w in warnings):
            raise InputError(f"{name}.warnings: expected a list of texts, found {warnings!r}")
        if missing not in MISSING[1:]:
            raise InputError(
                f"{name}.missing: expected {' or '.join(MISSING[1:])}, found {missing!r}"
            )
        arranged = tuple(
            _arranged_reference(r, f"{name}.references[{k}]") for k, r in enumerate(references)
        )
        return cls(seconds, arranged, missing, tuple(warnings))


_ARRANGEMENT = {f.name for f in dataclasses.fields(Arrangement)}
_REFERENCE = {f.name for f in dataclasses.fields(ArrangedReference)}
_PLACEMENT = {f.name for f in dataclasses.fields(Placement)}
_SECONDS = (0.0, 3600.0)
# Smallest and largest value of each number; the rest are seconds.
_RANGES = {"gain": (-120.0, 60.0), "pan": (-1.0, 1.0), "pan_end": (-1.0, 1.0)}
_MAY_BE_NULL = {"offset", "pan_end"}


def _object(values: Any, name: str, needed: set[str], known: set[str]) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"{name}: expected a JSON object, found {values!r:.60}")
    unknown, absent = sorted(set(values) - known), sorted(needed - set(values))
    if unknown:
        raise InputError(f"{name}: unknown field {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if absent:
        raise InputError(f"{name}: expected a field {absent[0]!r}, found none")
    return values


def _number(values: dict[str, Any], key: str, name: str) -> float:
    value = values[key]
    low, high = _RANGES.get(key, _SECONDS)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise InputError(
            f"{name}.{key}: expected a number from {low:g} to {high:g}, found {value!r:.60}"
        )
    return float(value)


def parse_placement(values: Any, name: str) -> Placement:
    """A placement from its JSON object.

    Raises
    ------
    InputError
        If a field is unknown or absent, or a value out of range; `name` is how the message names
        the object.
    """
    _object(values, name, {"start", "duration"}, _PLACEMENT)
    pinned = values.get("pinned", False)
    if not isinstance(pinned, bool):
        raise InputError(f"{name}.pinned: expected true or false, found {pinned!r:.60}")
    numbers: dict[str, Any] = {
        key: None if key in _MAY_BE_NULL and values[key] is None else _number(values, key, name)
        for key in values
        if key != "pinned"
    }
    if numbers["duration"] == 0.0:
        raise InputError(f"{name}.duration: expected more than 0 seconds, found 0")
    return Placement(**numbers, pinned=pinned)


def _arranged_reference(values: Any, name: str) -> ArrangedReference:
    _object(values, name, {"placements"}, _REFERENCE)
    places = values["placements"]
    if places is not None and not isinstance(places, list):
        raise InputError(f"{name}.placements: expected a list or null, found {places!r:.60}")
    placements = None
    if places is not None:
        placements = tuple(
            parse_placement(p, f"{name}.placements[{i}]") for i, p in enumerate(places)
        )
    used = values.get("used", placements != ())
    texts = {key: values.get(key, "") for key in ("caption", "reason")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f"{name}.{key}: expected a text, found {text!r:.60}")
    if not isinstance(used, bool):
        raise InputError(f"{name}.used: expected true or false, found {used!r:.60}")
    return ArrangedReference(texts["caption"], used, placements, texts["reason"])


def parse_starts(text: str, name: str = "start") -> Optional[tuple[float, ...]]:
    """Starts in seconds as a user writes them: `"0.5"`, `"0.5, 3.2"`, or `"auto"` (also empty) for
    `None`.

    Raises
    ------
    InputError
        If an entry is no number or lies below 0.
    """
    if text.strip().lower() in ("", "auto"):
        return None
    starts = []
    for entry in text.split(","):
        try:
            start = float(entry)
        except ValueError:
            start = math.nan
        if not 0.0 <= start < math.inf:
            raise InputError(
                f"{name}: expected auto, or seconds from 0 separated by commas as in '0.5, 3.2', "
                f"found {entry.strip()!r}"
            )
        starts.append(start)
    return tuple(sorted(starts))
