"""What a prompt leaves out because it has said it before, filled in: elements of a prompt are
rewritten to the plain way of saying the same, before events are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .cues import Cue
from .parts import Part, PromptParts

Element = tuple[str, Any]

_THEN_AGAIN = {"after", "afterwards", "after it", "after that", "after them", "thereafter"}
_FIRST_AGAIN = {"before", "beforehand", "before it", "before that", "before them"}
_FRAMES = ("flanked", "framed", "sandwiched", "bracketed", "bookended", "surrounded")
_PLACED = (
    "at",
    "beginning",
    "middle",
    "halfway",
    "end",
    "range",
    "gain",
    "first_part",
    "last_part",
)
_ARTICLES = {"a", "an", "the", "some", "someone", "somebody", "his", "her", "their"}


def fill_in(reader: PromptParts) -> None:
    """Rewrite the labelled elements of a prompt."""
    for rule in (
        _until_when,
        _gaps_between,
        _counts_around,
        _same_again,
        _framed,
        _one_by_one,
        _counts_listed,
    ):
        reader.elements = rule(reader, list(reader.elements))
    reader.parts = [v for k, v in reader.elements if k == "part"]


def _phrase(reader: PromptParts, cue: Cue) -> str:
    return " ".join(token.text for token in reader.tokens[cue.first : cue.last])


def _is_cue(element: Element, *kinds: str) -> bool:
    return element[0] == "cue" and element[1].kind in kinds


def _is_mark(element: Element) -> bool:
    return element[0] == "break" and element[1] in ("hard", "comma")


def _until_when(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "rain until 5 s, when the phone rings": the phone is at 5 s."""
    out: list[Element] = []
    for element in elements:
        before = [e for e in out[-2:] if e != ("break", "comma")][-1:]
        if _is_cue(element, "backward") and before and _is_cue(before[0], "until"):
            if _phrase(reader, element[1]) in ("when", "at which point", "as soon as", "once"):
                until = before[0][1]
                out += [("break", "comma"), ("cue", replace(until, kind="at"))]
                continue
        out.append(element)
    return out


def _gaps_between(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "thunder, three seconds, a dog": a time alone between two sounds is a pause."""
    numbers = [i for i, e in enumerate(elements) if _is_cue(e, "for_or_at")]
    parts = [i for i, (kind, _) in enumerate(elements) if kind == "part"]

    def alone(i: int) -> bool:
        sides = elements[i - 1 : i] + elements[i + 1 : i + 2]
        apart = all(_is_mark(e) or _is_cue(e, "forward") for e in sides)
        return i > 0 and apart and any(p < i for p in parts) and any(p > i for p in parts)

    told = bool(numbers) and len(numbers) < len(parts) and not reader.enumerators
    if not told or not all(map(alone, numbers)):
        return elements
    for i in numbers:
        elements[i] = ("cue", replace(elements[i][1], kind="gap"))
    return elements


def _counts_around(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "twice before the door slams and once after (it)": the sound returns."""
    for i, element in enumerate(elements):
        if not _is_cue(element, "forward", "backward"):
            continue
        counted: Element = elements[i - 1] if i else ("break", "")
        word = _phrase(reader, element[1])
        if word not in _THEN_AGAIN | _FIRST_AGAIN or not _is_number(counted):
            continue
        start = max((k for k in range(i) if elements[k] == ("break", "hard")), default=-1) + 1
        found = _sides(reader, elements, start, i)
        if found is None:
            continue
        subject, head, other, last = found
        twin = replace(subject, number=None, repeats=1)
        here = [counted] if counted[0] == "cue" else []
        if counted[0] == "part":
            twin.number = counted[1].number
        then = ("cue", replace(element[1], kind="forward"))
        first, second = (subject, head), (twin, here)
        if word in _FIRST_AGAIN:
            first, second = second, first
        rewritten = [("part", first[0]), *first[1], then, *other, then, ("part", second[0])]
        return elements[:start] + rewritten + second[1] + elements[last:]
    return elements


def _is_number(element: Element) -> bool:
    bare = element[0] == "part" and not element[1].words and element[1].number
    return bool(bare) or _is_cue(element, "times")


def _sides(
    reader: PromptParts, elements: list[Element], start: int, i: int
) -> tuple[Part, list[Element], list[Element], int] | None:
    """Of "A n before B and m after", with the word at `i`: A, its cues, the elements of B, and what
    comes next; B may stand behind the word.
    """
    between = elements[start : i - 1]
    split = next(
        (k for k, e in enumerate(between) if _is_cue(e, "forward", "backward") and k > 0), None
    )
    subjects = [v for k, v in between[:split] if k == "part"]
    if split is None or len(subjects) != 1 or subjects[0].group is None:
        return None
    head = [e for e in between[:split] if e[0] == "cue"]
    rest = [e for e in between[split + 1 :] if e not in (("break", "and"), ("break", "comma"))]
    last = i + 1
    if not rest:
        while last < len(elements) and not _is_mark(elements[last]):
            last += 1
        rest = elements[i + 1 : last]
    elif last < len(elements) and not (_is_mark(elements[last]) or elements[last][0] == "break"):
        return None
    if not any(k == "part" and v.group is not None for k, v in rest):
        return None
    return subjects[0], head, rest, last


def _same_again(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "takes four steps, stops, and takes four more", "a crow calls, calls again": a verb or a
    number without a subject goes on with the last sound.
    """
    last: Part | None = None
    for i, (kind, part) in enumerate(elements):
        if kind != "part":
            continue
        if part.group is not None or part.denied:
            last = part if part.group is not None else last
            continue
        first = reader.tokens[part.first].text
        again = i + 1 < len(elements) and _is_cue(elements[i + 1], "again")
        more = again and _phrase(reader, elements[i + 1][1]) in ("more", "again", "once more")
        if last is not None and more and first not in _ARTICLES and len(part.words) <= 1:
            part.group, part.again, part.score = last.group, True, last.score
    return elements


def _framed(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "a crow between two bell rings", "a crow flanked by bells": one sound on both sides."""
    for i, element in enumerate(elements):
        if not _is_cue(element, "amid", "around"):
            continue
        flanked = _phrase(reader, element[1]).startswith(_FRAMES)
        if element[1].kind == "around" and not flanked or i + 1 >= len(elements):
            continue
        kind, side = elements[i + 1]
        if kind != "part" or side.group is None:
            continue
        following = elements[i + 2 : i + 4]
        pair = [k for k, _ in following] == ["break", "part"] and following[0][1] == "and"
        if pair or not (flanked or side.plural or side.number == 2):
            continue
        side.number, side.plural = None, False
        around = ("cue", replace(element[1], kind="around"))
        start = i
        while start > 0 and elements[start - 1] != ("break", "hard"):
            start -= 1
        moved: Sequence[Element] = [("part", side), around]
        return [*elements[:start], *moved, *elements[start:i], *elements[i + 2 :]]
    return elements


def _one_by_one(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "a crow caws twice, first softly, then loudly": each time at a level of its own."""
    out: list[Element] = []
    for sentence in _sentences(elements):
        named = [v for k, v in sentence if k == "part" and v.group is not None]
        others = [v for k, v in sentence if k == "part" and v.group is None and v.words]
        times = [e for e in sentence if _is_cue(e, "times")]
        gains = [e for e in sentence if _is_cue(e, "gain")]
        ordered = any(_is_cue(e, "forward", "first") for e in sentence)
        count = times[0][1].values[0] if times else named[0].number if named else None
        if (
            len(named) != 1
            or others
            or len(times) > 1
            or not ordered
            or not 1 < len(gains) == count
        ):
            out += sentence
            continue
        joint = Cue("forward", (), gains[0][1].first, gains[0][1].first)
        for i, gain in enumerate(gains):
            if i:
                out += [("break", "comma"), ("cue", joint)]
            part = replace(named[0], number=None, again=i > 0, repeats=1)
            out += [("part", part if i else _uncounted(named[0])), gain]
        out.append(sentence[-1])
    return out


def _uncounted(part: Part) -> Part:
    part.number, part.plural = None, False
    return part


def _sentences(elements: list[Element]) -> list[list[Element]]:
    found: list[list[Element]] = [[]]
    for element in elements:
        found[-1].append(element)
        if element == ("break", "hard"):
            found.append([])
    return [sentence for sentence in found if sentence]


def _counts_listed(reader: PromptParts, elements: list[Element]) -> list[Element]:
    """ "twice in the first half and once in the second": the sound returns for each number."""
    out: list[Element] = []
    for sentence in _sentences(elements):
        named = [v for k, v in sentence if k == "part" and (v.group is not None or v.words)]
        counted = False
        for i, element in enumerate(sentence):
            if _is_cue(element, "times") and len(named) == 1 and named[0].group is not None:
                joined = i > 0 and sentence[i - 1] in (("break", "and"), ("break", "comma"))
                placed = _is_cue((sentence[i + 1 :] or [("break", "")])[0], *_PLACED)
                if counted and joined and placed:
                    joint = Cue("forward", (), element[1].first, element[1].first)
                    twin = replace(named[0], number=None, repeats=1, again=True)
                    out += [("cue", joint), ("part", twin)]
                counted = True
            out.append(element)
    return out
