"""What a composer draws, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .timing import FULL_SECONDS, Timing


@dataclass(frozen=True)
class Chances:
    """Probabilities within the layouts; tuples are weights.

    Parameters
    ----------
    pauses
        A sequence speaks of pauses.
    together_counts
        2, 3, 4 events that sound together.
    over_counts, over_together
        1, 2, 3 events over a base; two of them sound together.
    levels
        How the prompt speaks of the base's level, keys of `wording.BEHIND`.
    loop_base, music_base
        A base shorter than the target is repeated; it is music.
    repeat_counts
        An event sounds 2, 3, 4 times.
    repeat_alone, repeat_then_other, again_between
        A repetition is all that sounds, stands with another event, or is one event before and
        after another; else the event comes back at the end.
    end_alone, end_together
        Nothing sounds before the event at the end; the events before it sound together.
    half_alone, middle
        One event alone is placed in a half; that is in the middle.
    clock_alone
        One event alone is placed at a time.
    siblings
        A long reference holds several recordings of its label.
    distractor_base
        A reference that is not asked for is a background.
    """

    pauses: float = 0.15
    together_counts: tuple[float, ...] = (0.60, 0.25, 0.15)
    over_counts: tuple[float, ...] = (0.45, 0.35, 0.20)
    over_together: float = 0.25
    levels: dict[str, float] = field(
        default_factory=lambda: {"any": 0.40, "background": 0.40, "quiet": 0.12, "loud": 0.08}
    )
    loop_base: float = 0.8
    music_base: float = 0.5
    repeat_counts: tuple[float, ...] = (0.50, 0.35, 0.15)
    repeat_alone: float = 0.30
    repeat_then_other: float = 0.35
    again_between: float = 0.20
    end_alone: float = 0.25
    end_together: float = 0.3
    half_alone: float = 0.35
    middle: float = 0.5
    clock_alone: float = 0.4
    siblings: float = 0.5
    distractor_base: float = 0.15


def _default_kinds() -> dict[str, float]:
    return {
        "sequence": 0.40,
        "together": 0.12,
        "background": 0.24,
        "repeat": 0.10,
        "end": 0.07,
        "halves": 0.04,
        "clock": 0.03,
    }


@dataclass(frozen=True)
class ComposerConfig:
    """What is drawn, and how often.

    Parameters
    ----------
    seconds, short_seconds, short_probability
        Length of a target, and the shorter one that some items have.
    kinds
        Weights of the layouts, by their names in `layouts.LAYOUTS`.
    counts
        Weights of 1, 2, ... events in a sequence.
    min_event
        Shortest recording used, in seconds.
    timing, chances
        Settings of the timing rules, and probabilities within the layouts.
    snr_db
        Range of the level of foreground over base, sampled uniformly.
    level_db
        Half range of the level of events in sequence.
    long_reference
        Probability that a reference is longer than its part: the recording in full, or several
        takes of its label with pauses and a noise floor.
    distractor, denial
        Probability of references that the prompt does not ask for, and that it then denies one of
        them.
    unreferenced
        Probability that an asked event comes without its reference.
    adverb
        Probability that the prompt places an event far away or makes it loud.
    speech
        Share of speech among the events.
    max_words
        Longest prompt.
    """

    seconds: float = FULL_SECONDS
    short_seconds: float = FULL_SECONDS / 2
    short_probability: float = 0.15
    kinds: dict[str, float] = field(default_factory=_default_kinds)
    counts: tuple[float, ...] = (0.12, 0.30, 0.32, 0.18, 0.08)
    min_event: float = 0.15
    timing: Timing = Timing()
    chances: Chances = field(default_factory=Chances)
    snr_db: tuple[float, float] = (-15.0, 15.0)
    level_db: float = 4.0
    long_reference: float = 0.18
    distractor: float = 0.25
    denial: float = 0.2
    unreferenced: float = 0.06
    adverb: float = 0.06
    speech: float = 0.2
    max_words: int = 36

    @classmethod
    def fixed_length(cls, seconds: float = FULL_SECONDS) -> ComposerConfig:
        """Everything, in targets of one length."""
        return cls(seconds=seconds, short_probability=0.0)

    @classmethod
    def text_only(cls, seconds: float = FULL_SECONDS) -> ComposerConfig:
        """Single events that are asked for by their caption alone."""
        # In a short target too an event may last 2.5 s.
        timing = Timing(max_event=max(5.0, 2.5 * FULL_SECONDS / seconds))
        single = cls._plain(kinds={"sequence": 1.0}, counts=(1.0,), speech=0.1, timing=timing)
        return replace(single, seconds=seconds, unreferenced=1.0)

    @classmethod
    def concatenation(cls, **changes: Any) -> ComposerConfig:
        """Only sequences in which every event has its reference and every reference is asked
        for.
        """
        return cls._plain(kinds={"sequence": 1.0}, **changes)

    @classmethod
    def overlay(cls, **changes: Any) -> ComposerConfig:
        """Only a base with one to three events over it, every one with its reference."""
        return cls._plain(kinds={"background": 1.0}, **changes)

    @classmethod
    def _plain(cls, **changes: Any) -> ComposerConfig:
        plain = cls(short_probability=0.0, long_reference=0.0, distractor=0.0, unreferenced=0.0)
        return replace(plain, **changes)
