"""From the answers of the arranger to a timeline: starts on the grid, sounds in a row that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..scene.timeline import Placement
from .arranger import ArrangerOutput

# Users nearly always want a reference that they supply, more often than the compositions of
# training do: lean towards using it.
_ASKED_LOGIT = -2.5
# The timing rules of training (`data.compose.timing`): silence before the first sound and between
# two, and the longest part of one sound as a share of the target.
_LEAD, _GAP, _LONGEST = 0.08, 0.16, 5.0 / 10.24
# A gap from here on is a pause that the prompt speaks of, or the time of a sound without reference.
_PAUSE = 0.9
# Sounds that overlap by no more than this, in seconds, and by less than half of the first one, are
# meant to follow each other.
_SLACK = 0.5


def decode_timeline(
    out: ArrangerOutput, reference_seconds: Sequence[float], seconds: float, grid: float
) -> list[tuple[Placement, ...]]:
    """Placements of each reference in time order, of the first item of a batch.

    Parameters
    ----------
    out
        Of `predict`.
    reference_seconds, seconds
        Lengths of the references and of the target.
    grid
        Starts are whole multiples of this, in seconds.

    Returns
    -------
    list[tuple[Placement, ...]]
        An empty tuple where the prompt does not ask for the reference.
    """
    timeline = [_decode(out, k, s, seconds, grid) for k, s in enumerate(reference_seconds)]
    return _shared_out(timeline, reference_seconds, seconds, grid)


def _shared_out(
    timeline: list[tuple[Placement, ...]],
    reference_seconds: Sequence[float],
    seconds: float,
    grid: float,
) -> list[tuple[Placement, ...]]:
    """A row of sounds, each once, whose long ones get equal parts of what the short ones leave.

    The network gives the order and the pauses; where the lengths of the long sounds are a little
    off, so are all starts after them. A timeline that is no such row is returned as it is.
    """
    used = [k for k, places in enumerate(timeline) if places]
    order = sorted(used, key=lambda k: timeline[k][0].start)
    longs = [k for k in order if reference_seconds[k] > _LONGEST * seconds + grid / 8]
    row = [timeline[k][0] for k in order]
    pauses = [b.start - a.start - a.duration for a, b in zip(row, row[1:])]
    follow = all(p > -min(_SLACK, a.duration / 2) for p, a in zip(pauses, row))
    once = all(len(timeline[k]) == 1 for k in used)
    if not longs or not pauses or not once or not follow or row[0].start > 5 * grid:
        return timeline
    gaps = [pause if pause > _PAUSE else _GAP for pause in pauses]
    whole = sum(math.ceil(reference_seconds[k] / grid - 1e-6) * grid for k in order)
    if _LEAD + sum(gaps) + whole <= seconds:
        return timeline  # nothing need be cut, least of all to the training's longest part
    short = sum(reference_seconds[k] for k in order if k not in longs)
    room = (seconds - _LEAD - sum(gaps) - grid * len(order) - short) / len(longs)
    share = max(8 * grid, math.floor(min(_LONGEST * seconds, room) / grid + 1e-6) * grid)
    found, end = list(timeline), _LEAD
    for k, place, gap in zip(order, row, [0.0, *gaps]):
        start = round(math.ceil((end + gap) / grid - 1e-6) * grid, 4)
        duration = min(share if k in longs else reference_seconds[k], seconds - start)
        if duration < grid / 2:
            return timeline
        found[k] = (replace(place, start=start, duration=duration),)
        end = start + duration
    return found


def _decode(
    out: ArrangerOutput, k: int, reference_seconds: float, seconds: float, grid: float
) -> tuple[Placement, ...]:
    if out.occurs[0, k] <= _ASKED_LOGIT:
        return ()
    places = []
    for repeat in range(int(out.repeats[0, k].argmax()) + 1):
        duration = min(float(out.duration[0, k, repeat]), reference_seconds, seconds)
        start = _on_grid(float(out.start[0, k, repeat]), seconds - duration, grid)
        places.append(Placement(start, min(duration, seconds - start), float(out.gain[0, k])))
    return tuple(sorted(places, key=lambda place: place.start))


def _on_grid(start: float, latest: float, grid: float) -> float:
    """Multiple of `grid` nearest to `start`, from 0 to `latest`."""
    frames = min(round(start / grid), math.floor(latest / grid + 1e-6))
    return round(max(frames, 0) * grid, 4)


def nothing_missing(out: ArrangerOutput) -> bool:
    """Whether the references stand for everything that the prompt asks for; a network without
    `predicts_missing` takes it that they do.
    """
    return out.complete is None or bool(out.complete > 0)


def default_timeline(
    reference_seconds: Sequence[float], seconds: float, grid: float
) -> list[tuple[Placement, ...]]:
    """References back to back in the order given, for when no arranger or no prompt says otherwise.

    Where they do not fit into the target, the longest are cut to one common length at which all do.
    Parameters and result as of `decode_timeline`.
    """
    longest, room = math.inf, seconds
    ascending = sorted(reference_seconds)
    for index, length in enumerate(ascending):
        if length > room / (len(ascending) - index):
            longest = room / (len(ascending) - index)
            break
        room -= length
    timeline: list[tuple[Placement, ...]] = []
    begin = 0.0
    for length in reference_seconds:
        duration = min(length, longest)
        start = _on_grid(begin, seconds - duration, grid)
        timeline.append((Placement(start, min(duration, seconds - start)),))
        begin += duration
    return timeline
