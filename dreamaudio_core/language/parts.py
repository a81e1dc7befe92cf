"""The parts of a prompt: words between marks and connectives, and the caption that each names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .cues import Cue, find_cues, grammar, in_seconds
from .foreign import foreign_language, translate
from .mentions import Matcher, alike, stem, stopwords, verb_forms
from .numbers import tokenize

HARD = {
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
# A part names a reference from here on: total score, or share of words, or the encoder's cosine.
_NAMES, _LEXICAL, _COSINE = 0.38, 0.5, 0.55
_DOUBTED = 0.7
# The network was trained on prompts of at most so many words.
_NETWORK_WORDS = 45
SPLITTING = frozenset(
    "forward backward together denial gap later after_by before_by after denied each_follows "
    "amid around inside inside_it".split()
)


@dataclass
class Part:
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
    filler: bool = False
    aside: bool = False


_PLACES = ("at", "beginning", "middle", "halfway", "end")
# What may stand for a sound that was named before, as in "then a closer one answers".
_ANSWERS = {"one", "answers", "replies", "responds", "follows"}
# Words that alone name no sound: how another one is.
_MANNER = frozenset(
    "slow slowly fast steady steadily quick quickly rapid rapidly even evenly regular regularly "
    "brief briefly sharply smoothly gradually alone continue continues gets pauses pausing waits "
    "waiting rests stops stop".split()
)
_MULTIPLES = {"double": 2, "triple": 3, "quadruple": 4}


class PromptParts:
    def __init__(self, prompt: str, matcher: Matcher, seconds: float, wanted: Sequence[bool] = ()):
        self.wanted = list(wanted)
        self.prompt, self.matcher, self.seconds = prompt, matcher, seconds
        self.language = foreign_language(prompt)
        self.tokens = translate(tokenize(prompt)) if self.language else tokenize(prompt)
        self.enumerators = self._enumerators()
        caption_words = {w for words in matcher.words for w in words}
        stems = {stem(w) for w in caption_words}
        found = find_cues(self.tokens, frozenset(self.enumerators))
        # Words such as "loud" or "loop" that a caption has as well say nothing of their own.
        self.cues = [
            in_seconds(c, seconds)
            for c in found
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
                    "inside",
                    "inside_it",
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
        self.cues = [replace(c, kind="end") if self._ends_again(c) else c for c in self.cues]
        self.cue_at: dict[int, Cue] = {}
        for cue in self.cues:
            for i in range(cue.first, cue.last):
                self.cue_at[i] = cue
        self.parts: list[Part] = []
        self.elements: list[tuple[str, Any]] = []
        self.cuts = self._changes_of_sound()
        self._split()

    def _ends_again(self, cue: Cue) -> bool:
        """Whether "in the end" says when a sound returns ("at first and again in the end")."""
        words = [t.text for t in self.tokens[cue.first : cue.last]]
        before = any(c.kind == "again" and c.last == cue.first for c in self.cues)
        return cue.kind == "last" and words == ["in", "the", "end"] and before

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
        """Elements in order: ("part", Part), ("cue", Cue), ("break", level)."""
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
                    splits = cue.kind in SPLITTING
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
            elif token.text[0] == "\n" or token.text in HARD:
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
                token.text in ("does", "do")
                or (token.text == "we" and self._text(i + 1) == "hear")
                or (token.text == "there" and self._text(i + 1) in ("is", "are", "comes"))
            ):
                flush()
                self.elements.append(("break", "comma"))
            elif token.is_word or token.is_number or ord(token.text[0]) > 0x2000:
                if i in self.cuts:
                    flush()
                    self.elements.append(("break", "comma"))
                elif token.text in _DETERMINERS and any(
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

    def _changes_of_sound(self) -> set[int]:
        """Words of a bare list without marks ("kick snare kick snare") that begin another sound."""
        runs: list[list[int]] = [[]]
        for i, token in enumerate(self.tokens):
            if token.is_word and i not in self.cue_at and token.text not in stopwords():
                runs[-1].append(i)
            elif runs[-1]:
                runs.append([])
        found: set[int] = set()
        for run in runs:
            named = [self._named_by(self.tokens[i].text) for i in run]
            words = [self.tokens[i].text for i in run]
            if len(run) < 3 or None in named or len(set(named)) < 2 or len(set(words)) == len(run):
                continue
            found |= {b for b, x, y in zip(run[1:], named, named[1:]) if x != y}
        return found

    def _named_by(self, word: str) -> int | None:
        """The one caption that a word names."""
        marks = [max((alike(word, c) for c in words), default=0.0) for words in self.matcher.words]
        best = max(marks, default=0.0)
        return marks.index(best) if best >= 0.7 and marks.count(best) == 1 else None

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
            elif kind == "cue" and value.kind in ("forward", "later"):
                pending = value.last if value.last < len(self.tokens) else None
            elif (
                kind == "cue"
                and value.kind == "again"
                and out
                and out[-1][0] == "break"
                and any(k == "part" for k, _ in out)
                and self._ends(value)
                and self._placed_after(value)
            ):
                # "a shot at the start, another in the middle"
                out.append(("part", Part(value.first, value.last, [], "")))
            elif kind == "cue" and pending is not None and value.kind in ("gain", "times", "again"):
                first = self.tokens[value.first].text in ("again", "once", "more")
                if not first or self._ends(value):
                    part = Part(value.first, value.last, [], "")
                    self.parts.append(part)
                    if self._ends(value):
                        out.append(("part", part))
                    else:
                        self.parts.pop()
                    pending = None if self._ends(value) else pending
            out.append((kind, value))
        self.elements = out
        self.parts = [v for k, v in out if k == "part"]

    def _placed_after(self, cue: Cue) -> bool:
        """Whether a cue that says when follows at once."""
        following = self.cue_at.get(cue.last)
        return following is not None and following.kind in _PLACES

    def _ends(self, cue: Cue) -> bool:
        """Whether nothing but cues follows before the next mark."""
        i = cue.last
        while i < len(self.tokens):
            if i in self.cue_at and self.cue_at[i].kind not in SPLITTING:
                i = self.cue_at[i].last
            elif self.tokens[i].text in _ANSWERS:
                i += 1
            else:
                break
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
        part = Part(indices[0], indices[-1] + 1, words, text, number)
        named = {word for words in self.matcher.words for word in words}
        for word, value in _MULTIPLES.items():
            if number is None and word in words and word not in named:
                words.remove(word)
                part.words, part.number = words, value
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
                while i > 0 and out[i][0] == "cue" and out[i][1].kind not in SPLITTING:
                    i -= 1
                level = (
                    out[i][1]
                    if out[i][0] == "break"
                    else ("article" if out[i][0] == "part" else "hard")
                )
                j = i - 1 if out[i][0] == "break" else i
                while j > 0 and out[j][0] == "cue" and out[j][1].kind not in SPLITTING:
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
            heads = [t.text for t in self.tokens[part.first : part.last]]
            if said and set(part.words) <= said and heads[:1] == ["a"] and "1" in heads:
                # "then a closer one answers"
                part.words, part.number, part.again = [], None, True
                continue
            if (said and set(part.words) <= said) or set(part.words) <= _MANNER:
                self.elements = [e for e in self.elements if e[1] is not part]
        self.parts = [v for k, v in self.elements if k == "part"]
        self._score()

    def _best(self, row: Sequence[tuple[float, float, float]]) -> int:
        """The caption that fits best; one that the network does not find asked for fits less."""
        return max(
            range(len(row)),
            key=lambda j: row[j][0] * (1.0 if not self.wanted or self.wanted[j] else _DOUBTED),
        )

    def _joins(self, left: Part, level: str, right: Part) -> bool:
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

    def _own_event(self, part: Part) -> bool:
        return self.tokens[part.first].text in _DETERMINERS

    def _join(self, left: Part, right: Part) -> None:
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
        previous: Part | None = None
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
