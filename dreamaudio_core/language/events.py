"""The events of a prompt: one phrase for each sound that it asks for."""

from __future__ import annotations

import re
from functools import lru_cache

from .captions import parse_sentence, present_participle, third_person, word_tables

_PAUSE = (
    r"(?:(?:and|but|then)\s+)*(?:after (?:a|some)\s+(?:\w+\s+)?(?:pause|silence|while|moment"
    r"|break|time)"
    r"|(?:a|some) (?:\w+ )?(?:moments?|while|time|pause|seconds?) later)"
)
_BETWEEN = "|".join(
    (
        _PAUSE,
        r"as soon as",
        r"at the very moment (?:when|that)",
        r"(?:(?:and|just) )*at the same time as",
        r"as well as",
        r"(?:is |are )?(?:immediately |directly |closely )?(?:followed|preceded|accompanied"
        r"|interrupted)(?=\s+by\b|,)",
        r"(?:comes?|is heard|are heard|heard) (?:right |just |only )?(?:before|after)",
        r"precedes?",
        r"follow(?:s|ing)?",
        r"(?:gives? way|leads?|(?:in )?(?:answer|response)) to|answers",
        r"(?:do )?we (?:can )?hear|there (?:is|are)|(?:first|last) and",
        r"(?:and )?a little (?:later|earlier)",
        r"(?:it )?(?:starts?|begins?|goes on|continues?|ends?) with",
        r"(?:(?:and|but|right|just|only|first|soon|shortly|immediately|is heard) )*(?:before"
        r"|after|until|till)(?: that| which)?",
        r"prior to",
        r"(?:(?:and|but|only|right) )*(?:then|afterwards|later|meanwhile|subsequently)",
        r"while|whilst|whereas|during|when|whenever|once",
        r"(?<!such )(?:just )?as(?! (?:if|though|well|loud|quiet|in)\b)",
        r"(?:together|along|mixed|mingled) with",
        r"(?:over|against|amid|to) (?:the )?(?:sounds?|noise|background) of",
        r"with(?=[^,.;]*\b(?:in|as) (?:the |a )?background\b)",
    )
)
_SEPARATOR = re.compile(rf"[;:!?\n]+|\.(?!\d)|\b(?:{_BETWEEN})\b", re.IGNORECASE)
_SOFT = re.compile(r"\s*,\s*(?:(?:and|but|or|plus)\b)?|\b(?:and|plus)\b", re.IGNORECASE)
_TIMES = (
    r"(?:twice|thrice|once|(?:\d+|two|three|four|five|six|several|many|a few"
    r"|a couple of) (?:more )?times)"
)
_LEADING = re.compile(
    r"^(?:(?:and|but|or|by|plus|both|also|at last|last of all|first of all|first comes?|at first"
    r"|first|to begin with|"
    r"to start with|in the beginning|at the beginning|in the end|at the end|finally|lastly"
    r"|next comes?|next|then|later|"
    r"afterwards|after|before|suddenly|again|only|simultaneously|all at once|all"
    r"|at the same time|at once|together|"
    r"we (?:can )?hear|you (?:can )?hear|one hears|i hear|there (?:is|are|comes?)|(?:this|that"
    r"|it|which) is|which|that|"
    r"in the (?:background|foreground)|a (?:sound|noise|recording) of|the (?:sounds?|noise"
    r"|recording) of|sounds? of"
    rf"|comes?|is|are)\b|{_TIMES}|[\s,'\"-])+",
    re.IGNORECASE,
)
_TRAILING = re.compile(
    r"(?:(?:\b(?:and|but|or|comes?|comes? (?:first|last|next)|(?:is|are"
    r"|can be) heard(?: (?:first|last|next|too))?|"
    r"last of all|at first|first|last|next|then|later|afterwards|again|at last|simultaneously"
    r"|all at once|at once|together|"
    r"mixed together|all at the same time|at the same time|all|both|"
    r"(?:quietly |softly |loudly )?in the "
    rf"(?:background|foreground)|at the (?:end|beginning|start)|towards? the end|right|just|only"
    rf"|is|are|it|"
    rf"this|which|that|{_TIMES}"
    r"|(?:for|at|within) (?:about )?[\d.]+ ?(?:s|sec|secs|seconds?|minutes?))\b)|[\s,'\"-])+$",
    re.IGNORECASE,
)
_DETERMINERS = {
    "a",
    "an",
    "the",
    "some",
    "someone",
    "somebody",
    "something",
    "one",
    "two",
    "three",
    "four",
    "five",
    "several",
    "many",
    "another",
    "his",
    "her",
    "its",
    "their",
    "my",
    "people",
    "no",
}


_PREPOSITIONS = {
    "in",
    "on",
    "at",
    "by",
    "up",
    "off",
    "out",
    "down",
    "over",
    "away",
    "again",
    "twice",
}
_MAX_LENGTH = 2000
"""Characters of a prompt that are looked at: far more than a text encoder takes."""
_SILENT = re.compile(r"(?:no|without|nobody|no one|nothing|silence)\b", re.IGNORECASE)
_EMPTY = {
    "one",
    "the other",
    "another",
    "more",
    "once more",
    "in turn",
    "it",
    "they",
    "someone",
    "something",
}


@lru_cache(maxsize=1)
def _verb_forms() -> tuple[frozenset[str], frozenset[str]]:
    """Finite and progressive forms of the verbs of the word table."""
    bases = [entry.partition(" ")[0] for entry in word_tables()["verbs"]]
    finite = frozenset(bases) | {third_person(b) for b in bases}
    return finite, frozenset(present_participle(b) for b in bases)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z'-]+", text.lower())


def _has_verb(words: list[str]) -> bool:
    _, progressive = _verb_forms()
    return any(w in progressive for w in words) or (
        len(words) > 1 and parse_sentence(" ".join(words)) is not None
    )


def _is_event(text: str) -> bool:
    """Whether words after "and" or a comma name a sound of their own, rather than go on with the
    one before.
    """
    words = _words(text)
    if not words:
        return False
    finite, progressive = _verb_forms()
    if words[0] in _DETERMINERS:
        return True
    tables = word_tables()
    name = " ".join(words)
    if name in tables["classes"] or any(
        " ".join(words[i:]) in tables["nouns"] for i in range(len(words))
    ):
        return True
    if len(words) > 1 and words[1] in ("is", "are", "can"):
        return True
    if len(words) == 2 and words[0] not in progressive and not words[1].endswith("ly"):
        # A subject and a verb that no table knows ("thunder rumbles", "crickets chirr").
        singular = words[1].endswith("s") and not words[0].endswith("s")
        plural = words[0].endswith("s") and words[0] not in finite and words[1] not in _PREPOSITIONS
        if singular or plural:
            return True
    return (
        words[0] not in finite
        and words[0] not in progressive
        and len(words) > 1
        and _has_verb(words)
    )


def _shares_verb(left: str, right: str) -> bool:
    """Whether both are subjects of one plural verb, as in "a man and a woman talk"."""
    words = _words(right)
    if _has_verb(_words(left)) or _has_verb(words):
        return False
    # A singular subject takes no bare verb, so that such a verb belongs to both.
    return words[0] in _DETERMINERS and any(word in _verb_forms()[0] for word in words[2:])


def _soft_parts(clause: str) -> list[str]:
    """Parts of a clause at those commas and "and"s that separate events."""
    pieces, last = [], 0
    for match in _SOFT.finditer(clause):
        left, right = clause[last : match.start()], clause[match.end() :]
        following = _SOFT.split(right, maxsplit=1)[0]
        if _is_event(_clean(following)) and not _shares_verb(left, following):
            pieces.append(left)
            last = match.end()
    return [*pieces, clause[last:]]


def _clean(part: str) -> str:
    part = _LEADING.sub("", part.strip())
    return _TRAILING.sub("", part).strip()


def split_events(prompt: str) -> list[str]:
    """Split a prompt on its connectives into one phrase for each event.

    Words that only tell order, number or time ("then", "twice", "at the same time") are left out,
    as is what shall not be heard ("without music"), and a phrase that occurs again is given once.
    The rules know the connectives of the training prompts and the verbs of the caption table; "and"
    and commas separate events only where a new subject follows, so that "a dog barks and growls"
    stays whole.

    Parameters
    ----------
    prompt : str
        English text.

    Returns
    -------
    list of str
        Phrases in the order of the prompt; the prompt itself where the rules leave nothing; empty
        for an empty prompt.

    >>> split_events("First a dog barks twice, then a door closes while it rains")
    ['a dog barks', 'a door closes', 'it rains']
    """
    text = " ".join(str(prompt).split())[:_MAX_LENGTH]
    found: dict[str, str] = {}
    for clause in _SEPARATOR.split(text):
        for part in _soft_parts(clause):
            part = _clean(part)
            if (
                sum(c.isalnum() for c in part) > 1
                and part.lower() not in _EMPTY
                and not _SILENT.match(part)
            ):
                found.setdefault(part.lower(), part)
    return list(found.values()) or ([text] if text else [])
