"""Which language a prompt is in, as far as its commonest words tell; captions and prompts are to be
English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from .numbers import Token

# Frequent words that are no English words as well.
_COMMON = {
    "French": "un une le la les des du et puis dans avec est sont pendant ensuite fois sur qui "
    "au aux deux trois quatre son sa une apres avant alors chien pluie bruit secondes",
    "German": "ein eine einen der das und dann mit ist sind im zweimal dreimal mal danach auf "
    "nach vor zwei drei vier bevor sekunden geräusch leise laut hund regen zuerst dem im",
    "Spanish": "un una el los las y luego mientras con veces después antes suena es dos tres "
    "cuatro entonces perro lluvia ruido segundos del se",
    "Italian": "un una il lo gli e poi mentre con volte dopo prima è due tre quattro quindi cane "
    "pioggia rumore secondi della nel piove",
    "Portuguese": "um uma os e depois enquanto com vezes antes é dois duas três então cachorro "
    "chuva barulho segundos na do da",
    "Dutch": "een het en dan daarna terwijl met keer twee drie vier voordat hond regen geluid "
    "seconden zachtjes op gaat eerst",
}
_LANGUAGES = {name: frozenset(words.split()) for name, words in _COMMON.items()}
_ENGLISH = frozenset(
    "the and then is are of in with while at after before a an on to twice times seconds for by "
    "from it some as over once again followed".split()
)

# What is read of them all the same: order, numbers and counts.
_TRANSLATED = {
    "then": "puis ensuite dann danach luego después poi quindi dopo depois então daarna dan",
    "while": "pendant während mentras mientras mentre enquanto terwijl",
    "times": "fois mal veces volte vezes keer",
    "2 times": "zweimal tweemaal",
    "3 times": "dreimal driemaal",
    "s": "secondes sekunden segundos secondi seconden",
    "2": "deux zwei dos due dois duas twee",
    "3": "trois drei tres tre três drie",
    "4": "quatre vier cuatro quattro quatro",
    "5": "cinq fünf cinco cinque vijf",
}
_ENGLISH_FOR = {word: english for english, words in _TRANSLATED.items() for word in words.split()}


def translate(tokens: Sequence[Token]) -> list[Token]:
    """Tokens of a foreign prompt with its words of order and number in English."""
    found = []
    for token in tokens:
        first, *rest = _ENGLISH_FOR.get(token.text, token.text).split(" ")
        found.append(replace(token, text=first))
        found += [Token(text, token.end, token.end) for text in rest]
    return found


def foreign_language(text: str) -> str | None:
    """Name of the language of a text that is not English, None for English and what is too short
    to tell.

    >>> foreign_language("ein Hund bellt zweimal"), foreign_language("a dog barks in the distance")
    ('German', None)
    """
    if any(ord(c) > 0x24F and c.isalpha() and not 0x1E00 <= ord(c) < 0x2000 for c in text):
        return "another script than Latin"
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {name: sum(w in common for w in words) for name, common in _LANGUAGES.items()}
    name = max(hits, key=lambda n: hits[n])
    english = sum(word in _ENGLISH for word in words)
    return name if hits[name] >= 2 and hits[name] > english else None
