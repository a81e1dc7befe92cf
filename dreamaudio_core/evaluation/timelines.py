"""Whether timelines are what their prompts ask for: prompts as people write them, with expectations
that a program can check.

A file holds scenes (`scene.scene_files`) with `expected`, and references with `seconds` in place of
a sound. References are numbered from 1. The keys of `expected`, of which most prompts have one or
two:

- `counts` one entry a reference: a number (0 is "not used"), `[least, most]`, or null (at least 1).
- `starts` {reference: [seconds, ...]} of all its occurrences; `first_start` {reference: seconds}.
- `sequence` the references in the order of all their occurrences, one after the end of the other;
  `sequence_of` the same for the references named; `sequence_any` several allowed ones.
- `order` [[a, b]] a starts before b; `overlap` [[a, b]] every occurrence of a sounds with one of b;
  `inside` [[a, b]] every occurrence of a lies within b.
- `spans` {reference: [from, to]} without holes; `lasts` {reference: seconds} of all occurrences.
- `gaps` [[a, b, seconds]] of silence from the end of a to the start of b (or `[least, most]`);
  `later` the same, counted from the start or from the end of a.
- `intervals` {reference: seconds} from start to start; `pauses` from end to start; `spacing` one or
  the other.
- `begins`, `ends`, `middle` references that start at the beginning, end at the end, lie in between.
- `gain` {reference: -1 quieter, 1 louder}; `gains` the same one by one; `fade` {reference: "in" or
  "out"}; `pan` {reference: -1 left, 1 right}; `moves` {reference: -1 to the left, 1 to the right}.
- `alternate` the references take turns; `total` occurrences of all together.
- `warning` true where the user has to be told something; `tolerance` of `starts`, in seconds.

References without an entry are expected to be used. Nowhere may a reference overlap itself or leave
the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..scene.scene_files import read_scenes
from ..scene.scenes import Scene
from ..scene.timeline import Placement

Timeline = Sequence[Sequence[Placement]]

TOLERANCE = 0.15
_EDGE = 0.4
_KEYS = frozenset(
    "counts starts first_start sequence sequence_of sequence_any order overlap inside spans "
    "lasts gaps later intervals pauses spacing begins ends middle gain gains fade pan "
    "moves alternate total warning tolerance".split()
)


def read_prompts(path: str | Path, seconds: float = 10.24) -> list[Scene]:
    """Scenes of a file with expectations.

    Parameters
    ----------
    seconds
        Length of targets for which the file gives none.

    Raises
    ------
    InputError
        If a scene has no `expected`, expects something unknown, or one of its references no
        `seconds`.
    """
    scenes = read_scenes(path)
    for scene in scenes:
        label = f"{path}: scene {scene.name}"
        if scene.expected is None:
            raise InputError(f"{label}: expected: expected a JSON object, found none")
        unknown = sorted(set(scene.expected) - _KEYS)
        if unknown:
            raise InputError(f"{label}: expected: unknown expectation {unknown[0]!r}")
        for number, reference in enumerate(scene.references, 1):
            if not reference.seconds:
                raise InputError(
                    f"{label}: reference {number}: seconds: expected its length, found none"
                )
    return [replace(s, seconds=seconds) if s.seconds is None else s for s in scenes]


def lengths(scene: Scene) -> list[float]:
    """Seconds of a scene's references."""
    return [reference.seconds or 0.0 for reference in scene.references]


def _expected(item: Scene) -> dict[str, Any]:
    return item.expected or {}


def _seconds(item: Scene) -> float:
    assert item.seconds is not None
    return item.seconds


def _end(place: Placement) -> float:
    return place.start + place.duration


def _numbers(expected: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    return [(int(number) - 1, value) for number, value in expected.get(key, {}).items()]


def _fits(value: float, wanted: Any, tolerance: float) -> bool:
    low, high = wanted if isinstance(wanted, list) else (wanted - tolerance, wanted + tolerance)
    return low <= value <= high


def _covered(places: Sequence[Placement], start: float, end: float) -> float:
    """Seconds of [start, end] in which one of the places sounds."""
    total, last = 0.0, start
    for place in sorted(places, key=lambda p: p.start):
        begin, stop = max(place.start, last), min(_end(place), end)
        if stop > begin:
            total, last = total + stop - begin, stop
    return total


def _common(item: Scene, timeline: Timeline) -> Iterable[str]:
    """What holds of every timeline, and how often each reference sounds."""
    counts = _expected(item).get("counts") or [None] * len(timeline)
    for number, (places, count) in enumerate(zip(timeline, counts), 1):
        least, most = count if isinstance(count, list) else (count, count)
        if count is None:
            least, most = 1, len(places)
        if not least <= len(places) <= most:
            wanted = "it" if count is None else count
            yield f"reference {number} sounds {len(places)} times, expected {wanted}"
        for place in places:
            if place.start < 0 or place.duration < 0.03 or _end(place) > _seconds(item) + 0.05:
                yield f"reference {number} does not lie in the target"
        for earlier, later in zip(places, places[1:]):
            if later.start < _end(earlier) - 0.02:
                yield f"reference {number} overlaps itself at {later.start:.2f}"
    total = _expected(item).get("total")
    if total is not None and sum(map(len, timeline)) != total:
        yield f"{sum(map(len, timeline))} occurrences, expected {total}"


def _follows(timeline: Timeline, wanted: Sequence[int]) -> bool:
    chosen = sorted(set(wanted))
    events = sorted(
        ((p.start, _end(p), k) for k in chosen for p in timeline[k - 1]), key=lambda e: e[0]
    )
    apart = all(later[0] >= earlier[1] - 0.12 for earlier, later in zip(events, events[1:]))
    return apart and [k for *_, k in events] == list(wanted)


def _sequences(item: Scene, timeline: Timeline) -> Iterable[str]:
    expected = _expected(item)
    for key in ("sequence", "sequence_of"):
        for wanted in [expected[key]] if key in expected else []:
            rows = wanted if isinstance(wanted[0], list) else [wanted]
            for row in rows:
                if not _follows(timeline, row):
                    yield f"expected one after the other: {row}"
    if "sequence_any" in expected:
        if not any(_follows(timeline, row) for row in expected["sequence_any"]):
            yield f"expected one of {expected['sequence_any']}"
    for a, b in expected.get("order", []):
        first, second = timeline[a - 1], timeline[b - 1]
        if not (first and second and first[0].start < second[0].start):
            yield f"reference {a} does not start before {b}"
    for a, b in expected.get("overlap", []) + expected.get("inside", []):
        share = 0.8 if [a, b] in expected.get("inside", []) else 0.4
        for place in timeline[a - 1]:
            longest = max((p.duration for p in timeline[b - 1]), default=place.duration)
            least = share * min(place.duration, longest)
            if _covered(timeline[b - 1], place.start, _end(place)) < least:
                yield f"reference {a} at {place.start:.2f} does not sound with {b}"
    if expected.get("alternate"):
        order = [
            k for _, k in sorted((p.start, k) for k, places in enumerate(timeline) for p in places)
        ]
        if any(a == b for a, b in zip(order, order[1:])):
            yield "references do not take turns"


def _times(item: Scene, timeline: Timeline) -> Iterable[str]:
    expected, tolerance = _expected(item), _expected(item).get("tolerance", TOLERANCE)
    for k, starts in _numbers(expected, "starts"):
        found = [p.start for p in timeline[k]]
        if len(found) != len(starts) or any(
            abs(a - b) > tolerance for a, b in zip(found, sorted(starts))
        ):
            yield f"reference {k + 1} starts at {[round(s, 2) for s in found]}, expected {starts}"
    for k, start in _numbers(expected, "first_start"):
        if not timeline[k] or abs(timeline[k][0].start - start) > tolerance:
            yield f"reference {k + 1} does not start at {start}"
    for k, (start, end) in _numbers(expected, "spans"):
        places = timeline[k]
        if (
            not places
            or abs(places[0].start - start) > _EDGE
            or abs(_end(places[-1]) - end) > _EDGE
        ):
            yield f"reference {k + 1} does not sound from {start} to {end}"
        elif _covered(places, start, end) < 0.9 * (end - start):
            yield f"reference {k + 1} has holes between {start} and {end}"
    for k, wanted in _numbers(expected, "lasts"):
        lasting = _covered(timeline[k], 0.0, _seconds(item))
        if abs(lasting - wanted) > max(0.3, 0.08 * wanted):
            yield f"reference {k + 1} lasts {lasting:.2f} s, expected {wanted}"
    for k in expected.get("begins", []):
        if not timeline[k - 1] or timeline[k - 1][0].start > 0.35:
            yield f"reference {k} does not begin at the beginning"
    for k in expected.get("ends", []):
        if not timeline[k - 1] or _end(timeline[k - 1][-1]) < _seconds(item) - 0.35:
            yield f"reference {k} does not end at the end"
    for k in expected.get("middle", []):
        places = timeline[k - 1]
        if not places or not places[0].start - 0.1 <= _seconds(item) / 2 <= _end(places[-1]) + 0.1:
            yield f"reference {k} does not lie in the middle"


def _distances(item: Scene, timeline: Timeline) -> Iterable[str]:
    expected = _expected(item)
    for key, kinds in (("gaps", "e"), ("later", "se")):
        for a, b, wanted in expected.get(key, []):
            before, after = timeline[a - 1], timeline[b - 1]
            if not before or not after:
                yield f"no gap between {a} and {b}"
                continue
            found = {"s": after[0].start - before[-1].start, "e": after[0].start - _end(before[-1])}
            if not any(_fits(found[kind], wanted, 0.25) for kind in kinds):
                yield f"{found['e']:.2f} s between {a} and {b}, expected {wanted}"
    for key, kinds in (("intervals", "s"), ("pauses", "e"), ("spacing", "se")):
        for k, wanted in _numbers(expected, key):
            places = timeline[k]
            pairs = list(zip(places, places[1:]))
            found = {
                "s": [b.start - a.start for a, b in pairs],
                "e": [b.start - _end(a) for a, b in pairs],
            }
            if not pairs or not any(
                all(_fits(d, wanted, TOLERANCE) for d in found[kind]) for kind in kinds
            ):
                shown = [round(d, 2) for d in found[kinds[0]]]
                yield f"reference {k + 1} repeats after {shown} s, expected {wanted}"


def _pan(place: Placement) -> tuple[float, float]:
    """Positions at the start and at the end."""
    return place.pan, place.pan if place.pan_end is None else place.pan_end


def _levels(item: Scene, timeline: Timeline) -> Iterable[str]:
    expected = _expected(item)
    for k, sign in _numbers(expected, "gain"):
        if not timeline[k] or any(p.gain * sign < 1.0 for p in timeline[k]):
            yield f"reference {k + 1} is not {'louder' if sign > 0 else 'quieter'}"
    for k, signs in _numbers(expected, "gains"):
        if len(signs) != len(timeline[k]) or any(
            p.gain * sign < 1.0 for p, sign in zip(timeline[k], signs)
        ):
            yield f"reference {k + 1} has the levels {[p.gain for p in timeline[k]]}"
    for k, kind in _numbers(expected, "fade"):
        if (
            not timeline[k]
            or getattr(timeline[k][0 if kind == "in" else -1], f"fade_{kind}", 0) < 0.3
        ):
            yield f"reference {k + 1} does not fade {kind}"
    for k, side in _numbers(expected, "pan"):
        if not timeline[k] or any(min(side * x for x in _pan(p)) < 0.2 for p in timeline[k]):
            yield f"reference {k + 1} is not on the {'right' if side > 0 else 'left'}"
    for k, side in _numbers(expected, "moves"):
        ends = [_pan(p) for p in timeline[k]]
        if not ends or side * (ends[-1][1] - ends[0][0]) < 0.5:
            yield f"reference {k + 1} does not move to the {'right' if side > 0 else 'left'}"


def faults(item: Scene, timeline: Timeline, warnings: Sequence[str]) -> list[str]:
    """What is wrong with a timeline, one sentence each; empty where it is wholly right.

    Parameters
    ----------
    timeline
        Placements of each reference.
    warnings
        What the user was told.
    """
    timeline = [sorted(places, key=lambda p: p.start) for places in timeline]
    found: list[str] = []
    for check in (_common, _sequences, _times, _distances, _levels):
        found += check(item, timeline)
    if _expected(item).get("warning") and not warnings:
        found.append("the user is not told anything")
    return found


def evaluate_prompts(
    items: Sequence[Scene],
    arrange: Callable[[Scene], tuple[Timeline, Sequence[str]]],
) -> dict[str, Any]:
    """Share of prompts, in percent, whose timeline is wholly right, and the faults of the others.

    Parameters
    ----------
    arrange
        Gives the placements of each reference of an item, and the warnings.
    """
    wrong = []
    for item in items:
        found = faults(item, *arrange(item))
        if found:
            wrong.append({"prompt": item.prompt, "faults": found})
    share = 100.0 * (len(items) - len(wrong)) / max(1, len(items))
    return {"prompts": len(items), "right": round(share, 1), "wrong": wrong}
