"""Timelines: where on the target's time axis each reference sounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

from ..errors import InputError

# What becomes of parts of the prompt that no reference stands for: `generate` lets the network make
# them, `leave out` keeps silence where nothing is placed, and `auto` does the one or the other as
# the arranger finds such a part or not.
MISSING = ("auto", "generate", "leave out")


@dataclass(frozen=True)
class Placement:
    """One occurrence of a reference in the target.

    Parameters
    ----------
    start
        Seconds from the beginning of the target.
    duration
        Seconds of the reference that are used.
    gain
        Level against the reference as it is encoded, in dB.
    offset
        Seconds into the trimmed reference at which the used part begins; `None` takes its loudest
        stretch.
    """

    start: float
    duration: float
    gain: float = 0.0
    offset: Optional[float] = None


# A reference's places: an empty tuple says that it does not occur, None that the network is free to
# place it.
Placements = Optional[tuple[Placement, ...]]


def parse_starts(text: str, what: str = "start") -> Optional[tuple[float, ...]]:
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
                f"{what}: expected auto, or seconds from 0 separated by commas as in '0.5, 3.2', found "
                f"{entry.strip()!r}"
            )
        starts.append(start)
    return tuple(sorted(starts))
