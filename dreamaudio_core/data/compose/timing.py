"""Timing rules: from a layout and the lengths of its parts to their places on the time axis.

These rules are what an arranger can learn from prompts and lengths. All starts lie on a grid, that
of the latent. With T the length of the target:

- A reference of at most `max_event` seconds (scaled by T / 10.24) is used whole. A longer one gives
  one stretch, its loudest: in a sequence an equal share of the time that the short parts leave,
  elsewhere half of T, at most `max_event`.
- In a sequence the first part starts at `lead`, each next one `gap` after the end of the one before
  (plus or minus one grid step). "After a pause" widens the gap to `short_pause`, "after a long
  pause" to `long_pause`.
- Parts that sound together start at `lead`.
- A base starts at 0 and lasts as long as its reference. What sounds over it is laid out as a
  sequence, or together, and its block is centred in T.
- "At the end": the part ends at T; "at the beginning": it starts at `lead`.
- "In the first half": at `lead`; "in the second half": at T / 2; "in the middle": centred in T.
- "At k seconds": at k.

A length of None stands for a part longer than it may last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

FULL_SECONDS = 10.24

Place = tuple[float, float]
"""Start and duration in seconds."""


@dataclass(frozen=True)
class Timing:
    """Seconds of the timing rules.

    Parameters
    ----------
    grid
        Step of all starts.
    lead, gap
        Silence before the first part and between parts.
    short_pause, long_pause
        Gaps that the prompt speaks of.
    max_event
        Longest part taken of one event in a target of 10.24 s.
    """

    grid: float = 0.08
    lead: float = 0.08
    gap: float = 0.16
    short_pause: float = 1.20
    long_pause: float = 2.40
    max_event: float = 5.0

    def up(self, seconds: float) -> float:
        """The grid step at or after a time."""
        return round(math.ceil(seconds / self.grid - 1e-6) * self.grid, 4)

    def down(self, seconds: float) -> float:
        """The grid step at or before a time."""
        return round(math.floor(seconds / self.grid + 1e-6) * self.grid, 4)

    def longest(self, total: float) -> float:
        """Longest part of one event in a target of `total` seconds."""
        return self.max_event * total / FULL_SECONDS

    def gap_of(self, kind: str, jitter: int = 0) -> float:
        """Gap of a kind: `""`, with `jitter` grid steps more, `"short"` or `"long"`."""
        pauses = {"short": self.short_pause, "long": self.long_pause}
        return pauses[kind] if kind else self.gap + self.grid * jitter


def needed(length: float | None, rules: Timing) -> float:
    """Seconds that a part takes in a sequence, at least, with the gap before it."""
    return (1.28 if length is None else length) + rules.gap + 2 * rules.grid


def sequence(
    lengths: Sequence[float | None],
    gaps: Sequence[float],
    total: float,
    rules: Timing,
    centred: bool = False,
) -> list[Place]:
    """Places of parts one after another, from `lead` or as a block in the middle of `total`."""
    whole = [length for length in lengths if length is not None]
    share = 0.0
    if len(whole) < len(lengths):
        left = total - rules.lead - sum(gaps) - rules.grid * len(lengths) - sum(whole)
        each = left / (len(lengths) - len(whole))
        # Short parts may leave next to nothing, and a sound of less than eight steps is no sound.
        share = max(8 * rules.grid, rules.down(min(rules.longest(total), each)))
    durations = [share if length is None else length for length in lengths]
    starts, end = [], 0.0
    for duration, gap in zip(durations, [0.0, *gaps]):
        starts.append(rules.up(end + gap))
        end = starts[-1] + duration
    shift = max(0.0, rules.down((total - end) / 2)) if centred else rules.lead
    begins = [round(start + shift, 4) for start in starts]
    return [(begin, min(duration, total - begin)) for begin, duration in zip(begins, durations)]


def together(
    lengths: Sequence[float | None], total: float, rules: Timing, centred: bool = False
) -> list[Place]:
    """Places of parts that start at one time, at `lead` or so that the longest is centred."""
    half = rules.down(min(rules.longest(total), total / 2))
    durations = [half if length is None else length for length in lengths]
    start = max(0.0, rules.down((total - max(durations)) / 2)) if centred else rules.lead
    return [(start, duration) for duration in durations]
