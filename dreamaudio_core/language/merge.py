"""The reader's and the network's answers in one: what a prompt states is the reader's, what it
leaves open the network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..scene.timeline import Placement
from .layout import GAP, LEAD, SHORTEST, Layout
from .reading import Event, Reading

# The network counts no further.
_NETWORK_COUNTS = 4
_NETWORK_SECONDS = 15.0
_PAUSES = (1.2, 2.4)
# Seconds within which a sound is at the beginning or at the end.
_EDGE = 0.4

Timeline = Sequence[Sequence[Placement]]


def _states(event: Event) -> bool:
    """Whether something is said of an event that the network does not read."""
    numbers = (event.duration, event.every, event.apart, event.between, event.within, event.span)
    marks = event.ramp or event.fade_in or event.fade_out or event.pan or event.moves
    place = event.pinned or bool(event.starts) or event.anchor is not None
    return (
        any(n is not None for n in numbers)
        or bool(marks or event.plural or event.other or event.noun_count or place)
        or (event.count or 1) > _NETWORK_COUNTS
        or (event.gap is not None and event.gap not in _PAUSES)
    )


def is_explicit(reading: Reading) -> bool:
    """Whether a prompt states more than the order and a small number of its sounds."""
    events = list(reading.events)
    named = [e.group for e in events]
    shared = any(len(m) > 1 for m in reading.members) or "" in reading.captions
    return (
        reading.seconds > _NETWORK_SECONDS
        or reading.terse
        or shared
        or len(set(named)) < len(named)
        or any(map(_states, events))
    )


def merge(
    reading: Reading, layout: Layout, network: Timeline | None, lengths: Sequence[float]
) -> Layout:
    """One layout with places for every reference.

    Parameters
    ----------
    reading, layout
        Of the prompt.
    network
        The trained arranger's placements; None where there is none or no prompt.
    lengths
        Seconds of the references.
    """
    places = [None if p is None else list(p) for p in layout.places]
    reasons, warnings = list(layout.reasons), list(layout.warnings)
    beds = {e.group for e in reading.events if e.bed}
    named = [k for k, p in enumerate(places) if p]
    if network is not None and named and not is_explicit(reading):
        agreed = all(
            bool(network[k]) and (len(network[k]) == len(p or ()) or reading.counts_open(k))
            for k, p in enumerate(places)
            if p
        )
        if agreed and _same_order(reading, layout.places, network):
            warnings = list(reading.warnings)
            for k in named:
                if not beds & {g for g, m in enumerate(reading.members) if k in m}:
                    gain = (places[k] or [])[0].gain
                    places[k] = [replace(p, gain=gain) for p in _apart(network[k])]
    left = [k for k, p in enumerate(places) if p is None]
    if network is not None and named:
        for k in left:
            if network[k]:
                places[k] = _apart(network[k])
                reasons[k] = "placed by the network, which takes it to be asked for"
    elif left and not named:
        _in_turn(places, reasons, left, lengths, reading.seconds)
    for k, found in enumerate(places):
        if found is None:
            places[k], reasons[k] = [], "the prompt does not name it"
            warnings.append(f"reference {k + 1}: not used, because the prompt does not name it")
        elif not found and reasons[k] == "excluded by the prompt":
            warnings.append(f"reference {k + 1}: not used, because the prompt excludes it")
        elif not found:
            warnings.append(f"reference {k + 1}: not used, {reasons[k]}")
    warnings += [f'no reference stands for "{part}"' for part in reading.unnamed if len(part) > 2]
    return Layout(places, reasons, list(dict.fromkeys(warnings)))


def _same_order(
    reading: Reading, read: Sequence[Sequence[Placement] | None], network: Timeline
) -> bool:
    """Whether both have the references that do not sound together in one order, and all that is to
    be first, last or together so.
    """
    groups = {k: g for g, m in enumerate(reading.members) for k in m}
    beds = {e.group for e in reading.events if e.bed}
    if not _at_its_end(reading, read, network, groups):
        return False
    pairs = [
        (a, b)
        for a, x in enumerate(read)
        for b, y in enumerate(read)
        if x and y and a != b and not {groups[a], groups[b]} & beds
    ]
    for a, b in pairs:
        x, y = read[a], read[b]
        assert x and y
        if _end(x[-1]) <= y[0].start + 0.02 and (_end(network[a][-1]) > network[b][0].start + 0.1):
            return False
        if a < b and _overlap(x[0], y[0]) and not _overlap(network[a][0], network[b][0]):
            return False
    several = len(pairs) > 0 or len([p for p in read if p]) > 1
    # Of a sound that no reference stands for only the network knows how long it takes.
    return several or bool(reading.unnamed)


def _at_its_end(
    reading: Reading,
    read: Sequence[Sequence[Placement] | None],
    network: Timeline,
    groups: dict[int, int],
) -> bool:
    """Whether the network's answer has at the beginning and at the end what is to be there."""
    begun = any(e.position == "beginning" for e in reading.events)
    # Of three or more in a row, the last may be called the one at the end.
    exact = begun or len(reading.sequence) < 3
    for event in reading.events:
        near = any("toward" in r or "near" in r for r in event.reasons)
        for k in (k for k, group in groups.items() if group == event.group and read[k]):
            if event.position == "beginning" and network[k][0].start > _EDGE:
                return False
            if event.position != "end" or near or not exact:
                continue
            if _end(network[k][-1]) < reading.seconds - _EDGE:
                return False
    return True


def _end(place: Placement) -> float:
    return place.start + place.duration


def _overlap(a: Placement, b: Placement) -> bool:
    return a.start < _end(b) and b.start < _end(a)


def _apart(places: Sequence[Placement]) -> list[Placement]:
    """Repeats of one reference without overlap."""
    out: list[Placement] = []
    for place in sorted(places, key=lambda p: p.start):
        if out and place.start < out[-1].start + out[-1].duration:
            room = place.start - out[-1].start
            if room < SHORTEST:
                continue
            out[-1] = replace(out[-1], duration=room)
        out.append(place)
    return out


def _in_turn(
    places: list[list[Placement] | None],
    reasons: list[str],
    left: Sequence[int],
    lengths: Sequence[float],
    seconds: float,
) -> None:
    """One after the other in the order given, the longest cut so that all fit."""
    room = seconds - LEAD - GAP * (len(left) - 1)
    longest, remaining = seconds, len(left)
    for length in sorted(lengths[k] for k in left):
        if length * remaining > room:
            longest = room / remaining
            break
        room, remaining = room - length, remaining - 1
    at = LEAD
    for k in left:
        duration = max(SHORTEST, min(lengths[k], longest))
        places[k] = [Placement(round(at, 4), round(min(duration, seconds - at), 4))]
        reasons[k] = "in the order given, because the prompt names no reference"
        at += duration + GAP
