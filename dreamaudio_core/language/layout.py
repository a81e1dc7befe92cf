"""The solver: from what was read of a prompt to times, reasons and warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..scene.timeline import Placement
from .reading import Event, Reading

LEAD, GAP = 0.08, 0.16
SHORTEST = 0.06
# Longest part of a long sound among others, as a share of the target (5 s of 10.24 s).
_LONGEST = 5.0 / 10.24
_SEVERAL = 4
# Decibels between repeats that get louder or quieter, and the least that they come to.
_RAMP, _RAMP_FLOOR = 3.0, -15.0
# How far to a side a sound goes that moves across the stereo image.
_SIDE = 0.8


@dataclass
class Layout:
    """Where each reference sounds, why, and what the user has to be told.

    `places` holds None for a reference that the prompt does not name (and does not exclude).
    """

    places: list[list[Placement] | None]
    reasons: list[str]
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Plan:
    """An event with the numbers that the solver works with."""

    event: Event
    count: int
    unit: float
    length: float
    step: float | None = None
    fixed: bool = False
    bed: bool = False
    starts: list[float] = field(default_factory=list)
    cap: float = math.inf

    @property
    def each(self) -> float:
        """Seconds of one occurrence."""
        return min(self.unit, self.cap)

    def pitch(self, squeeze: float = 1.0) -> float:
        """Seconds from start to start."""
        if self.step is not None:
            return self.step
        gap = self.event.between if self.event.between is not None else GAP * squeeze
        return self.each + gap

    def block(self, squeeze: float = 1.0) -> float:
        """Seconds from the first start to the last end."""
        return (self.count - 1) * self.pitch(squeeze) + self.each


def lay_out(reading: Reading, lengths: Sequence[float]) -> Layout:
    """Place what was read.

    Parameters
    ----------
    reading
        Result of `read_prompt`.
    lengths
        Seconds of each reference.
    """
    return _Solver(reading, lengths).solve()


class _Solver:
    def __init__(self, reading: Reading, lengths: Sequence[float]):
        self.reading, self.lengths, self.total = reading, list(lengths), reading.seconds
        self.limit = _LONGEST * self.total
        self.warnings: list[str] = list(reading.warnings)

    def _number(self, event: Event) -> str:
        return f"reference {self.reading.members[event.group or 0][0] + 1}"

    def _length(self, event: Event) -> float:
        return max(self.lengths[k] for k in self.reading.members[event.group or 0])

    def solve(self) -> Layout:
        entries = [
            [self._plan(e, entry) for e in entry if e.count != 0] for entry in self.reading.sequence
        ]
        entries = [entry for entry in entries if entry]
        plans = [plan for entry in entries for plan in entry]
        self._again_at_end(entries)
        self._by_event = {id(p.event): p for entry in entries for p in entry}
        beds = [p for p in plans if p.bed]
        flow = [[p for p in entry if not p.bed] for entry in entries]
        flow = [entry for entry in flow if entry]
        for plan in beds:
            plan.starts = [0.0]
        self._fit(flow, bool(beds))
        places: list[list[Placement] | None] = [None] * len(self.lengths)
        reasons = [""] * len(self.lengths)
        for group, members in enumerate(self.reading.members):
            mine = [p for entry in entries for p in entry if p.event.group == group]
            if group in self.reading.denied:
                for k in members:
                    places[k], reasons[k] = [], "excluded by the prompt"
            if not mine:
                continue
            self._give(mine, members, places, reasons)
        return Layout(places, reasons, self.warnings)

    def _again_at_end(self, entries: list[list[_Plan]]) -> None:
        """ "At the end the dog barks again" says that it has barked before."""
        groups = [p.event.group for entry in entries for p in entry]
        for entry in list(entries):
            for plan in entry:
                event = plan.event
                said = any("again" in r for r in event.reasons) or event.other
                if event.position == "end" and said and groups.count(event.group) == 1:
                    if len(self.reading.members[event.group or 0]) == 1:
                        first = Event(event.group, event.text)
                        entries.insert(0, [self._plan(first, [first])])

    # Durations and counts

    def _plan(self, event: Event, entry: Sequence[Event]) -> _Plan:
        length = self._length(event)
        unit, step, count = min(length, self.total), None, event.count
        low, high = self._span(event)
        window = high - low
        if event.every is not None or event.apart is not None:
            interval = event.every or event.apart or 1.0
            step = interval
            if event.duration is not None:
                window = min(window, event.duration)
            if count is None or (event.every is not None and count == 1):
                full = window if event.duration is None else window
                count = max(
                    1,
                    math.floor(
                        (full - (0.0 if event.duration else min(unit, interval)) - 1e-6) / interval
                    )
                    + 1,
                )
            unit = min(unit, interval)
            if event.span is not None and event.span[0] > 0.0:
                event.starts = tuple(low + i * interval for i in range(count))
        elif event.within is not None and (count or 1) > 1:
            step = min(event.within, self.total) / (count or 1)
            unit = min(unit, step)
        elif event.duration is not None and (count or 1) == 1:
            unit = min(event.duration, self.total)
        if (
            event.noun_count
            and length >= 2.0
            and any(
                w.endswith("s") and not w.endswith("ss")
                for w in self.reading.captions[event.group or 0].split()
            )
        ):
            count = None
        if count is None:
            count = len(event.starts) or 1
            if (
                count == 1
                and event.plural
                and length <= 1.5
                and event.duration is None
                and not event.bed
                and not event.span
            ):
                count = _SEVERAL
        if len(event.starts) > 1:
            count = len(event.starts)
        plan = _Plan(event, max(1, count), unit, length, step)
        alone = len(list(self.reading.events)) == 1
        others = [e for e in entry if e is not event]
        single = count == 1 and not event.starts and event.duration is None and event.every is None
        if event.span is not None and event.every is None and count == 1:
            plan.fixed = True
            plan.unit = max(SHORTEST, high - low)
        elif event.starts:
            plan.fixed = True
        elif event.anchor is not None:
            pass
        elif single and not event.position:
            partner = max((self._length(e) * (e.count or 1) for e in others), default=0.0)
            long = length > self.limit or (length >= 0.38 * self.total and length > 1.6 * partner)
            occasional = any((e.within or 0.0) >= self.total for e in self.reading.events)
            if event.bed or (event.place and length >= 1.5) or (occasional and length >= 2.0):
                plan.bed = True
            elif (
                others
                and long
                and not any(e.bed for e in others)
                and (len(self.reading.sequence) == 1 or length > self.limit)
            ):
                plan.bed = True
            elif (
                not alone
                and length >= 0.38 * self.total
                and all(e.starts or e is event for e in self.reading.events)
                and self.reading.sequence[0][0] is event
            ):
                plan.bed = True
            elif alone and length > self.total - 0.6:
                plan.bed = True
            if plan.bed:
                plan.unit = self.total
        elif event.bed and event.duration is None and count == 1 and not event.starts:
            plan.bed, plan.unit = True, self.total
        return plan

    def _span(self, event: Event) -> tuple[float, float]:
        low, end = event.span or (event.starts[0] if event.starts else 0.0, None)
        high = self.total if end is None else min(end, self.total)
        return max(0.0, min(low, high)), high

    # Times

    def _fit(self, flow: list[list[_Plan]], centred: bool) -> None:
        self._shares(flow)
        squeeze = 1.0
        self._run(flow, squeeze)
        if not self._over(flow):
            self._centre(flow, centred)
            return
        movable = [
            p for entry in flow for p in entry if p.event.duration is None and p.event.span is None
        ]
        high, low = max((p.unit for p in movable), default=1.0), SHORTEST
        for squeeze in (1.0, 0.5, 0.1):
            a, b = low, high
            for _ in range(24):
                middle = (a + b) / 2
                for plan in movable:
                    plan.cap = middle
                self._run(flow, squeeze)
                a, b = (a, middle) if self._over(flow) else (middle, b)
            for plan in movable:
                plan.cap = a
            self._run(flow, squeeze)
            if not self._over(flow) and a > 0.1:
                break
        for plan in movable:
            if plan.cap < plan.unit - 0.05:
                self.warnings.append(
                    f"{self._number(plan.event)}: shortened to {plan.each:.2f} s each, so that "
                    f"all fits into {self.total:g} s"
                )

    def _shares(self, flow: list[list[_Plan]]) -> None:
        """A long sound among others in sequence gives one stretch of it."""
        longs = [
            p
            for entry in flow
            for p in entry
            if p.length > self.limit and p.count == 1 and p.event.duration is None and not p.fixed
        ]
        if not longs or len(flow) < 2:
            return
        if all(p.fixed for entry in flow for p in entry if p not in longs):
            for plan in longs:
                plan.unit = min(plan.length, self.total - LEAD)
            return
        short = sum(
            max(p.block() for p in entry) for entry in flow if not any(p in longs for p in entry)
        )
        gaps = sum(max((p.event.gap or GAP) for p in entry) for entry in flow[1:])
        share = (self.total - LEAD - gaps - short) / len(longs) - 0.08
        for plan in longs:
            plan.unit = max(0.6, min(self.limit, share))

    def _run(self, flow: list[list[_Plan]], squeeze: float) -> None:
        """Give starts from left to right."""
        end, begun = 0.0, False
        previous: list[_Plan] = []
        for entry in flow:
            gaps = [p.event.gap for p in entry if p.event.gap is not None]
            start = end + (gaps[0] if gaps else GAP * squeeze if begun else LEAD)
            blocks = [p.block(squeeze) for p in entry]
            for plan in sorted(entry, key=lambda p: p.event.anchor is not None):
                low, _ = self._span(plan.event)
                event = plan.event
                if len(event.starts) > 1:
                    plan.starts = list(event.starts)
                    continue
                at = start
                if event.starts or event.span is not None:
                    at = low if event.span is None or event.span[0] >= 0 else start
                    if event.span is not None and event.span[0] < 0:
                        plan.unit = max(SHORTEST, self.total - start)
                        plan.cap = math.inf
                    self._cut_before(previous, at)
                elif event.position == "end":
                    at = max(
                        start if start + plan.block(squeeze) > self.total else 0.0,
                        self.total - plan.block(squeeze),
                    )
                elif event.position == "halfway":
                    at = (
                        max(start, self.total / 2)
                        if plan.block(squeeze) < self.total / 2
                        else start
                    )
                    at = max(at, start)
                elif event.position == "middle" and len(flow) == 1:
                    at = (self.total - plan.block(squeeze)) / 2
                elif event.position == "middle" and entry is not flow[0]:
                    rest = flow[flow.index(entry) + 1 :]
                    behind = sum(GAP + max(p.block(squeeze) for p in e) for e in rest)
                    centre = (self.total - plan.block(squeeze)) / 2
                    at = max(start, min(centre, self.total - plan.block(squeeze) - behind))
                elif event.position == "beginning":
                    at = LEAD if begun and len(flow) > 1 else start
                if event.later is not None:
                    at = start
                if event.anchor is not None:
                    at = self._anchored(plan, start)
                if (
                    plan.event.every is not None
                    and not begun
                    and not event.starts
                    and event.gap is None
                ):
                    at = 0.0
                plan.starts = [at + i * plan.pitch(squeeze) for i in range(plan.count)]
            longest = max(blocks)
            for plan in entry:
                # What sounds with the others, once and as if endless, goes on as long as they do.
                brief = (
                    plan.count == 1
                    and plan.length >= 2.0
                    and plan.event.duration is None
                    and not plan.fixed
                )
                if brief and plan.cap == math.inf and plan.unit < longest and len(entry) > 1:
                    plan.unit = min(longest, self.total)
            end = max(
                end if any(p.event.position == "beginning" for p in entry) else 0.0,
                max(p.starts[-1] + p.each for p in entry),
            )
            begun, previous = True, entry
        for plan in (p for entry in flow for p in entry if p.event.anchor is not None):
            # Its host may come later.
            shift = self._anchored(plan, plan.starts[0]) - plan.starts[0]
            plan.starts = [start + shift for start in plan.starts]

    def _anchored(self, plan: _Plan, otherwise: float) -> float:
        """Start of an event that begins in or with another one; within it as far as it fits."""
        assert plan.event.anchor is not None
        event, share, seconds = plan.event.anchor
        host = self._by_event.get(id(event))
        if host is None or not host.starts:
            return otherwise
        if share == 1.0:
            at = host.starts[-1] + host.each - min(plan.each, host.each) / 2
        else:
            at = host.starts[0] + share * host.each + seconds
            if share and plan.block() < host.each:
                at = min(at, host.starts[0] + host.each - plan.block())
        return max(0.0, min(at, self.total - min(plan.each, plan.block())))

    def _cut_before(self, previous: list[_Plan], at: float) -> None:
        for plan in previous:
            if plan.fixed or not plan.starts or plan.count > 1 or plan.length > self.limit:
                continue
            if plan.starts[0] + plan.each > at > plan.starts[0] + 0.3:
                plan.cap = at - plan.starts[0] - 0.02

    def _over(self, flow: list[list[_Plan]]) -> bool:
        for entry in flow:
            for p in entry:
                if (p.event.starts and p.count == len(p.event.starts)) or (
                    p.event.span is not None and p.count == 1
                ):
                    continue
                if p.starts[-1] + p.each > self.total + 1e-6:
                    return True
        ends = [p for p in (q for entry in flow[:-1] for q in entry) if not p.fixed]
        last = [p for p in (flow[-1] if flow else []) if p.event.position == "end"]
        return bool(last) and any(p.starts[-1] + p.each > last[0].starts[0] + 1e-6 for p in ends)

    def _centre(self, flow: list[list[_Plan]], centred: bool) -> None:
        plans = [p for entry in flow for p in entry]
        stays = any(
            p.fixed
            or p.event.position
            or p.event.anchor
            or p.event.gap
            and p is plans[0]
            or p.event.every
            for p in plans
        )
        if not centred or not plans or stays:
            return
        end = max(p.starts[-1] + p.each for p in plans)
        shift = max(0.0, math.floor((self.total - (end - LEAD)) / 2 / LEAD) * LEAD - LEAD)
        for plan in plans:
            plan.starts = [s + shift for s in plan.starts]

    # Result

    def _give(
        self,
        mine: list[_Plan],
        members: Sequence[int],
        places: list[list[Placement] | None],
        reasons: list[str],
    ) -> None:
        found: list[tuple[float, float, _Plan]] = []
        for plan in mine:
            for i, start in enumerate(plan.starts):
                if start >= self.total - 0.03:
                    self.warnings.append(
                        f"{self._number(plan.event)}: {start:g} s lies beyond the end "
                        f"({self.total:g} s), left out"
                    )
                    continue
                each = plan.each
                if (
                    start + each > self.total + 0.01
                    and plan.event.span is None
                    and each <= plan.length
                ):
                    self.warnings.append(
                        f"{self._number(plan.event)}: cut at the end, {self.total - start:.2f} of "
                        f"{each:.2f} s are left"
                    )
                found.append((max(0.0, start), min(each, self.total - start), plan))
        found.sort(key=lambda f: f[0])
        turns: dict[int, list[Placement]] = {k: [] for k in members}
        for i, (start, duration, plan) in enumerate(found):
            k = members[i % len(members)]
            own = self.lengths[k]
            long = (
                plan.bed
                or plan.event.duration is not None
                or plan.event.span is not None
                or plan.unit > plan.length
            )
            duration = duration if long else min(duration, own)
            place = self._placement(plan, start, duration)
            ramp = plan.event.ramp
            if not ramp and len(found) > 2:
                # Short sounds that come nearer do so from one to the next.
                ramp = float(plan.event.fade_in) - float(plan.event.fade_out)
            if ramp:
                step = i if ramp < 0 else len(found) - 1 - i
                place = replace(place, gain=max(_RAMP_FLOOR, place.gain - _RAMP * step))
            turns[k].append(place)
        for k in members:
            cut: list[Placement] = []
            for place in turns[k]:
                if cut and place.start < cut[-1].start + cut[-1].duration - 1e-6:
                    room = place.start - cut[-1].start
                    if room < SHORTEST:
                        continue
                    cut[-1] = replace(cut[-1], duration=room)
                cut.append(place)
            places[k] = cut
            said = [r for p in mine for r in p.event.reasons]
            named = f'"{mine[0].event.text}"' if mine[0].event.text else "the prompt"
            reasons[k] = "; ".join(dict.fromkeys([f"named by {named}", *said]))
            if not cut:
                reasons[k] = "its turn does not come" if found else "its time lies beyond the end"

    def _placement(self, plan: _Plan, start: float, duration: float) -> Placement:
        event = plan.event
        fade = round(min(2.5, duration / 3), 2)
        return Placement(
            round(start, 4),
            round(duration, 4),
            float(event.gain or 0.0),
            fade_in=fade if event.fade_in else 0.0,
            fade_out=fade if event.fade_out else 0.0,
            pan=-_SIDE * event.moves if event.moves else event.pan,
            pan_end=_SIDE * event.moves if event.moves else None,
        )
