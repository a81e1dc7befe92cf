"""From parts, cues and connectives to events in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .cues import Cue
from .numbers import tokenize
from .parts import HARD, SPLITTING, Part, PromptParts
from .reading import Event, Reading

# Connectives that may open a subordinate clause before the main one.
_SUBORDINATE = {
    "backward": {"after", "only after", "once", "when", "as soon as", "following",
        "right after", "immediately after", "shortly after", "soon after", "just after",
        "directly after", "straight after", "moments after",
    },
    "forward": {"before", "prior to", "until", "till"},
    "together": {
        "right as", "exactly as", "right when", "just when", "exactly when", "the moment",
        "the instant", "at the moment", "while", "whilst", "as", "just as", "during", "with",
        "over", "under", "beneath", "underneath", "against", "against a backdrop of",
        "against a background of", "amid",
        "above", "behind", "whereas", "overlapping", "overlapping with",
    },
}  # fmt: skip
_ADVERBS_TOGETHER = {
    "at the same time", "simultaneously", "together", "all at once", "both at once", "at once",
    "mixed together", "in parallel", "in unison", "at the same moment", "at the same instant",
}  # fmt: skip
# Of what lies below everything else, at the end of its clause.
_BELOW = {"behind", "underneath", "beneath", "under", "meanwhile"}
_ALL_ELSE = {"it", "this", "that", "them", "everything", "all"}
# What ends the whole, not only the order.
_ENDS = {
    "end with", "ends with", "it ends with", "ends on", "it ends on", "finishes on", "finish on",
    "closes with", "closing with", "ending with", "ending on", "concludes with", "to end with",
}  # fmt: skip
# How often each of the sounds that take turns sounds where the prompt does not say.
TURNS = 3
# Words that come with the last sound where it is told last anyway.
_AT_LAST = {"last of all", "lastly", "finally", "in the end", "at last", "to finish"}


class EventBuilder:
    """Events from labelled parts, cues and connectives."""

    def __init__(self, reader: PromptParts, reading: Reading):
        self.reader, self.reading = reader, reading
        self.line: list[list[Event]] = []
        self.first_line: list[Event] = []
        self.last: list[Event] = []
        self.all: list[Event] = []
        self.sentence: list[Event] = []
        # Number of the sentence's events before its last word of order.
        self.listed = 0
        self.by_part: dict[int, Event] = {}
        self.main: Event | None = None
        self.recent: Event | None = None
        # What sounds on both sides of the next event.
        self.framing: Event | None = None
        # What the next event is to sound on both sides of; True while it is still to come.
        self.framed: Event | bool = False
        # Events of the last sentence, and those that are to come again as often as told.
        self.said: list[Event] = []
        self.repeats: list[tuple[list[Event], int]] = []
        # Where in a host to come, and what is to start there (None where it is told last).
        self.inside: tuple[tuple[float, ...], Event | None] | None = None
        # The host and the place in it of the next event.
        self.host: tuple[Event, tuple[float, ...]] | None = None

    def build(self) -> None:
        elements = self.reader.elements
        relation, prefix, prefix_event, offset = "", "", None, None
        gap: float | None = None
        in_object = False
        pending_first = pending_last = False
        together_sentence = False
        keep_main = meanwhile = pinned_end = beside = False
        amid = ""
        framed: list[Event] = []
        self._headings()
        for at, (kind, value) in enumerate(elements):
            if kind == "break":
                if value == "and":
                    continue
                if value == "in":
                    following = self._next_in_sentence(at)
                    if (
                        not self.sentence
                        and following is not None
                        and following.group is not None
                        and not prefix
                    ):
                        if not relation and self._another(at, following):
                            following.place = True
                            prefix = "together"
                    continue
                if value in ("place", "article"):
                    if value == "place":
                        continue
                    if prefix and prefix_event is not None:
                        value = "comma"
                    else:
                        continue
                if prefix and prefix_event is not None:
                    relation = {
                        "backward": "forward",
                        "forward": "backward",
                        "together": "together",
                    }[prefix]
                    self.main = prefix_event
                    prefix, prefix_event = "", None
                elif value == "comma":
                    in_object = False
                if value in ("hard", "comma"):
                    keep_main = False
                if value == "hard":
                    beside = False
                    if self.sentence:
                        if together_sentence:
                            self._together(self.sentence)
                        self.said = self.sentence
                        self.sentence, self.listed = [], 0
                        together_sentence = False
                    prefix, prefix_event, in_object = "", None, False
                continue
            if kind == "cue":
                cue: Cue = value
                phrase = " ".join(t.text for t in self.reader.tokens[cue.first : cue.last])
                if cue.kind in ("forward", "backward", "together"):
                    opens = phrase in _SUBORDINATE[cue.kind] and (
                        not self._part_before(at)
                        or (cue.kind == "backward" and self._clause_follows(at))
                    )
                    trailing = cue.kind == "together" and not self._part_after(at)
                    if phrase in _ADVERBS_TOGETHER and (trailing or not self.sentence):
                        if trailing and self.sentence:
                            # "A, then B and C at the same time" is said of B and C.
                            first = 0 if "all" in phrase else self.listed
                            self._together(self.sentence[first:] or self.sentence)
                        else:
                            together_sentence = True
                    elif opens and relation in ("", "forward"):
                        prefix = cue.kind
                        relation = relation or "forward"
                    elif trailing and self.recent is not None:
                        next_tokens = self.reader.tokens[cue.last : cue.last + 1]
                        if phrase in _BELOW and all(
                            t.text in _ALL_ELSE or not t.is_word for t in next_tokens
                        ):
                            self.recent.bed = True
                    elif (
                        phrase == "before" and not self._part_after(at) and self._ends_sentence(at)
                    ):
                        entries = [e for group in self.line for e in group]
                        if self.recent in entries and len(entries) > 1:
                            self._before(self.recent, entries[-2])
                    elif phrase == "with" and self._unknown_before(at):
                        pass
                    elif (
                        in_object and phrase in ("and then", "then") and not self._comma_before(at)
                    ):
                        pass
                    else:
                        if cue.kind == "backward" and self.recent is not None:
                            before = phrase in (
                                "but first",
                                "but before that",
                                "and before that",
                                "before that",
                                "before it",
                                "before this",
                                "before them",
                                "beforehand",
                                "earlier",
                            )
                            before |= self.reader.tokens[cue.first - 1].text == "which"
                            self.main = self.recent if before or self.main is None else self.main
                        relation, in_object = cue.kind, False
                        if cue.kind == "forward":
                            self.listed = len(self.sentence)
                        beside = cue.kind == "together"
                        keep_main = phrase in ("before", "until", "till", "prior to")
                        if phrase == "meanwhile" and self.recent is None:
                            relation, meanwhile = "", True
                elif cue.kind == "before_last":
                    self.main, relation = self.recent, "backward"
                elif cue.kind == "around":
                    if self._part_before(at):
                        self.framing = self.recent
                    else:
                        self.framed = True
                elif cue.kind == "amid":
                    if self._part_before(at):
                        relation, amid = "backward", "after"
                        self.main = self.recent
                    else:
                        amid = "open"
                elif cue.kind == "both_together":
                    pair = [e for e in self.all if e.group is not None][-2:]
                    self.line.append([self._twin(e) for e in pair])
                elif cue.kind in ("again_both", "again_all", "repeat_all"):
                    self._note_repeats(cue)
                elif cue.kind == "earlier_by":
                    self.main, relation = self.recent, "backward"
                    offset = cue.values[0]
                elif cue.kind == "inside":
                    self.inside = cue.values, self.recent if self._part_before(at) else None
                elif cue.kind == "inside_it":
                    self._inside_last(cue, at)
                elif cue.kind == "each_follows":
                    self.main, relation = self.recent, "backward"
                elif cue.kind in ("gap",):
                    gap = cue.values[0]
                elif cue.kind == "later":
                    if self._told_last(at):
                        # "a dog barks, a crow caws half a second after"
                        assert self.recent is not None
                        self.recent.gap = cue.values[0]
                    else:
                        gap, relation = cue.values[0], "forward"
                elif cue.kind == "after_by":
                    relation, offset = "backward", cue.values[0]
                    if not self._part_before(at):
                        prefix, relation = "backward", "forward"
                elif cue.kind == "before_by":
                    if not self._part_before(at):
                        prefix, relation = "forward", "forward"
                    else:
                        relation = "forward"
                    offset = cue.values[0]
                elif cue.kind == "after":
                    if (
                        self.all
                        and (relation or self._comma_before(at) or self.sentence == [])
                        and self._started(at)
                    ):
                        gap = cue.values[0]
                    # Otherwise an absolute time, given to its part below.
                elif cue.kind == "first":
                    leads = phrase.endswith((" with", " is", " comes", " on"))
                    pending_first = leads or not self._part_in_cell(at)
                    if not pending_first and self.recent is not None:
                        self._move(self.recent, "first")
                elif cue.kind == "last":
                    words = phrase.split()
                    whole = any(w in ("ends", "closes", "concludes") for w in words)
                    ends = (
                        phrase in _ENDS or (whole and words[-1] in ("with", "on"))
                    ) and "between" not in self.reader.prompt
                    pinned_end = ends
                    if phrase in _AT_LAST:
                        relation = relation or "forward"
                    elif not self._part_in_cell(at) or phrase.endswith(
                        (" with", " is", " comes", " on", " in")
                    ):
                        pending_last = True
                    elif self.recent is not None:
                        self._move(self.recent, "last")
                continue
            part: Part = value
            if part.denied or part.filler:
                continue
            if (
                part.aside
                and self.recent is not None
                and part.group == self.recent.group
                and not part.number
            ):
                self.by_part[id(part)] = self.recent
                continue
            event = self._host_named_before(part) or self._event(
                part, at, relation, in_object, prefix
            )
            if event is None:
                continue
            fresh = event not in self.all
            if self._settle_inside(event, fresh):
                relation = ""
                continue
            if amid == "open" and len(framed) == 2:
                self._before(event, framed[1])
                self.all.append(event)
                self.sentence.append(event)
                self.main, amid, framed, relation = event, "", [], ""
                self.recent = framed[1] if framed else event
                continue
            if amid == "open":
                framed.append(event)
            elif amid == "after" and relation != "backward" and fresh:
                in_object, amid = False, ""
            if fresh:
                self.all.append(event)
                if gap is not None:
                    event.gap = gap
                    event.reasons.append(f"{gap:g} s of silence before it")
                    gap = None
                if relation == "backward" and self.main is not None:
                    if offset is not None and self.main is not None:
                        if self._is_fixed(self.main):
                            event.anchor = self.main, 0.0, -offset
                        self.main.gap, offset = offset, None
                    self._before(event, self.main)
                    in_object = True
                elif (
                    in_object
                    and self._and_before(at)
                    and self.main is not None
                    and self.main is not event
                ):
                    self._before(event, self.main)
                elif beside and not relation and not prefix and self._enumerated(at):
                    self._beside(event, self.recent)
                elif relation == "together" and self.recent is not None:
                    self._beside(event, self.main if self.main in self.sentence else self.recent)
                elif part.place and self.recent is not None and self.recent in self.sentence:
                    event.place = True
                    self._beside(event, self.recent)
                else:
                    self.line.append([event])
                    if self.main is None:
                        self.main = event
                if prefix:
                    prefix_event = prefix_event or event
            else:
                if relation == "backward" and self.main is not None and event is not self.main:
                    self._before(event, self.main)
                    in_object = True
                elif prefix:
                    prefix_event = event
                self.main = event if relation != "backward" else self.main
            if self.framing is not None and fresh and event.group != self.framing.group:
                self._frame(event, self.framing)
                self.framing = None
            if self.framed is True:
                self.framed = event
            elif isinstance(self.framed, Event) and fresh and event.group != self.framed.group:
                self._frame(self.framed, event)
                self.framed = False
            self.sentence.append(event)
            self.recent = event
            relation = ""
            if not (in_object or prefix or keep_main) and event.group is not None:
                self.main = event
            if meanwhile and self.recent is event:
                event.bed, meanwhile = True, False
            if pending_first:
                self._move(event, "first")
                pending_first = False
            if pending_last:
                if pinned_end:
                    event.position, event.pinned = "end", True
                self._move(event, "last")
                pending_last = False
        self._attach()
        self._repeat_all()
        self._alternate()
        self._order_ends()
        self._read_off()

    def _order_ends(self) -> None:
        """Put what is said to be first or last there."""
        for event in self.all:
            if event.position == "end" and event not in self.last and event.group is not None:
                self.last.append(event)
        for event in self.last:
            self.line = [[e for e in g if e is not event] for g in self.line]
        self.line = [g for g in self.line if g] + [[e] for e in self.last]
        front = [e for e in self.first_line]
        for event in front:
            self.line = [[e for e in g if e is not event] for g in self.line]
        self.line = [[e] for e in front] + [g for g in self.line if g]

    def _read_off(self) -> None:
        """Give the reading its events and the parts that no reference stands for."""
        self.reading.unnamed = [
            self._quote(p)
            for p in self.reader.parts
            if p.group is None and p.words and not p.denied and not p.filler
        ]
        self.reading.sequence = [[e for e in g if e.group is not None] for g in self.line]
        self.reading.sequence = [g for g in self.reading.sequence if g]

    def _headings(self) -> None:
        """A part before a colon that is named again after it is a heading."""
        elements = self.reader.elements
        for at, (kind, value) in enumerate(elements):
            if (kind, value) != ("break", "colon") or not at:
                continue
            part = next((v for k, v in reversed(elements[:at]) if k == "part"), None)
            for k, v in elements[at + 1 :]:
                if (k, v) == ("break", "hard"):
                    break
                if k == "part" and part is not None and v.group == part.group is not None:
                    part.filler = part.number is None and part.repeats == 1

    def _another(self, at: int, part: Part) -> bool:
        """Whether the sentence names another reference."""
        for kind, value in self.reader.elements[at + 1 :]:
            if (kind, value) == ("break", "hard"):
                return False
            if kind == "part" and value.group not in (None, part.group):
                return True
        return False

    def _ends_sentence(self, at: int) -> bool:
        """Whether nothing follows in the sentence."""
        following = self.reader.elements[at + 1 : at + 2]
        return not following or following[0] == ("break", "hard")

    def _clause_follows(self, at: int) -> bool:
        """Whether a conjunction in mid-sentence opens a clause that a main clause follows, as in
        "a dog barks, and once it is quiet, a door slams".
        """
        elements = self.reader.elements
        if not at or elements[at - 1] not in (("break", "comma"), ("break", "and")):
            return False
        inner = 0
        for kind, value in elements[at + 1 :]:
            if kind == "break" and value == "hard":
                return False
            if kind == "break" and value in ("comma", "article"):
                part = self._next_in_sentence(elements.index((kind, value), at + 1 + inner))
                plain = value == "comma" and elements[at - 1] == ("break", "and")
                named = part is not None and part.group is not None
                return named and (plain or value == "article")
            inner += 1
        return False

    def _unknown_before(self, at: int) -> bool:
        """Whether the last part is of no known sound, so that what follows "with" names it."""
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "break" and value != "article":
                return False
            if kind == "part":
                return value.group is None
        return False

    # Order

    def _started(self, at: int) -> bool:
        return bool(self.all)

    def _part_before(self, at: int) -> bool:
        """Whether a sound was named earlier in the sentence."""
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "break" and value in ("hard",):
                return False
            if kind == "part" and not value.denied and (value.words or value.number):
                return True
        return False

    def _part_after(self, at: int) -> bool:
        """Whether a sound is named after it, before the next comma."""
        for kind, value in self.reader.elements[at + 1 :]:
            if kind == "break" and value in ("hard", "comma"):
                follows = value == "comma" and not self._part_in_cell(at)
                return follows and bool(self._next_in_sentence(at))
            if kind == "part" and value.words:
                return True
            if kind == "cue" and value.kind in ("forward", "backward"):
                return False
        return False

    def _part_in_cell(self, at: int) -> bool:
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "break" and value in ("hard", "comma", "colon"):
                return False
            if kind == "part" and value.words:
                return True
        return False

    def _next_in_sentence(self, at: int) -> Part | None:
        for kind, value in self.reader.elements[at + 1 :]:
            if kind == "break" and value == "hard":
                return None
            if kind == "part" and value.words:
                return value
        return None

    def _told_last(self, at: int) -> bool:
        """Whether a time stands behind the second or a later sound, and none comes after it."""
        named = [e for e in self.all if e is not self.recent]
        after = self.recent is not None and self._part_in_cell(at) and bool(named)
        return after and not self._part_after(at)

    def _comma_before(self, at: int) -> bool:
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "part":
                return False
            if kind == "break" and value in ("comma", "hard"):
                return True
        return False

    def _and_before(self, at: int) -> bool:
        found = False
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "part":
                return found
            if kind == "break":
                if value in ("comma", "hard"):
                    return False
                found = found or value == "and"
            if kind == "cue" and value.kind == "forward":
                found = True
        return found

    def _enumerated(self, at: int) -> bool:
        """Whether a part goes on with a list whose last item "and" joins ("while b, c and d")."""
        if self._and_before(at):
            return True
        following = self.reader.elements[at + 1 :]
        for i, (kind, value) in enumerate(following):
            if kind == "break" and value == "hard":
                return False
            if (kind, value) == ("break", "and"):
                return any(k == "part" for k, _ in following[i : i + 2])
            if kind == "cue" and value.kind in ("forward", "backward", "together"):
                return False
        return False

    def _entry(self, event: Event) -> int | None:
        for i, group in enumerate(self.line):
            if any(e is event for e in group):
                return i
        return None

    def _before(self, event: Event, anchor: Event) -> None:
        for group in self.line:
            group[:] = [e for e in group if e is not event]
        self.line = [g for g in self.line if g]
        i = self._entry(anchor)
        self.line.insert(len(self.line) if i is None else i, [event])

    def _beside(self, event: Event, anchor: Event | None) -> None:
        i = self._entry(anchor) if anchor is not None else None
        if i is None:
            self.line.append([event])
        else:
            self.line[i].append(event)

    def _note_repeats(self, cue: Cue) -> None:
        """What "they both go again" and "this happens three times" is said of."""
        named = [e for e in self.all if e.group is not None]
        if cue.kind == "again_both":
            events = named[-2:]
        else:
            said = [e for e in self.sentence or self.said if e in named]
            events = said if cue.kind == "repeat_all" and len(said) > 1 else named
        self.repeats.append((events, int(cue.values[0]) if cue.values else 2))

    def _repeat_all(self) -> None:
        """Let events come again, all in their order."""
        for events, times in self.repeats:
            if len(events) == 1:
                events[0].count = (events[0].count or 1) * times
                continue
            rows = [[e for e in g if e in events] for g in self.line]
            last = max((i for i, row in enumerate(rows) if row), default=-1) + 1
            again: list[list[Event]] = []
            for _ in range(times - 1):
                for row in filter(None, rows):
                    again.append([self._twin(e) for e in row])
            self.line[last:last] = again

    def _twin(self, event: Event) -> Event:
        """The same once more, wherever it comes."""
        twin = replace(
            event, starts=(), span=None, position="", other=True, part=-1, reasons=[], anchor=None
        )
        self.all.append(twin)
        return twin

    def _is_fixed(self, event: Event) -> bool:
        """Whether the prompt says at which second an event starts."""
        elements = self.reader.elements
        times = [i for i, (k, v) in enumerate(elements) if k == "cue" and v.kind == "at"]
        return any(self._owner(i)[0] is event for i in times)

    def _inside_last(self, cue: Cue, at: int) -> None:
        """ "In the middle of it": the host is what was named last, but for the guest itself."""
        if self.recent is None:
            return
        others = [e for e in self.all if e is not self.recent and e.group is not None]
        if self._part_in_cell(at) and others:
            self._put_inside(self.recent, others[-1], cue.values)
        else:
            self.host = self.recent, cue.values

    def _host_named_before(self, part: Part) -> Event | None:
        """The event of a host that the prompt has named before."""
        if self.inside is None or part.group is None:
            return None
        same = [e for e in self.all if e.group == part.group and e is not self.inside[1]]
        if same:
            self.by_part[id(part)] = same[-1]
        return same[-1] if same else None

    def _settle_inside(self, event: Event, fresh: bool) -> bool:
        """Put an event where "halfway through" or the like wants it; False if nothing does."""
        if self.host is not None and event.group is not None and event is not self.host[0]:
            (host, values), self.host = self.host, None
            guest = event
        elif self.inside is not None:
            (values, guest_), self.inside = self.inside, None
            host = event
            if event.group is None:
                return False
            if guest_ is None:
                self.host = host, values
                if fresh:
                    self.line.append([host])
            guest = guest_ or host
        else:
            return False
        if fresh:
            self.all.append(event)
        if guest is not host:
            if self._entry(host) is None:
                i = self._entry(guest)
                self.line.insert(len(self.line) if i is None else i, [host])
            self._put_inside(guest, host, values)
        self.sentence.append(event)
        self.recent = self.main = event
        return True

    def _put_inside(self, guest: Event, host: Event, values: Sequence[float]) -> None:
        for group in self.line:
            group[:] = [e for e in group if e is not guest]
        self.line = [g for g in self.line if g]
        self._beside(guest, host)
        guest.anchor = host, values[0], values[1]

    def _frame(self, event: Event, side: Event) -> None:
        """Put a sound before and after another one ("a dog barks on either side of it")."""
        side.count = 1 if side.count in (None, 2) else side.count
        twin = Event(side.group, side.text, count=side.count, other=True)
        self.all.append(twin)
        self._before(side, event)
        at = self._entry(event)
        self.line.insert(len(self.line) if at is None else at + 1, [twin])

    def _alternate(self) -> None:
        """Let the sounds of a sentence take turns where it says so."""
        elements = self.reader.elements
        for at, (kind, value) in enumerate(elements):
            if kind != "cue" or value.kind != "alternate":
                continue
            first, last = at, at
            while first > 0 and elements[first - 1] != ("break", "hard"):
                first -= 1
            while last < len(elements) and elements[last] != ("break", "hard"):
                last += 1
            parts = [id(v) for k, v in elements[first:last] if k == "part"]
            events = [self.by_part[p] for p in parts if p in self.by_part]
            events = list({id(e): e for e in events if e.group is not None}.values())
            if not 1 < len({e.group for e in events}) == len(events):
                continue
            counts = [e.count for e in events if e.count and e.count > 1]
            turns = max(counts, default=TURNS)
            places = [i for i in map(self._entry, events) if i is not None]
            if not places:
                continue
            before = self.line[: min(places)]
            rest = [[e for e in g if e not in events] for g in self.line[min(places) :]]
            rows: list[list[Event]] = [[e] for e in events]
            for event in events:
                event.count = 1
                event.reasons.append(f"{self._said(value)}: {turns} turns")
            for _ in range(turns - 1):
                for event in events:
                    twin = Event(event.group, event.text, count=1, other=True)
                    self.all.append(twin)
                    rows.append([twin])
            self.line = [*before, *rows, *(g for g in rest if g)]

    def _together(self, events: Sequence[Event]) -> None:
        first = None
        for event in events:
            i = self._entry(event)
            if i is None:
                continue
            if first is None:
                first = i
            elif i != first:
                self.line[i] = [e for e in self.line[i] if e is not event]
                self.line[first].append(event)
        self.line = [g for g in self.line if g]

    def _move(self, event: Event, where: str) -> None:
        if where == "last":
            self.last = [e for e in self.last if e is not event] + [event]
        elif not self.first_line:
            self.first_line = [event]

    # Events

    def _quote(self, part: Part) -> str:
        tokens = self.reader.tokens
        return self.reader.prompt[tokens[part.first].start : tokens[part.last - 1].end]

    def _event(
        self, part: Part, at: int, relation: str, in_object: bool, prefix: str
    ) -> Event | None:
        again = part.again or any(
            kind == "cue" and value.kind == "again" for kind, value in self._cell(at)
        )
        group = part.group
        tail = [
            k
            for k, v in self._cell(at)
            if k == "cue" and v.kind in ("times", "at", "gain", "again", "later", "end")
        ]
        if group is None:
            ordinal = any(
                t.text in ("one", "other", "another", "answers", "them", "it")
                for t in self.reader.tokens[part.first : part.last]
            )
            if (
                not part.words
                and not part.number
                and not (again or (tail and relation == "forward"))
            ):
                return None
            empty = not part.words or (again and ordinal)
            if empty and self.recent is not None and (again or part.number or tail):
                if not again and not relation and part.number:
                    self.recent.count = int(part.number)
                    return None
                if (again or relation == "forward") and self.recent.group is not None:
                    event = Event(self.recent.group, self.recent.text, part=id(part))
                    event.count = int(part.number) if part.number else None
                    event.other = True
                    self.by_part[id(part)] = event
                    return event
                return None
            if again and self.recent is not None and not part.words:
                return None
            if not part.words:
                return None
            event = Event(None, self._quote(part), part=id(part))
            self.by_part[id(part)] = event
            return event
        same = [e for e in self.all if e.group == group]
        if same and not again and not part.number and part.repeats == 1:
            next_cue = next(
                (
                    v
                    for k, v in self.reader.elements[at + 1 :]
                    if k == "part"
                    or (k == "break" and v not in ("place", "article"))
                    or (k == "cue" and v.kind in SPLITTING)
                ),
                None,
            )
            subject = (
                isinstance(next_cue, Cue) and next_cue.kind in ("backward",) and relation == ""
            )
            forward_verb = (
                isinstance(next_cue, Cue)
                and next_cue.kind == "forward"
                and (
                    self.reader.tokens[next_cue.first].text in ("before", "precedes", "comes")
                    and relation == ""
                    and same[-1] is self.recent
                )
            )
            fades = any(k == "cue" and v.kind in ("fade_out", "fade_in") for k, v in self._cell(at))
            bed = (
                any(k == "cue" and v.kind in ("bed", "until_end") for k, v in self._cell(at))
                or "go on" in part.text
            )
            definite = self.reader.tokens[part.first].text == "the"
            compared = relation == "" and self._compared(part)
            if (
                relation == "backward"
                or prefix
                or subject
                or forward_verb
                or ((fades or bed) and definite)
                or compared
            ):
                self.by_part[id(part)] = same[-1]
                return same[-1]
        if self.recent is not None and self.recent.group == group and not again:
            if relation == "together" and part.number is None and self.recent in self.sentence:
                self.by_part[id(part)] = self.recent
                return self.recent
            participle = bool(part.words) and all(w.endswith("ing") for w in part.words)
            repeated = set(part.words) <= set(self.recent.text.lower().split())
            goes_on = participle and not relation and self._comma_before(at) and not part.number
            goes_on = goes_on and not repeated
            if goes_on or any(k == "cue" and v.kind == "every" for k, v in self._cell(at)):
                # "the cat, meowing four times"
                self.by_part[id(part)] = self.recent
                return self.recent
        if self.recent is not None and self._in_apposition(part, at, relation):
            self.recent.count = max(1, int(part.number or 1))
            self.recent.reasons.append(f'"{self._quote(part)}" -> {self.recent.count} times')
            self.by_part[id(part)] = self.recent
            return self.recent
        event = Event(group, self._quote(part), part=id(part), plural=part.plural, place=part.place)
        if part.number is not None:
            caption = {t.text for t in tokenize(self.reader.matcher.captions[group])}
            if f"{part.number:g}" not in caption or part.number == 1:
                event.count = max(1, int(part.number))
                event.noun_count = True
                if event.count > 1:
                    event.reasons.append(f'"{self._quote(part)}" -> {event.count} times')
        elif part.repeats > 1:
            event.count = part.repeats
            event.reasons.append(f'"{self._quote(part)}" -> {part.repeats} times')
        event.other = again
        self.by_part[id(part)] = event
        return event

    def _in_apposition(self, part: Part, at: int, relation: str) -> bool:
        """Whether a part only says how often the last sound sounds ("hammer, 4 hits")."""
        recent = self.recent
        return (
            recent is not None
            and recent.group == part.group
            and recent.count is None
            and not recent.starts
            and not relation
            and bool(part.number)
            and recent in self.sentence
            and not self._and_before(at)
            and self._comma_before(at)
            and self.reader.tokens[part.first].is_number
        )

    def _compared(self, part: Part) -> bool:
        """Whether a part says only how loud a sound named before is ("wind quieter")."""
        words = [t.text for t in self.reader.tokens[part.first : part.last]]
        return bool({"quieter", "louder", "softer", "fainter"} & set(words))

    def _cell(self, at: int) -> list[tuple[str, Any]]:
        """Elements around one, up to the next parts and breaks."""
        elements = self.reader.elements
        found: list[tuple[str, Any]] = []
        i = at - 1
        while i >= 0 and elements[i][0] == "cue":
            found.insert(0, elements[i])
            i -= 1
        i = at + 1
        while i < len(elements) and (elements[i][0] == "cue" or elements[i] == ("break", "place")):
            if elements[i][0] == "cue" and elements[i][1].kind in (
                "forward",
                "backward",
                "together",
            ):
                break
            found.append(elements[i])
            i += 1
        return found

    # Cues

    def _attach(self) -> None:
        """Give every cue to the part that it stands with."""
        elements = self.reader.elements
        for at, (kind, value) in enumerate(elements):
            if kind != "cue":
                continue
            cue: Cue = value
            event, leads = self._owner(at)
            if event is not None:
                self._apply(cue, event, leads, at)

    def _owner(self, at: int) -> tuple[Event | None, bool]:
        elements = self.reader.elements
        cue: Cue = elements[at][1]

        def find(step: int, stops: tuple[str, ...]) -> Part | None:
            i = at + step
            while 0 <= i < len(elements):
                kind, value = elements[i]
                if kind == "break" and value in stops:
                    return None
                if (
                    kind == "cue"
                    and value.kind in ("forward", "backward", "together")
                    and stops != ("hard",)
                ):
                    phrase = self.reader.tokens[value.first].text
                    if not (step > 0 and phrase in ("then",)) and not (
                        step < 0 and phrase == "with"
                    ):
                        return None
                if kind == "part" and id(value) in self.by_part:
                    return value
                i += step
            return None

        inner = ("hard", "comma", "colon")
        if elements[at + 1 : at + 2] == [("break", "colon")] and find(-1, inner) is None:
            # "on the left: a dog, on the right: a crow"
            part = find(1, ("hard",))
            return (self.by_part.get(id(part)), True) if part is not None else (None, False)
        before, after = find(-1, inner), find(1, inner)
        tokens = self.reader.tokens
        if before is None and after is None:
            # Alone between commas: with what follows where it opens the sentence.
            before, after = find(-1, ("hard",)), find(1, ("hard",))
            if cue.kind in (
                "at",
                "beginning",
                "end",
                "halfway",
                "range",
                "first_part",
                "last_part",
                "middle",
                "after",
                "every",
                "from",
                "until",
                "bed",
            ):
                joined = elements[at - 1 : at] == [("break", "and")]
                opening = before is None or (joined and elements[at + 1] == ("break", "comma"))
                if after is not None and (opening or self._taken(before, cue)):
                    before = None
            if before is None and after is None:
                before, after = find(-1, ()), find(1, ())
                opens = before is None or (
                    cue.kind
                    in (
                        "at",
                        "after",
                        "range",
                        "beginning",
                        "end",
                        "middle",
                        "halfway",
                        "first_part",
                        "last_part",
                    )
                    and tokens[cue.first - 1 : cue.first]
                    and tokens[cue.first - 1].text in HARD
                    and after is not None
                )
                before = None if opens else before
        elif before is not None and after is not None:
            and_between = None
            i = at - 1
            while i >= 0 and elements[i][0] != "part":
                if elements[i] == ("break", "and"):
                    and_between = i
                i -= 1
            i, and_after = at + 1, None
            while i < len(elements) and elements[i][0] != "part":
                if elements[i][0] == "break" and elements[i][1] in ("and", "place", "article"):
                    and_after = i
                i += 1
            leading = cue.kind in ("gain", "bed", "every", "for", "for_or_at") and (
                after.first == cue.last or (after.first == cue.first)
            )
            if cue.kind in ("gain", "bed") and before.first <= cue.first < before.last:
                after = None
            elif (
                leading
                and (cue.kind != "bed")
                and before.last <= cue.first
                and not (cue.kind == "gain" and and_after is not None)
            ):
                before = None
            elif and_between is not None and and_after is None:
                before = None
            else:
                after = None
        if cue.kind in ("gain", "bed"):
            for part in self.reader.parts:
                if part.first <= cue.first < part.last and id(part) in self.by_part:
                    return self.by_part[id(part)], True
        if before is not None:
            return self.by_part.get(id(before)), False
        return (self.by_part.get(id(after)), True) if after is not None else (None, False)

    def _taken(self, part: Part | None, cue: Cue) -> bool:
        event = self.by_part.get(id(part)) if part is not None else None
        return event is None or bool(event.starts or event.span or event.position)

    def _apply(self, cue: Cue, event: Event, leads: bool, at: int) -> None:
        values, said = cue.values, self._said(cue)
        total = self.reading.seconds
        if event.group is None and cue.kind != "every":
            pass
        if cue.kind == "for_or_at":
            numbered = bool(self.reader.enumerators)
            kind = "for" if (leads or numbered) and not self._clock_list() else "at"
        elif cue.kind == "after":
            kind = "at" if event.gap is None else ""
        else:
            kind = cue.kind
        listed = not leads and not event.anchor and self._listed_with_another(at)
        if kind == "at" and event.position and listed:
            self._another_time(event, starts=tuple(sorted(values)))
            event.reasons.append(f"{said} -> {', '.join(f'{v:.2f}' for v in values)}")
        elif kind in ("beginning", "middle", "halfway", "end") and event.starts and listed:
            self._another_time(event, position=kind)
            event.reasons.append(said)
        elif kind == "at":
            event.starts = tuple(sorted({*event.starts, *values}))
            event.reasons.append(f"{said} -> {', '.join(f'{v:.2f}' for v in values)}")
        elif kind == "range":
            low, high = values[0], values[-1]
            event.span = (low, high)
            event.reasons.append(f"{said} -> {low:.2f} to {high:.2f}")
        elif kind == "from":
            event.span = (values[0], None)
        elif kind == "until":
            start = event.starts[0] if event.starts else 0.0
            event.span, event.starts = (start, values[0]), ()
        elif kind == "until_end":
            event.span = (event.starts[0] if event.starts else -1.0, None)
        elif kind == "first_part":
            event.span = (0.0, values[0])
        elif kind == "last_part":
            event.span = (total - values[0], None)
        elif kind == "every":
            caption = said.strip('"')
            if "apart" in caption or "interval" in caption and event.count:
                event.apart = values[0]
            else:
                event.every = values[0]
            event.reasons.append(f"{said} -> every {values[0]:.2f} s")
            if "bpm" in caption.lower() or "beats per minute" in caption.lower():
                self._keep_time(event, at, values[0])
        elif kind == "between":
            target = event
            if (
                event.count is None
                and len([e for g in self.line for e in g if e.group == event.group]) <= 1
                and len(self.line) > 1
            ):
                for group in self.line[1:]:
                    for e in group:
                        e.gap = values[0]
            else:
                for e in self.all:
                    if e.group == target.group:
                        e.between = values[0]
        elif kind == "for":
            event.duration = values[0]
            event.reasons.append(f"{said} -> {values[0]:.2f} s long")
        elif kind == "within":
            event.within = values[0]
        elif kind in ("times",):
            event.count = int(values[0])
            event.reasons.append(f"{said} -> {event.count} times")
        elif kind == "times_each":
            for each in {id(e): e for e in (*self.all, event)}.values():
                each.count = int(values[0]) if each.count is None else each.count
        elif kind == "total":
            event.count = int(values[0])
            for other in self.all:
                if other is not event and other.group == event.group:
                    other.count = 0
        elif kind == "repeat" and values[0]:
            event.count = int(values[0])
            if "now" in said or "time to time" in said or "occasion" in said:
                event.within = total
            event.reasons.append(f"{said} -> {event.count} times")
        elif kind == "bed":
            event.bed = True
            event.reasons.append(f"{said}: all the time")
        elif kind in ("beginning", "end", "middle", "halfway"):
            if (
                event.position
                and event.position != kind
                and {event.position, kind} == {"beginning", "end"}
            ):
                twin = Event(event.group, event.text, position=kind, other=True)
                self.all.append(twin)
                self.line.append([twin])
            else:
                event.position = kind
                event.pinned |= "very" in said or "right" in said
            event.reasons.append(said)
        elif kind in ("gain", "gain_db"):
            caption = self.reader.matcher.captions[event.group] if event.group is not None else ""
            words = [t.text for t in self.reader.tokens[cue.first : cue.last]]
            if kind == "gain_db" or not set(words) & set(caption.split()):
                event.gain = values[0]
                if "as" in words or "times" in words:
                    # "twice as loud" is no number of times.
                    event.count, event.noun_count = event.count or 1, True
                event.reasons.append(f"{said} -> {values[0]:+g} dB")
        elif kind == "ramp":
            event.ramp, event.plural = values[0], True
            event.reasons.append(f"{said}: {'louder' if values[0] > 0 else 'quieter'} each time")
        elif kind == "fade_in":
            event.fade_in = True
        elif kind == "fade_out":
            event.fade_out = True
        elif kind == "pan":
            event.pan = 0.8 * values[0]
            event.reasons.append(f"{said} -> {'left' if values[0] < 0 else 'right'}")
        elif kind == "moves":
            event.moves = values[0]
            event.reasons.append(f"{said} -> moves to the {'right' if values[0] > 0 else 'left'}")

    def _keep_time(self, event: Event, at: int, seconds: float) -> None:
        """A tempo that is said of a list: one sound a beat."""
        elements, first, last = self.reader.elements, at, at
        while first > 0 and elements[first - 1] != ("break", "hard"):
            first -= 1
        while last < len(elements) and elements[last] != ("break", "hard"):
            last += 1
        found = [self.by_part.get(id(v)) for k, v in elements[first:last] if k == "part"]
        events = [e for e in found if e is not None and e.group is not None]
        others = [e for e in events if e is not event]
        beats = "beat " in self._said(elements[at][1])
        if not others or beats or any((e.count or 1) > 1 or e.starts for e in others):
            return
        event.every = None
        events[0].starts = events[0].starts or (0.0,)
        for earlier, later in zip(events, events[1:]):
            later.anchor = earlier, 0.0, seconds

    def _listed_with_another(self, at: int) -> bool:
        """Whether a time goes on with the one before it ("at the start, at 5 s and at the end")."""
        before = [e for e in self.reader.elements[:at] if e != ("break", "comma")]
        before = before[:-1] if before[-1:] == [("break", "and")] else before
        joined = self.reader.elements[at - 1] in (("break", "and"), ("break", "comma"))
        times = ("at", "beginning", "middle", "halfway", "end")
        return joined and bool(before) and before[-1][0] == "cue" and before[-1][1].kind in times

    def _another_time(self, event: Event, **when: Any) -> None:
        twin = replace(self._twin(event), **when)
        self.all[-1] = twin
        self.line.append([twin])

    def _clock_list(self) -> bool:
        """Whether bare times lead all parts of a list and grow ("2 s dog, 5 s door")."""
        cues = [c for c in self.reader.cues if c.kind == "for_or_at"]
        bare = [
            c for c in cues if self.reader.tokens[c.first].is_number and "-" not in self._said(c)
        ]
        values = [c.values[0] for c in cues]
        return len(cues) > 1 and len(bare) == len(cues) and values == sorted(set(values))

    def _said(self, cue: Cue) -> str:
        tokens = self.reader.tokens
        return f'"{self.reader.prompt[tokens[cue.first].start : tokens[cue.last - 1].end].strip()}"'
