"""Which words of a prompt name which reference."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from .captions import present_participle, third_person, word_tables
from .cues import grammar
from .numbers import tokenize
from .spelling import within_one_letter

# Cosine similarity of texts, [len(a), len(b)], as the caller's text encoder sees them.
Similarity = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[float]]]

_SUFFIXES = (
    "ing", "ings", "ed", "er", "ers", "es", "s", "y", "ly",
)  # fmt: skip


@lru_cache(maxsize=1)
def stopwords() -> frozenset[str]:
    """Words that name no sound."""
    return frozenset(grammar()["stopwords"])


@lru_cache(maxsize=1)
def _forms() -> dict[str, str]:
    """Inflected forms of the caption table's verbs -> base form."""
    found: dict[str, str] = {}
    for entry in word_tables()["verbs"]:
        base, _, participle = entry.partition(" ")
        for form in (base, third_person(base), present_participle(base), participle):
            found.setdefault(form, base)
    return found


@lru_cache(maxsize=1)
def verb_forms() -> frozenset[str]:
    """Third person forms of the table's verbs."""
    return frozenset(third_person(entry.partition(" ")[0]) for entry in word_tables()["verbs"])


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without its ending."""
    word = word.removesuffix("'s").replace("'", "")
    if word in _forms():
        return _forms()[word]
    for suffix in ("ings", "ing", "ers", "ed", "es", "s", "er", "y"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            root = word[: -len(suffix)]
            if suffix == "es" and not root.endswith(("s", "x", "z", "ch", "sh")):
                root = word[:-1]
                return root
            if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz":
                root = root[:-1]
            return _forms().get(root, _forms().get(root + "e", root))
    return word


@lru_cache(maxsize=1)
def _families() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for number, family in enumerate(grammar()["families"]):
        for word in family:
            found.setdefault(stem(word), set()).add(number)
    base = len(grammar()["families"])
    verbs = word_tables()["synonyms"]["verbs"]
    for number, (word, others) in enumerate(verbs.items(), base):
        for other in (word, *others):
            if " " not in other.removeprefix("be "):
                found.setdefault(stem(other.removeprefix("be ")), set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


@lru_cache(maxsize=65536)
def alike(a: str, b: str) -> float:
    """How well a word of a prompt stands for a word of a caption, 0 to 1."""
    if a == b:
        return 1.0
    x, y = stem(a), stem(b)
    if x == y:
        return 1.0
    if _families().get(x, frozenset()) & _families().get(y, frozenset()):
        return 0.85
    short, long = sorted((x, y), key=len)
    if len(short) >= 4 and long.endswith(short):
        return 0.8
    if len(short) >= 4 and long.startswith(short):
        return 0.8 if long == x else 0.45
    if (
        len(short) >= 3
        and len(long) - len(short) >= 3
        and long.endswith(short)
        and short not in ("ing",)
    ):
        return 0.6
    if len(a) >= 4 and len(b) >= 4 and within_one_letter(a, b):
        return 0.7
    if len(a) == len(b) == 3 and a != b and sorted(a) == sorted(b) and within_one_letter(a, b):
        return 0.7
    return 0.0


def caption_from_name(name: str) -> str:
    """What a file's name says of its sound: `"crow_caw_02.wav"` -> `"crow caw"`; often nothing."""
    base = os.path.splitext(os.path.basename(name))[0]
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", base).lower()
    words = re.sub(r"[\W_\d]+", " ", spaced).split()
    return " ".join(w for w in words if w not in stopwords() and len(w) > 1)


def content(text: str) -> list[str]:
    """Words of a text that may name a sound."""
    return [t.text for t in tokenize(text) if t.is_word and t.text not in stopwords()]


class Matcher:
    """How well parts of a prompt name the sounds of some captions.

    Parameters
    ----------
    captions
        Different captions; empty where nothing is known.
    similarity
        Similarity of texts by the caller's encoder.
    """

    def __init__(self, captions: Sequence[str], similarity: Similarity):
        self.captions = list(captions)
        self.words = [content(c) or [t.text for t in tokenize(c) if t.is_word] for c in captions]
        self._similarity = similarity
        stems = [{stem(w) for w in words} for words in self.words]
        self._weight = [
            {w: 1.0 / sum(stem(w) in other for other in stems) ** 1.5 for w in words}
            for words in self.words
        ]

    def lexical(self, words: Sequence[str], k: int) -> float:
        """Share of a caption's words that some words stand for, 0 to 1."""
        weights = self._weight[k]
        total = sum(weights.values())
        if not total or not words:
            return 0.0
        found = sum(w * max(alike(a, c) for a in words) for c, w in weights.items())
        recall = found / max(total, 1e-6)
        hits = sum(max((alike(a, c) for c in weights), default=0.0) for a in words)
        return 0.6 * recall + 0.4 * hits / len(words) if found else 0.0

    def scores(
        self, parts: Sequence[tuple[str, Sequence[str]]]
    ) -> list[list[tuple[float, float, float]]]:
        """For each part (text, words) and caption: total, lexical and encoder's similarity."""
        known = [k for k, c in enumerate(self.captions) if c.strip()]
        rows = [[(0.0, 0.0, 0.0)] * len(self.captions) for _ in parts]
        if not parts or not known:
            return rows
        found = self._similarity([t for t, _ in parts], [self.captions[k] for k in known])
        for row, (text, words), cosines in zip(rows, parts, found):
            for k, cosine in zip(known, cosines):
                lexical = self.lexical(words, k)
                if text.strip() == self.captions[k].strip().lower():
                    lexical = 1.0
                cosine = max(0.0, float(cosine))
                row[k] = (0.6 * lexical + 0.4 * cosine, lexical, cosine)
        return rows
