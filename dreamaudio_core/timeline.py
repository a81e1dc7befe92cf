"""Timelines: where on the target's time axis each reference sounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


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
        Seconds into the trimmed reference at which the used part begins; `None` takes its loudest stretch.
    """

    start: float
    duration: float
    gain: float = 0.0
    offset: Optional[float] = None


# A reference's places: an empty tuple says that it does not occur, None that the network is free to place it.
Placements = Optional[tuple[Placement, ...]]
