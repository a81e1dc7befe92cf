"""The reader: what a prompt states about each of its sounds.

A prompt is cut into parts at punctuation and connectives, each part is matched to a caption, and
cues (numbers, times, intervals, order) are given to the part that they stand with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .cues import Cue, find_cues, grammar
from .foreign import foreign_language, translate
from .mentions import Matcher, Similarity, alike, caption_from_name, stem, stopwords, verb_forms
from .numbers import tokenize

_HARD = {
    ".",
    ";",
    "!",
    "?",
    "...",
    "…",
    "->",
    "/",
    "|",
    "•",
    "。",
    "；",
    "！",
    "？",
    "—",
    "–",
    "\n",
    ":",
}
_COMMA = {",", "，", "、", "(", ")", "but"}
_AND = {"and", "&", "+", "plus"}
_DETERMINERS = {
    "a",
    "an",
    "the",
    "someone",
    "somebody",
    "he",
    "she",
    "his",
    "her",
    "another",
    "nobody",
}
_SINGULAR = _DETERMINERS - {"the", "his", "her"} | {"it", "somebody", "someone"}
# Connectives that may open a subordinate clause before the main one.
_SUBORDINATE = {
    "backward": {"after", "only after", "once", "when", "as soon as", "following"},
    "forward": {"before", "prior to", "until", "till"},
    "together": {
        "while", "whilst", "as", "just as", "during", "with", "over", "under", "beneath",
        "underneath", "against", "against a backdrop of", "against a background of", "amid",
        "above", "behind", "whereas",
    },
}  # fmt: skip
_ADVERBS_TOGETHER = {
    "at the same time", "simultaneously", "together", "all at once", "both at once", "at once",
    "mixed together", "in parallel", "in unison", "at the same moment", "at the same instant",
}  # fmt: skip
# Of what lies below everything else, at the end of its clause.
_BELOW = {"behind", "underneath", "beneath", "under", "meanwhile"}
_ALL_ELSE = {"it", "this", "that", "them", "everything", "all"}
# Words that come with the last sound where it is told last anyway.
_AT_LAST = {"last of all", "lastly", "finally", "in the end", "at last", "to finish"}
# A part names a reference from here on: total score, or share of words, or the encoder's cosine.
_NAMES, _LEXICAL, _COSINE = 0.38, 0.5, 0.55
_LEFT_OVER = 0.14
_DOUBTED = 0.7
# Longer prompts are cut by the network's encoder.
_NETWORK_WORDS = 45


_SPLITTING = frozenset(
    "forward backward together denial gap later after_by before_by after denied each_follows "
    "amid".split()
)


@dataclass
class Event:
    """A sound that the prompt asks for, and what is said of it; seconds, dB.

    `group` numbers the different captions; None is a part that no reference stands for.
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
    fade_in: bool = False
    fade_out: bool = False
    pan: float = 0.0
    moves: float = 0.0
    plural: bool = False
    other: bool = False
    noun_count: bool = False
    pinned: bool = False
    reasons: list[str] = field(default_factory=list)
    part: int = -1
    lane: int = 0


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


@dataclass
class _Part:
    """Words between two breaks."""

    first: int
    last: int
    words: list[str]
    text: str
    number: float | None = None
    group: int | None = None
    score: float = 0.0
    lexical: float = 0.0
    denied: bool = False
    repeats: int = 1
    plural: bool = False
    again: bool = False
    place: bool = False
    ordinal_other: bool = False
    filler: bool = False
    aside: bool = False


def _groups(captions: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Different captions with the references of each; an empty one takes its file's name."""
    found: dict[str, list[int]] = {}
    for k, caption in enumerate(captions):
        text = " ".join(caption.split()) or caption_from_name(names[k] if k < len(names) else "")
        found.setdefault(text.lower() or f"\0{k}", []).append(k)
    return ["" if c.startswith("\0") else c for c in found], list(found.values())


class _Reader:
    def __init__(self, prompt: str, matcher: Matcher, seconds: float, wanted: Sequence[bool] = ()):
        self.wanted = list(wanted)
        self.prompt, self.matcher, self.seconds = prompt, matcher, seconds
        self.language = foreign_language(prompt)
        self.tokens = translate(tokenize(prompt)) if self.language else tokenize(prompt)
        self.enumerators = self._enumerators()
        caption_words = {w for words in matcher.words for w in words}
        stems = {stem(w) for w in caption_words}
        self.cues = find_cues(self.tokens, frozenset(self.enumerators))
        # Words such as "loud" or "loop" that a caption has as well say nothing of their own.
        self.cues = [
            c
            for c in self.cues
            if not (
                c.kind
                in (
                    "gain",
                    "last",
                    "first",
                    "pan",
                    "forward",
                    "together",
                    "backward",
                    "denial",
                    "again",
                    "gap",
                    "bed",
                )
                and (
                    self._in_caption(c)
                    or c.last - c.first == 1
                    and stem(self.tokens[c.first].text) in stems
                    and self._neighbour(c, stems)
                )
            )
            and not (
                c.kind == "backward"
                and self.tokens[c.first].text in ("answers", "follows", "follow", "replies")
                and (c.last == len(self.tokens) or not self.tokens[c.last].is_word)
            )
        ]
        self.cue_at: dict[int, Cue] = {}
        for cue in self.cues:
            for i in range(cue.first, cue.last):
                self.cue_at[i] = cue
        self.parts: list[_Part] = []
        self.elements: list[tuple[str, Any]] = []
        self._split()

    def _in_caption(self, cue: Cue) -> bool:
        """Whether the cue's words, such as "a long break" in "a long break beat", are a caption's
        own.
        """
        words = [token.text for token in self.tokens[cue.first : cue.last]]
        if words == ["with"]:
            # "dies with a cry"
            words += [token.text for token in self.tokens[cue.last : cue.last + 2]]
        while words and words[0] in ("a", "an", "some", "after"):
            words = words[1:]
        phrase = re.escape(" ".join(words))
        found = (re.search(rf"\b{phrase}\b", text) for text in self.matcher.captions)
        return len(words) > 1 and any(found)

    def _neighbour(self, cue: Cue, stems: set[str]) -> bool:
        """Whether a caption goes on with the next word of the prompt too."""
        word = self.tokens[cue.first].text
        for words in self.matcher.captions:
            if re.search(rf"\b{re.escape(word)}\b", words):
                following = [t.text for t in self.tokens[cue.last : cue.last + 2]]
                before = [t.text for t in self.tokens[max(0, cue.first - 2) : cue.first]]
                rest = {stem(w) for w in words.split()} - {stem(word)}
                if any(stem(w) in rest for w in (*following, *before)):
                    return True
        return False

    def _text(self, i: int) -> str:
        return self.tokens[i].text if i < len(self.tokens) else ""

    def _enumerators(self) -> set[int]:
        """Numbers of a list ("1. ... 2. ..."), and their marks."""
        found, wanted = [], 1
        for i, token in enumerate(self.tokens[:-1]):
            if token.text == str(wanted) and self.tokens[i + 1].text in (".", ")", ":"):
                found.append(i)
                wanted += 1
        return {i for i in found} if wanted > 2 else set()

    # Parts

    def _split(self) -> None:
        """Elements in order: ("part", _Part), ("cue", Cue), ("break", level)."""
        run: list[int] = []
        caption_text = " ".join(self.matcher.captions)

        depth = 0

        def add(i: int) -> None:
            if not run:
                self.elements.append(("part", None))
            run.append(i)

        def flush() -> None:
            if run:
                self._add_part(list(run), depth > 0)
                run.clear()

        i, seen = 0, set()
        while i < len(self.tokens):
            token = self.tokens[i]
            cue = self.cue_at.get(i)
            if i in self.enumerators:
                flush()
                self.elements.append(("break", "hard"))
                i += 2
                continue
            if cue is not None:
                if cue.first not in seen:
                    seen.add(cue.first)
                    splits = cue.kind in _SPLITTING
                    bracket = token.text in ("[", "t") and cue.kind == "at"
                    if bracket:
                        flush()
                        self.elements.append(("break", "comma"))
                    if splits or (cue.kind in ("first", "last") and not run) or not run or bracket:
                        flush()
                    self.elements.append(("cue", cue))
                single = cue.last - cue.first == 1
                if (cue.kind in ("bed", "gain") and single) or (
                    cue.kind in ("every",)
                    and token.is_word
                    and token.text not in stopwords()
                    and stem(token.text) in {stem(w) for w in caption_text.split()}
                ):
                    add(i)
            elif token.text[0] == "\n" or token.text in _HARD:
                flush()
                self.elements.append(("break", "colon" if token.text == ":" else "hard"))
            elif token.text in _COMMA:
                flush()
                depth = depth + (token.text == "(") - (token.text == ")")
                self.elements.append(("break", "comma"))
            elif token.text == "-":
                start = i == 0 or self.tokens[i - 1].text[0] == "\n"
                if start or self.prompt[max(0, token.start - 1) : token.end + 1] == " - ":
                    flush()
                    self.elements.append(("break", "hard"))
            elif token.text in _AND:
                flush()
                self.elements.append(("break", "and"))
            elif token.text in grammar()["place"] and (run or token.text in ("in", "inside", "at")):
                flush()
                self.elements.append(
                    (
                        "break",
                        "place" if self.elements and self.elements[-1][0] != "break" else "in",
                    )
                )
            elif i > 0 and (
                token.text in ("does", "do") or (token.text == "we" and self._text(i + 1) == "hear")
            ):
                flush()
                self.elements.append(("break", "comma"))
            elif token.is_word or token.is_number or ord(token.text[0]) > 0x2000:
                if token.text in _DETERMINERS and any(
                    self.tokens[j].text not in stopwords() and self.tokens[j].is_word for j in run
                ):
                    flush()
                    self.elements.append(("break", "article"))
                elif self._ends_run(run, token.text):
                    flush()
                    self.elements.append(("break", "article"))
                add(i)
            i += 1
        flush()
        self.elements.append(("break", "hard"))
        self._returns()

    def _ends_run(self, run: Sequence[int], word: str) -> bool:
        """Whether a word after a repeated one ("beep beep boom") is of another caption."""
        last = [self.tokens[i].text for i in run[-2:]]
        if len(last) < 2 or last[0] != last[1] or word == last[0] or word in stopwords():
            return False
        names = [
            {c for c in self.matcher.words[k] for w in (word,) if alike(w, c) >= 0.7}
            for k in range(len(self.matcher.captions))
        ]
        own = [any(alike(last[0], c) >= 0.7 for c in words) for words in self.matcher.words]
        return any(found and not mine for found, mine in zip(names, own))

    def _returns(self) -> None:
        """An empty part where the prompt returns to a sound without naming it ("then quietly")."""
        out: list[tuple[str, Any]] = []
        pending: int | None = None
        for kind, value in self.elements:
            if kind == "part" or (
                kind == "cue" and value.kind in ("backward", "together", "denial")
            ):
                pending = None
            elif kind == "cue" and value.kind == "forward":
                pending = value.last if value.last < len(self.tokens) else None
            elif kind == "cue" and pending is not None and value.kind in ("gain", "times", "again"):
                first = self.tokens[value.first].text in ("again", "once", "more")
                if not first or self._ends(value):
                    part = _Part(value.first, value.last, [], "")
                    self.parts.append(part)
                    if self._ends(value):
                        out.append(("part", part))
                    else:
                        self.parts.pop()
                    pending = None if self._ends(value) else pending
            out.append((kind, value))
        self.elements = out
        self.parts = [v for k, v in out if k == "part"]

    def _ends(self, cue: Cue) -> bool:
        """Whether nothing but cues follows before the next mark."""
        i = cue.last
        while i < len(self.tokens) and i in self.cue_at and self.cue_at[i].kind not in _SPLITTING:
            i = self.cue_at[i].last
        return i >= len(self.tokens) or not (self.tokens[i].is_word or self.tokens[i].is_number)

    def _add_part(self, indices: list[int], aside: bool) -> None:
        tokens = [self.tokens[i] for i in indices]
        numbers = [float(t.text) for t in tokens if t.is_number]
        if len(numbers) >= 3:
            numbers = []
        words = [
            t.text
            for t in tokens
            if (t.is_word and t.text not in stopwords()) or ord(t.text[0]) > 0x2000
        ]
        text = " ".join(t.text for t in tokens if not t.is_number)
        number = sum(numbers[-1:]) if numbers else None
        part = _Part(indices[0], indices[-1] + 1, words, text, number)
        singular = any(t.text in ("single", "lone") for t in tokens)
        if singular:
            part.number = 1
        part.aside = aside
        self.parts.append(part)
        at = max(i for i, e in enumerate(self.elements) if e == ("part", None))
        self.elements[at] = ("part", part)

    def label(self) -> None:
        """Give each part the caption that it names, joining parts that were cut too finely."""
        self._score()
        self._drop_levels()
        out: list[tuple[str, Any]] = []
        for element in self.elements:
            kind, value = element
            if kind == "part" and len(out) >= 2:
                i = len(out) - 1
                while i > 0 and out[i][0] == "cue" and out[i][1].kind not in _SPLITTING:
                    i -= 1
                level = (
                    out[i][1]
                    if out[i][0] == "break"
                    else ("article" if out[i][0] == "part" else "hard")
                )
                j = i - 1 if out[i][0] == "break" else i
                while j > 0 and out[j][0] == "cue" and out[j][1].kind not in _SPLITTING:
                    j -= 1
                if out[j][0] == "part" and self._joins(out[j][1], str(level), value):
                    if out[i][0] == "break":
                        del out[i]
                    self._join(out[j][1], value)
                    continue
            out.append(element)
        self.elements = out
        self.parts = [v for k, v in out if k == "part"]
        self._score()
        self._words_again()

    def _score(self) -> None:
        rows = self.matcher.scores([(p.text, p.words) for p in self.parts])
        self.rows = rows
        for part, row in zip(self.parts, rows):
            part.group, part.score, part.lexical = None, 0.0, 0.0
            if not row or not part.words:
                continue
            k = self._best(row)
            total, lexical, cosine = row[k]
            if total >= _NAMES or lexical >= _LEXICAL or cosine >= _COSINE:
                part.group, part.score, part.lexical = k, total, lexical

    def _drop_levels(self) -> None:
        """A part of nothing but words of loudness ("very distant") is no sound."""
        for part in [p for p in self.parts if p.group is None and p.words]:
            cues = [self.cue_at.get(i) for i in range(part.first, part.last)]
            said = {
                t.text
                for t, cue in zip(self.tokens[part.first : part.last], cues)
                if cue is not None and cue.kind == "gain"
            }
            if said and set(part.words) <= said:
                self.elements = [e for e in self.elements if e[1] is not part]
        self.parts = [v for k, v in self.elements if k == "part"]
        self._score()

    def _best(self, row: Sequence[tuple[float, float, float]]) -> int:
        """The caption that fits best; one that the network does not find asked for fits less."""
        return max(
            range(len(row)),
            key=lambda j: row[j][0] * (1.0 if not self.wanted or self.wanted[j] else _DOUBTED),
        )

    def _joins(self, left: _Part, level: str, right: _Part) -> bool:
        if level in ("hard", "comma", "colon"):
            return False
        if level == "and":
            determined = self._own_event(right)
            if (
                right.group is not None
                and right.group == left.group
                and not determined
                and right.number is None
            ):
                return not {stem(w) for w in right.words} & {stem(w) for w in left.words}
            if right.group is None:
                return not right.words or (left.group is not None and not determined)
            return False
        if not right.words or not left.words:
            return True
        if level == "in":
            return False
        if level == "place":
            if right.group is None or left.group is None or right.group == left.group:
                return True
            own = self.matcher.lexical(right.words, right.group)
            if right.lexical < 0.45 or self.matcher.lexical(right.words, left.group) >= 0.8 * own:
                return True
            row = self.matcher.scores([(f"{left.text} {right.text}", left.words + right.words)])[0]
            k = self._best(row)
            if k == right.group and row[k][0] >= right.score:
                return True
            right.place = True
            return False
        # An article within a clause.
        if right.group is None or left.group is None or right.group == left.group:
            return True
        own = self.matcher.lexical(right.words, right.group)
        return own < 0.5 or self.matcher.lexical(right.words, left.group) >= own

    def _own_event(self, part: _Part) -> bool:
        return self.tokens[part.first].text in _DETERMINERS

    def _join(self, left: _Part, right: _Part) -> None:
        left.last = right.last
        left.words = left.words + right.words
        between = [t.text for t in self.tokens[left.first : right.last] if not t.is_number]
        left.text = " ".join(between)
        if left.number is None:
            left.number = right.number
        row = self.matcher.scores([(left.text, left.words)])[0]
        if row:
            k = self._best(row)
            total, lexical, cosine = row[k]
            if left.group is None and (total >= _NAMES or lexical >= _LEXICAL or cosine >= _COSINE):
                left.group, left.score, left.lexical = k, total, lexical

    def _words_again(self) -> None:
        """Repeated words ("knock knock knock") and plurals."""
        for part in self.parts:
            caption = self.matcher.captions[part.group] if part.group is not None else ""
            stems = [stem(w) for w in part.words]
            if part.text.replace(" ", "") == caption.lower().replace(" ", ""):
                continue
            for width in (1, 2):
                unit = stems[:width]
                times = len(stems) // max(1, width)
                if times > 1 and stems[: width * times] == unit * times:
                    if caption.split().count(part.words[0]) < 2 and part.words[0] != "choo":
                        part.repeats = times
                    break
            if part.repeats == 1 and len(stems) > 1:
                run = 1
                for a, b in zip(stems, stems[1:]):
                    run = run + 1 if a == b else 1
                    part.repeats = max(part.repeats, run)
                if part.repeats > 1 and any(
                    f"{w} {w}" in caption.replace("-", " ") for w in part.words
                ):
                    part.repeats = 1
            subject = self.tokens[part.first].text in _SINGULAR
            if part.group is not None and not subject:
                words = self.matcher.words[part.group]
                for word in part.words:
                    verb = word in verb_forms() and len(part.words) > 1
                    if word.endswith("s") and not word.endswith("ss") and not verb:
                        part.plural |= any(
                            word in (c + "s", c + "es") or (stem(word) == c and word not in words)
                            for c in words
                        )
                    compound = [
                        c for c in words if c.endswith(word[:-1]) and word == word[:-1] + "s"
                    ]
                    if (
                        compound
                        and not verb
                        and len(word) > 4
                        and not any(c.endswith("s") for c in words)
                    ):
                        part.plural = True
                if part.plural and any(
                    w.endswith("s") and stem(w) == stem(p) for w in words for p in part.words
                ):
                    part.plural = False

    def is_terse(self) -> bool:
        """Whether the prompt is a list, in catchwords, or longer than the network reads."""
        marks = {"->", "/", "|", "+", "&", ":", "(", "[", "@", "•"} | {"。", "，", "、"}
        if self.enumerators or any(t.text in marks or t.text[0] == "\n" for t in self.tokens):
            return True
        parts = [p for p in self.parts if p.words and not p.denied]
        bare = sum(
            not any(
                t.text in _DETERMINERS | {"some", "we", "it"} for t in self.tokens[p.first : p.last]
            )
            for p in parts
        )
        return len(self.tokens) > _NETWORK_WORDS or (len(parts) > 0 and bare > 0.5 * len(parts))

    # Meaning

    def denied(self) -> None:
        """Mark the parts that the prompt excludes."""
        active = False
        previous: _Part | None = None
        for kind, value in self.elements:
            if kind == "break" and value in ("hard", "comma", "colon"):
                active = False
            elif kind == "cue":
                if value.kind == "denial":
                    active = True
                elif value.kind == "denied" and previous is not None:
                    previous.denied = True
                    last = self.tokens[value.last - 1].text
                    active = last.endswith("n't") or last == "not"
                elif value.kind in ("forward", "backward"):
                    active = False
            elif kind == "part":
                head = [t.text for t in self.tokens[value.first : value.last]][:1]
                if active and head and head[0] in ("just", "only"):
                    active = False
                if active:
                    value.denied = True
                    if value.score < 0.45 and value.lexical < 0.45:
                        value.group = None
                previous = value


def read_prompt(
    prompt: str,
    captions: Sequence[str],
    seconds: float,
    similarity: Similarity,
    names: Sequence[str] = (),
    asked: Sequence[bool] | None = None,
) -> Reading:
    """Read what a prompt states of the sounds of some captions.

    Parameters
    ----------
    prompt
        English text; of others the order of clauses, figures and marks count.
    captions
        One a reference; an empty one is filled from its file's name.
    seconds
        Length of the target.
    similarity
        Cosines of texts by the caller's encoder, [len(a), len(b)].
    names
        File names of the references.
    asked
        Whether the network takes each reference to be asked for; where it does not, a part that
        names no reference clearly is not taken for it.
    """
    groups, members = _groups(captions, names)
    matcher = Matcher(groups, similarity)
    wanted = [asked is None or any(asked[k] for k in m) for m in members]
    reader = _Reader(prompt, matcher, seconds, wanted)
    reader.label()
    reader.denied()
    language = reader.language
    _share_out(reader, groups, wanted, language is not None)
    reading = Reading(groups, members, [], set(), [], [], seconds)
    if language is not None:
        named = "is in" if " " in language else "seems to be"
        reading.warnings.append(
            f"the prompt {named} {language}: only the order of its clauses, figures and marks were "
            "read; write prompt and captions in English"
        )
    _Builder(reader, reading).build()
    reading.terse = reader.is_terse()
    used = {e.group for e in reading.events}
    reading.denied = {
        p.group for p in reader.parts if p.denied and p.group is not None and p.group not in used
    }
    reading.leftover = [k for k in range(len(groups)) if k not in used and k not in reading.denied]
    return reading


def _share_out(
    reader: _Reader, groups: Sequence[str], wanted: Sequence[bool], foreign: bool
) -> None:
    """Give references that no part names the parts that fit them best, nameless ones the rest, and
    to a foreign prompt's parts the references in their order.
    """
    positive = [p for p in reader.parts if not p.denied]
    taken = {p.group for p in reader.parts if p.group is not None}
    rows = {id(p): row for p, row in zip(reader.parts, reader.rows)}
    for k in (k for k in range(len(groups)) if k not in taken and groups[k] and wanted[k]):
        best, value = None, 0.0
        for part in positive:
            if not part.words:
                continue
            score, lexical, _ = rows[id(part)][k]
            if part.group is not None:
                rival = rows[id(part)][part.group][0]
                others = sum(p.group == part.group for p in positive)
                # A part that another reference can spare.
                if others < 2 or score < 0.6 * rival or lexical < 0.2:
                    continue
            if score > value:
                best, value = part, score
        if best is not None and value >= _LEFT_OVER:
            best.group, best.score = k, value
            taken.add(k)
    nameless = [k for k in range(len(groups)) if k not in taken]
    free = [p for p in positive if p.group is None and p.words]
    foreign = foreign or not any(p.group is not None for p in positive)
    if nameless and free and (foreign or all(not groups[k] for k in nameless)):
        if len(free) >= len(nameless):
            for k, part in zip(nameless, free):
                part.group, part.score = k, _LEFT_OVER


class _Builder:
    """Events from labelled parts, cues and connectives."""

    def __init__(self, reader: _Reader, reading: Reading):
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
                elif cue.kind == "amid":
                    if self._part_before(at):
                        relation, amid = "backward", "after"
                        self.main = self.recent
                    else:
                        amid = "open"
                elif cue.kind == "each_follows":
                    self.main, relation = self.recent, "backward"
                elif cue.kind in ("gap",):
                    gap = cue.values[0]
                elif cue.kind == "later":
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
                    ends = (
                        phrase in ("end with", "ends with", "it ends with")
                        and "between" not in self.reader.prompt
                    )
                    pinned_end = ends
                    if phrase in _AT_LAST:
                        relation = relation or "forward"
                    elif not self._part_in_cell(at) or phrase.endswith(
                        (" with", " is", " comes", " on")
                    ):
                        pending_last = True
                    elif self.recent is not None:
                        self._move(self.recent, "last")
                continue
            part: _Part = value
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
            event = self._event(part, at, relation, in_object, prefix)
            if event is None:
                continue
            fresh = event not in self.all
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

    def _another(self, at: int, part: _Part) -> bool:
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

    def _near(self, at: int, step: int, kinds: tuple[str, ...]) -> tuple[str, Any] | None:
        i = at + step
        while 0 <= i < len(self.reader.elements):
            if self.reader.elements[i][0] in kinds:
                return self.reader.elements[i]
            i += step
        return None

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

    def _next_in_sentence(self, at: int) -> _Part | None:
        for kind, value in self.reader.elements[at + 1 :]:
            if kind == "break" and value == "hard":
                return None
            if kind == "part" and value.words:
                return value
        return None

    def _commas(self, at: int) -> bool:
        for kind, value in reversed(self.reader.elements[:at]):
            if kind == "break" and value == "hard":
                return False
            if kind == "break" and value == "comma":
                return True
        return False

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

    def _quote(self, part: _Part) -> str:
        tokens = self.reader.tokens
        return self.reader.prompt[tokens[part.first].start : tokens[part.last - 1].end]

    def _event(
        self, part: _Part, at: int, relation: str, in_object: bool, prefix: str
    ) -> Event | None:
        again = any(kind == "cue" and value.kind == "again" for kind, value in self._cell(at))
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
                    or (k == "cue" and v.kind in _SPLITTING)
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
            if any(k == "cue" and v.kind == "every" for k, v in self._cell(at)):
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

    def _compared(self, part: _Part) -> bool:
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

        def find(step: int, stops: tuple[str, ...]) -> _Part | None:
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
                opening = before is None
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
                    and tokens[cue.first - 1].text in _HARD
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

    def _taken(self, part: _Part | None, cue: Cue) -> bool:
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
        if kind == "at":
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
                event.reasons.append(f"{said} -> {values[0]:+g} dB")
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
