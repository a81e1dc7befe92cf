"""Captions: from a label to a sentence with subject and verb, and from a sentence to its phrasings.

The words stand in `words.json`, a table to read and to edit: `nouns` gives a noun's usual
predicate, `actions` the predicate of a label's last word, `classes` whole sentences for the class
names of ESC-50 and UrbanSound8K, `verbs` the base form of every verb that a caption may use (with
its past participle where it is irregular), `synonyms` words that may stand for others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..json_text import parse_json

_DETERMINERS = {"a", "an", "the", "some", "two", "several", "many", "someone", "somebody", "one"}
_VOWELS = "aeiou"


@lru_cache(maxsize=1)
def word_tables() -> dict[str, Any]:
    """The tables of `words.json`."""
    return parse_json(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _lexicon() -> tuple[dict[str, str], dict[str, str]]:
    """Third person -> base form, and base form -> past participle."""
    participles = {}
    for entry in word_tables()["verbs"]:
        base, _, participle = entry.partition(" ")
        participles[base] = participle or _regular_participle(base)
    return {third_person(base): base for base in participles}, participles


def third_person(base: str) -> str:
    """Third person singular of a verb, `"pass"` -> `"passes"`."""
    if base.endswith(("s", "x", "z", "ch", "sh")) or re.search("[^aeiou]o$", base):
        return base + "es"
    if base.endswith("y") and base[-2] not in _VOWELS:
        return base[:-1] + "ies"
    return base + "s"


def present_participle(base: str) -> str:
    """Present participle of a verb, `"hit"` -> `"hitting"`."""
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1] + "ing"
    return (base + base[-1] if _doubles(base) else base) + "ing"


def _regular_participle(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in _VOWELS:
        return base[:-1] + "ied"
    return (base + base[-1] if _doubles(base) else base) + "ed"


def _doubles(base: str) -> bool:
    if base in ("begin", "fulfil"):
        return True
    return bool(re.fullmatch(r"(?:[^aeiou]|qu)*[aeiou][^aeiouwxy]", base))


def with_article(noun: str) -> str:
    """The noun phrase with an indefinite article, unless it has a determiner, is plural or is a
    mass noun.
    """
    words = noun.split()
    tables = word_tables()
    if (
        words[0] in _DETERMINERS
        or words[-1] in tables["mass_nouns"]
        or words[-1] in tables["plural_nouns"]
    ):
        return noun
    an = (
        words[0][0] in _VOWELS
        and not re.match(r"uni|use|one|euro", words[0])
        or re.match(r"hour|honest", words[0])
    )
    return ("an " if an else "a ") + noun


@dataclass(frozen=True)
class Sentence:
    """A caption taken apart: subject, predicate verbs in base form, and what follows each.

    `parts` holds one (verb, rest) per coordinated verb; `passive` means that the first
    verb is a past participle after "be".
    """

    subject: str
    parts: tuple[tuple[str, str], ...]
    plural: bool = False
    passive: bool = False

    def _predicate(self, inflect: Any, first: str | None = None) -> str:
        words = []
        for position, (verb, rest) in enumerate(self.parts):
            if position == 0 and self.passive:
                shape = f"{first} {verb}"
            else:
                shape = inflect(verb)
            words.append(f"{shape} {rest}".strip())
        return " and ".join(words)

    def present(self) -> str:
        """ "a gate closes" """
        be = "are" if self.plural else "is"
        return (
            f"{self.subject} {self._predicate((lambda v: v) if self.plural else third_person, be)}"
        )

    def progressive(self) -> str:
        """ "a gate is closing" """
        be = "are" if self.plural else "is"
        if self.passive:
            return f"{self.subject} {self._predicate(present_participle, be + ' being')}"
        return f"{self.subject} {be} {self._predicate(present_participle)}"

    def perfect(self) -> str:
        """ "a gate has closed" """
        have = "have" if self.plural else "has"
        participles = _lexicon()[1]
        if self.passive:
            return f"{self.subject} {self._predicate(participles.__getitem__, have + ' been')}"
        return f"{self.subject} {have} {self._predicate(participles.__getitem__)}"

    def gerund(self) -> str:
        """ "a gate closing" """
        return f"{self.subject} {self._predicate(present_participle, 'being')}"

    def noun_phrases(self) -> list[str]:
        """ "the sound of a gate closing", "the closing of a gate", "a closing gate" where they are
        idiomatic.
        """
        phrases = [f"the sound of {self.gerund()}", f"the noise of {self.gerund()}"]
        (verb, rest), simple = self.parts[0], len(self.parts) == 1
        pronoun = self.subject in ("someone", "somebody", "a person", "something")
        if (
            simple
            and not rest
            and not self.passive
            and not pronoun
            and verb not in ("make", "sound", "go")
        ):
            phrases.append(f"the {present_participle(verb)} of {self.subject}")
            article, _, noun = self.subject.partition(" ")
            if article in ("a", "an") and noun:
                phrases.append(with_article(f"{present_participle(verb)} {noun}"))
        if simple and not rest and verb == "sound":
            phrases += [f"the sound of {self.subject}", self.subject]
        return phrases


def parse_sentence(caption: str) -> Sentence | None:
    """Take a caption apart; None where no verb of the table is found."""
    third, participles = _lexicon()
    words = caption.strip().rstrip(".").split()
    for index, word in enumerate(words[1:], 1):
        if word in ("is", "are") and index + 1 < len(words):
            parts = _coordinated(words[index + 1 :], third, participles, False)
            return Sentence(" ".join(words[:index]), parts, plural=word == "are", passive=True)
        if word in third:
            return Sentence(
                " ".join(words[:index]), _coordinated(words[index:], third, participles, False)
            )
    singular = words[0] in ("a", "an", "someone", "somebody", "something")
    for index, word in enumerate(words[1:], 1):
        if word in participles and not singular:
            return Sentence(
                " ".join(words[:index]),
                _coordinated(words[index:], third, participles, True),
                plural=True,
            )
    return None


def _coordinated(
    words: list[str], third: dict[str, str], bases: dict[str, str], plural: bool
) -> tuple[tuple[str, str], ...]:
    """Split `verb rest [and verb rest]`, each verb in base form (a participle after "be" stays)."""
    first = third.get(words[0], words[0])
    for index in range(1, len(words) - 1):
        follower = words[index + 1]
        if words[index] == "and" and (follower in bases if plural else follower in third):
            return (
                (first, " ".join(words[1:index])),
                (third.get(follower, follower), " ".join(words[index + 2 :])),
            )
    return ((first, " ".join(words[1:])),)


def clean_stem(name: str) -> str:
    """Lower-case, hyphen-separated words of a file stem: camel case is split, digits and separators
    collapse to `-`.

    `"FootStepGrass2"` gives `"foot-step-grass"`, `"drake-hit-3"` gives `"drake-hit"`; a stem of
    digits only gives `""`.
    """
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    name = re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z]+", "-", name.lower()).strip("-")


def caption_from_label(label: str) -> str:
    """Sentence for a label or class name such as `"wesnoth/drake-die"`, `"metal door open"` or
    `"church_bells"`.

    Unknown nouns make a sound; the part before a slash (the source) is left out.
    """
    tables = word_tables()
    words = re.sub(r"[^a-z']+", " ", label.rsplit("/", 1)[-1].lower()).split()
    name = " ".join(words)
    if name in tables["classes"]:
        return tables["classes"][name]
    for length in (3, 2, 1):
        action = tables["actions"].get(" ".join(words[-length:]))
        if action and len(words) > length:
            subject = " ".join(words[:-length])
            if "{}" in action:
                return action.format(with_article(subject) if "a {}" not in action else subject)
            return f"{with_article(tables['subjects'].get(subject, subject))} {action}"
    for start in range(len(words)):
        predicate = tables["nouns"].get(" ".join(words[start:]))
        if predicate:
            subject = name
            return f"{with_article(tables['subjects'].get(subject, subject))} {predicate}"
    subject = with_article(tables["subjects"].get(name, name or "thing"))
    verb = "make" if subject.split()[-1] in tables["plural_nouns"] else "makes"
    return f"{subject} {verb} a sound"


@lru_cache(maxsize=16384)
def sentence_variants(caption: str) -> tuple[Sentence, ...]:
    """The sentence first, then those with a synonym for the subject, the verb or both; empty if it
    has no verb.
    """
    sentence = parse_sentence(caption)
    if sentence is None:
        return ()
    synonyms = word_tables()["synonyms"]
    subjects = [sentence.subject]
    for old, others in synonyms["nouns"].items():
        if re.search(rf"\b{re.escape(old)}$", sentence.subject):
            for new in others:
                replaced = re.sub(rf"\b{re.escape(old)}$", new, sentence.subject)
                subjects.append(_fix_article(replaced))
    verb, rest = sentence.parts[0]
    predicates = [(sentence.passive, verb, rest)]
    key = ("be " if sentence.passive else "") + f"{verb} {rest}".strip()
    whole = key in synonyms["predicates"]
    others = synonyms["predicates"].get(key) or synonyms["verbs"].get(
        ("be " if sentence.passive else "") + verb, []
    )
    for other in others:
        passive = other.startswith("be ")
        new_verb, _, new_rest = other.removeprefix("be ").partition(" ")
        predicates.append((passive, new_verb, f"{new_rest} {'' if whole else rest}".strip()))
    variants = []
    for subject in subjects:
        for passive, new_verb, new_rest in predicates:
            parts = ((new_verb, new_rest), *sentence.parts[1:])
            variants.append(Sentence(subject, parts, sentence.plural, passive))
    return tuple(variants)


def _fix_article(phrase: str) -> str:
    article, _, rest = phrase.partition(" ")
    if article in ("a", "an") and rest:
        return with_article(rest) if rest.split()[-1] not in word_tables()["mass_nouns"] else rest
    return phrase


@lru_cache(maxsize=16384)
def _paraphrases(caption: str) -> tuple[str, ...]:
    variants = sentence_variants(caption)
    if not variants:
        return (caption, f"the sound of {caption}")
    found = []
    for sentence in variants:
        found += [
            sentence.present(),
            sentence.progressive(),
            sentence.gerund(),
            *sentence.noun_phrases(),
        ]
    return tuple(dict.fromkeys(found))


def paraphrases(caption_or_label: str) -> list[str]:
    """Phrasings of a caption (or of a label, which is made a sentence first); the plain one comes
    first.

    >>> paraphrases("a gate closes")[:3]
    ['a gate closes', 'a gate is closing', 'a gate closing']
    """
    caption = caption_or_label if " " in caption_or_label else caption_from_label(caption_or_label)
    return list(_paraphrases(caption))
