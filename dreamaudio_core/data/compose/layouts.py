"""Layouts: each draws its events, words a prompt for them and places them as the prompt says.

A new layout is a function here, registered with `@layout(NAME)`; how often it is drawn stands in
`ComposerConfig.kinds`.
"""

from __future__ import annotations

import math
from typing import Callable, Sequence

import numpy as np

from ...language import wording
from . import timing
from .draw import Draw, Layout, Part
from .render import rms_db
from .timing import Place

LAYOUTS: dict[str, Layout] = {}


def layout(name: str) -> Callable[[Layout], Layout]:
    """Register a layout."""

    def register(function: Layout) -> Layout:
        LAYOUTS[name] = function
        return function

    return register


def _place(parts: Sequence[Part], places: Sequence[Place]) -> None:
    for part, place in zip(parts, places):
        part.places.append(place)


def _lengths(parts: Sequence[Part]) -> list[float | None]:
    return [part.length for part in parts]


def _in_sequence(draw: Draw, parts: Sequence[Part], kinds: Sequence[str], **options) -> None:
    total = options.pop("total", draw.seconds)
    gaps = draw.gaps(kinds)
    _place(parts, timing.sequence(_lengths(parts), gaps, total, draw.rules, **options))


def _together(draw: Draw, parts: Sequence[Part], **options) -> None:
    total = options.pop("total", draw.seconds)
    _place(parts, timing.together(_lengths(parts), total, draw.rules, **options))


@layout("sequence")
def sequence(draw: Draw) -> tuple[list[Part], str]:
    """Events one after another ("then", "before", "after", ...)."""
    parts = draw.fitting(draw.count(draw.config.counts))
    phrases = draw.words(parts)
    pauses = draw.happens(draw.chances.pauses) and _room_for_pauses(draw, parts)
    text, kinds = wording.sequence_text(draw.rng, phrases, pauses)
    _in_sequence(draw, parts, kinds)
    draw.levels(parts)
    return parts, text


def _room_for_pauses(draw: Draw, parts: Sequence[Part]) -> bool:
    if any(part.long for part in parts):
        return False
    spare = draw.seconds - sum(part.seconds for part in parts)
    return spare > draw.rules.long_pause * (len(parts) - 1) + 0.5


@layout("together")
def together(draw: Draw) -> tuple[list[Part], str]:
    """Events that start together ("while", "as", "at the same time")."""
    parts = [draw.part() for _ in range(draw.count(draw.chances.together_counts, 2))]
    phrases = draw.words(parts)
    _together(draw, parts)
    draw.levels(parts)
    return parts, wording.together_text(draw.rng, phrases)


@layout("background")
def background(draw: Draw) -> tuple[list[Part], str]:
    """Events over a base of music or ambience, each at a signal-to-noise ratio of its own."""
    base = draw.base()
    base.phrase = wording.draw_phrase(draw.rng, base.caption)
    base.places.append((0.0, min(base.seconds, draw.seconds)))
    parts = draw.fitting(draw.count(draw.chances.over_counts))
    phrases = draw.words(parts, adverbs=False)
    if len(parts) == 2 and draw.happens(draw.chances.over_together):
        text = wording.together_text(draw.rng, phrases)
        _together(draw, parts, centred=True)
    else:
        text, kinds = wording.sequence_text(draw.rng, phrases)
        _in_sequence(draw, parts, kinds, centred=True)
    levels, weights = zip(*draw.chances.levels.items())
    level = levels[draw.count(weights, 0)]
    low, high = draw.config.snr_db
    # What the prompt says of levels has to be so.
    ranges = {
        "any": (low, high),
        "background": (np.clip(0.0, low, high), high),
        "quiet": (np.clip(8.0, low, high), high),
        "loud": (low, np.clip(-3.0, low, high)),
    }
    for part in parts:
        snr = draw.rng.uniform(*ranges[level])
        part.level = float(np.clip(snr + rms_db(base.sound) - rms_db(part.sound), -20.0, 20.0))
    return [base, *parts], wording.behind_text(draw.rng, base.phrase, text, level)


@layout("repeat")
def repeat(draw: Draw) -> tuple[list[Part], str]:
    """An event that sounds several times in a row ("twice"), or returns after another ("again")."""
    chances = draw.chances
    weights = (chances.repeat_alone, chances.repeat_then_other, chances.again_between)
    alone, then_other, between = np.cumsum(weights)
    style, short = draw.rng.random(), draw.seconds / 5.5
    part = draw.short_part(short)
    if style < alone:
        parts, text, chain = [part], *_times(draw, part, None)
    else:
        other = draw.short_part(1.5 * short)
        other.phrase = wording.draw_phrase(draw.rng, other.caption)
        parts = [part, other]
        if style < then_other:
            text, chain = _times(draw, part, other)
        else:
            part.phrase = wording.draw_phrase(draw.rng, part.caption)
            templates = wording.AGAIN if style < between else wording.AGAIN_AT_END
            text = wording.template_text(draw.rng, templates, part.phrase, other.phrase)
            chain = [part, other, part] if style < between else [part, other]
    _in_sequence(draw, chain, [""] * (len(chain) - 1))
    if style >= between:
        part.places.append((draw.rules.down(draw.seconds - part.seconds), part.seconds))
    draw.levels(parts)
    return parts, text


def _times(draw: Draw, part: Part, other: Part | None) -> tuple[str, list[Part]]:
    """Words for an event that sounds several times, as often as it fits, and the chain of parts."""
    part.phrase = wording.draw_phrase(draw.rng, part.caption)
    room = draw.seconds - draw.rules.lead - (other.seconds + 0.32 if other else 0.0)
    # A count that does not fit is lowered before it is worded, so that prompt and target agree.
    fits = max(2, int(room / (part.seconds + 0.32)))
    times = min(draw.count(draw.chances.repeat_counts, 2), fits)
    other_first = draw.happens(0.5)
    text = wording.repeat_text(
        draw.rng, part.phrase, times, other.phrase if other else None, other_first
    )
    chain = [part] * times
    if other is not None:
        chain = [other, *chain] if other_first else [*chain, other]
    return text, chain


@layout("end")
def end(draw: Draw) -> tuple[list[Part], str]:
    """An event at the end, mostly after others."""
    last = draw.part(long_allowed=False)
    last.phrase = wording.draw_phrase(draw.rng, last.caption)
    last.places.append((draw.rules.down(draw.seconds - last.seconds), last.seconds))
    if draw.happens(draw.chances.end_alone):
        draw.levels([last])
        return [last], wording.template_text(draw.rng, wording.END_ALONE, last.phrase)
    # The end is taken first; the others share what lies before it.
    total = last.places[0][0]
    parts = draw.fitting(draw.count((1.0, 1.0)), total, long_allowed=False)
    phrases = draw.words(parts)
    kinds: list[str] = []
    overlapping = len(parts) > 1 and draw.happens(draw.chances.end_together)
    if len(parts) == 1:
        text = wording.template_text(draw.rng, wording.END, phrases[0], last.phrase)
    else:
        if overlapping:
            text = wording.together_text(draw.rng, phrases)
        else:
            text, kinds = wording.sequence_text(draw.rng, phrases)
        text = wording.ended_text(draw.rng, text, last.phrase)
    if overlapping:
        _together(draw, parts, total=total)
    else:
        _in_sequence(draw, parts, kinds, total=total)
    draw.levels([*parts, last])
    return [*parts, last], text


@layout("halves")
def halves(draw: Draw) -> tuple[list[Part], str]:
    """Events in the first half, the second half or the middle."""
    half = draw.rules.up(draw.seconds / 2)
    first = draw.part(long_allowed=False)
    first.phrase = wording.draw_phrase(draw.rng, first.caption)
    if draw.happens(draw.chances.half_alone):
        middle = draw.happens(draw.chances.middle)
        start = draw.rules.down((draw.seconds - first.seconds) / 2) if middle else half
        first.places.append((start, first.seconds))
        draw.levels([first])
        templates = wording.MIDDLE if middle else wording.SECOND_HALF
        return [first], wording.template_text(draw.rng, templates, first.phrase)
    second = draw.part(long_allowed=False)
    second.phrase = wording.draw_phrase(draw.rng, second.caption)
    first.places.append((draw.rules.lead, first.seconds))
    second.places.append((half, second.seconds))
    draw.levels([first, second])
    return [first, second], wording.template_text(
        draw.rng, wording.HALVES, first.phrase, second.phrase
    )


@layout("clock")
def clock(draw: Draw) -> tuple[list[Part], str]:
    """An event at a time that the prompt names ("at three seconds")."""
    last = draw.short_part(draw.seconds / 3)
    last.phrase = wording.draw_phrase(draw.rng, last.caption)
    latest = int(draw.seconds - last.seconds)
    if draw.happens(draw.chances.clock_alone):
        at = int(draw.rng.integers(1, latest + 1))
        parts = [last]
        text = wording.template_text(draw.rng, wording.CLOCK_ALONE, last.phrase, seconds=at)
    else:
        first = draw.short_part(draw.seconds / 3)
        first.phrase = wording.draw_phrase(draw.rng, first.caption)
        first.places.append((draw.rules.lead, first.seconds))
        earliest = min(latest, math.ceil(draw.rules.lead + first.seconds))
        at = int(draw.rng.integers(earliest, latest + 1))
        parts = [first, last]
        text = wording.template_text(draw.rng, wording.CLOCK, first.phrase, last.phrase, seconds=at)
    last.places.append((draw.rules.up(at), last.seconds))
    draw.levels(parts)
    return parts, text
