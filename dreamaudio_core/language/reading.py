"""What was read of a prompt: events, and what is said of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Event:
    """A sound that the prompt asks for, and what is said of it; seconds, dB.

    `group` numbers the different captions; None is a part that no reference stands for. `anchor` is
    an event that this one starts with or in: after a share of its length (1: over its tail) and
    some seconds.
    """

    group: int | None
    text: str
    count: int | None = None
    starts: tuple[float, ...] = ()
    span: tuple[float, float | None] | None = None
    duration: float | None = None
    gap: float | None = None
    later: float | None = None
    every: float | None = None
    apart: float | None = None
    between: float | None = None
    within: float | None = None
    bed: bool = False
    place: bool = False
    position: str = ""
    gain: float | None = None
    ramp: float = 0.0
    fade_in: bool = False
    fade_out: bool = False
    pan: float = 0.0
    moves: float = 0.0
    plural: bool = False
    other: bool = False
    noun_count: bool = False
    pinned: bool = False
    anchor: tuple[Event, float, float] | None = None
    reasons: list[str] = field(default_factory=list)
    part: int = -1


@dataclass
class Reading:
    """What was read.

    Parameters
    ----------
    captions
        Different captions, and for each the references (from 0) that have it.
    sequence
        Events one after the other; those of one entry sound together.
    denied
        Numbers of captions that the prompt excludes.
    leftover
        Numbers of captions that it does not name.
    unnamed
        Parts that no reference stands for.
    seconds
        Length of the target.
    terse
        Whether it is a list or in catchwords, unlike the sentences that the network was trained on.
    warnings
        What was not understood, one sentence each.
    """

    captions: list[str]
    members: list[list[int]]
    sequence: list[list[Event]]
    denied: set[int]
    leftover: list[int]
    unnamed: list[str]
    seconds: float
    terse: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def events(self) -> Iterator[Event]:
        """All events in their order."""
        return (event for entry in self.sequence for event in entry)

    def counts_open(self, k: int) -> bool:
        """Whether nothing is said of how often reference k sounds."""
        group = next(g for g, members in enumerate(self.members) if k in members)
        return all(e.count is None for e in self.events if e.group == group)
