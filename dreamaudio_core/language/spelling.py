"""Misspelt words of time and order."""

from __future__ import annotations

from functools import lru_cache

# Long words that few others resemble; those that do are words of their own.
_WORDS = (
    "afterwards",
    "background",
    "beginning",
    "continuously",
    "distance",
    "followed",
    "immediately",
    "quietly",
    "repeatedly",
    "seconds",
    "silence",
    "simultaneously",
    "throughout",
    "together",
    "twice",
)
_OTHERS = {"twine", "follower", "silenced", "silencer", "distanced", "second", "backgrounds"}


def within_one_letter(a: str, b: str) -> bool:
    """Whether one letter is missing, too much, wrong or swapped with the next."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return a == b
    i = 0
    while i < min(len(a), len(b)) and a[i] == b[i]:
        i += 1
    if len(a) == len(b):
        swapped = a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :]
        return swapped or a[i + 1 :] == b[i + 1 :]
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[i + 1 :] == shorter[i:]


@lru_cache(maxsize=65536)
def corrected(word: str) -> str:
    """The word of time or order that a misspelt one stands for, else the word itself.

    >>> corrected("tweice"), corrected("distence"), corrected("twine")
    ('twice', 'distance', 'twine')
    """
    if len(word) < 5 or word in _OTHERS:
        return word
    return next((w for w in _WORDS if within_one_letter(word, w)), word)
