"""Words of a prompt, with numbers, clock times and units written one way."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .spelling import corrected

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
NUMBERS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
    "dozen": 12,
}
ORDINALS = {word: value for value, word in enumerate(_ORDINALS, 1)}
# How many an indefinite number is; only where nothing in the prompt says more.
INDEFINITE = {
    "couple": 2,
    "pair": 2,
    "few": 3,
    "several": 4,
    "some": 3,
    "many": 6,
    "numerous": 6,
    "countless": 8,
}
_TIMES = {"once": 1, "twice": 2, "thrice": 3, "single": 1, "quadruple": 4}
_SECONDS = {"s", "sec", "secs", "second", "seconds", "秒", "с", "sekunde", "sekunden", "secondes"}
_TOKEN = re.compile(
    r"(?P<clock>\d+:[0-5]\d(?:\.\d+)?)"
    r"|(?P<times>[x×]\s?\d+\b|\b\d+\s?[x×](?!\w))"
    r"|(?P<ordinal>(?:[1-9]|10)(?:st|nd|rd|th)\b)"
    r"|(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<arrow>-+>|=>|→|>)"
    r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)"
    r"|(?P<mark>\n+|\.\.\.|…|[^\w\s]|_)",
    re.IGNORECASE,
)
_CHINESE = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8}


@dataclass(frozen=True)
class Token:
    """A word as it is matched, and where it stands in the prompt."""

    text: str
    start: int
    end: int

    @property
    def is_number(self) -> bool:
        return self.text[0].isdigit()

    @property
    def is_word(self) -> bool:
        return self.text[0].isalpha()


def number(value: float) -> str:
    """A number as tokens hold it."""
    return f"{value:.6g}"


def _raw(text: str) -> list[Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        kind, found, start, end = match.lastgroup, match[0].lower(), *match.span()
        if kind == "clock":
            minutes, seconds = found.split(":")
            tokens += [
                Token("@", start, start),
                Token(number(60 * int(minutes) + float(seconds)), start, end),
            ]
            tokens.append(Token("s", end, end))
        elif kind == "times":
            count = re.sub(r"\D", "", found)
            tokens += [Token(count, start, end), Token("times", end, end)]
        elif kind == "ordinal":
            tokens.append(Token(_ORDINALS[int(found[:-2]) - 1], start, end))
        elif kind == "number":
            tokens.append(Token(number(float(found)), start, end))
        elif kind == "arrow":
            tokens.append(Token("->", start, end))
        elif kind == "word" and found == "x" and re.match(r"\s*\d", text[end:]):
            tokens.append(Token("times", start, end))
        elif kind == "word" and re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", found):
            tokens += [
                Token(_TRANSLATED.get(w, w), start + a, start + b) for w, a, b in _foreign(found)
            ]
        else:
            tokens.append(Token(corrected(found.replace("’", "'")), start, end))
    return tokens


_TRANSLATED = {
    "然后": "then",
    "接着": "then",
    "之后": "then",
    "次": "times",
    "回": "times",
    "秒": "s",
}
_TRANSLATED.update({word: str(value) for word, value in _CHINESE.items()})


def _foreign(word: str) -> list[tuple[str, int, int]]:
    pieces = [p for p in re.split(f"({'|'.join(_TRANSLATED)})", word) if p]
    found, at = [], 0
    for piece in pieces:
        found.append((piece, at, at + len(piece)))
        at += len(piece)
    return found


def tokenize(text: str) -> list[Token]:
    """Words, numbers and marks of a text in lower case.

    Number words become figures, clock times and milliseconds become seconds (`s`), "twice" and "x2"
    become "2 times".

    >>> [token.text for token in tokenize("Twenty-four claps at 0:03")]
    ['24', 'claps', 'at', '@', '3', 's']
    """
    raw, i = _raw(text), 0
    tokens: list[Token] = []

    def word(at: int) -> str:
        return raw[at].text if 0 <= at < len(raw) else ""

    while i < len(raw):
        token, text_ = raw[i], raw[i].text
        used, out = 1, [text_]
        if text_ == "half" and word(i + 1) in ("a", "-") and word(i + 2) == "dozen":
            used, out = 3, ["6"]
        elif text_ == "half" and (
            (word(i + 1) in ("a", "-") and word(i + 2) in _SECONDS) or word(i + 1) in _SECONDS
        ):
            used, out = (2 if word(i + 1) in _SECONDS else 3), ["0.5", "s"]
        elif text_ in _TENS and word(i + 1) == "-" and word(i + 2) in _UNITS[1:10]:
            used, out = 3, [number(NUMBERS[text_] + NUMBERS[word(i + 2)])]
        elif text_ in _TENS and word(i + 1) in _UNITS[1:10]:
            used, out = 2, [number(NUMBERS[text_] + NUMBERS[word(i + 1)])]
        elif text_ in ("a", "two") and word(i + 1) == "dozen":
            used, out = 2, ["12" if text_ == "a" else "24"]
        elif text_ == "a" and word(i + 1) in ("couple", "pair", "few"):
            used = 3 if word(i + 2) == "of" else 2
            out = [f"{INDEFINITE[word(i + 1)]}"]
        elif text_ == "a" and word(i + 1) == "hundred":
            used, out = 2, ["100"]
        elif text_ in ("several", "numerous", "countless", "many"):
            out = [str(INDEFINITE[text_])]
        elif text_ in NUMBERS:
            out = [str(NUMBERS[text_])]
        elif text_ in _TIMES:
            out = [str(_TIMES[text_])] + (["times"] if text_ in ("once", "twice", "thrice") else [])
            if text_ == "once" and (i == 0 or not _is_count(raw, i)):
                out = ["once"]
        elif text_ in ("time", "tiems", "tmes", "tims") and tokens and tokens[-1].is_number:
            out = ["times"]
        elif (
            text_ in ("ms", "msec", "milliseconds", "millisecond")
            and tokens
            and tokens[-1].is_number
        ):
            last = tokens.pop()
            tokens.append(Token(number(float(last.text) / 1000), last.start, last.end))
            out = ["s"]
        elif text_ in ("min", "minute", "minutes") and tokens and tokens[-1].is_number:
            last = tokens.pop()
            tokens.append(Token(number(float(last.text) * 60), last.start, last.end))
            out = ["s"]
        elif (
            text_ in ("second", "minute")
            and [word(i + n) for n in (1, 2, 3)] == ["and", "a", "half"]
            and (word(i - 1) in ("a", "one", "every", "each", "1"))
        ):
            if tokens and tokens[-1].text in ("a", "1"):
                tokens.pop()
            used, out = 4, ["1.5" if text_ == "second" else "90", "s"]
        elif text_ == "seconds" and [word(i + n) for n in (1, 2, 3)] == ["and", "a", "half"]:
            counted = bool(tokens) and tokens[-1].is_number
            whole = float(tokens.pop().text) if counted else 1.0
            used, out = 4, [number(whole + 0.5), "s"]
        elif text_ in _SECONDS and text_ != "second":
            out = ["s"]
        elif (
            text_ == "second"
            and tokens
            and (
                tokens[-1].is_number
                or (tokens[-1].text == "-" and len(tokens) > 1 and tokens[-2].is_number)
            )
        ):
            out = ["s"]
        elif (
            text_ in ("a", "one")
            and word(i + 1) == "second"
            and word(i + 2)
            in (
                "later",
                "between",
                "pause",
                "in",
                "apart",
                "of",
                "after",
                "long",
                "intervals",
                "pass",
                "passes",
            )
        ):
            out = ["1"]
        if text_ == "one" and word(i + 1) == "after" and word(i + 2) in ("another", "the"):
            out = ["one"]
        if (
            out == [text_]
            and text_.isdigit()
            and word(i + 1) == "and"
            and (word(i + 2) == "a" and word(i + 3) == "half")
        ):
            used, out = 4, [number(int(text_) + 0.5)]
        elif (
            out[0].isdigit()
            and out != [text_]
            and word(i + 1) == "and"
            and (word(i + 2) == "a" and word(i + 3) == "half")
        ):
            used, out = 4, [number(int(out[0]) + 0.5)]
        end = raw[min(i + used, len(raw)) - 1].end
        tokens.append(Token(out[0], token.start, end))
        tokens += [Token(extra, end, end) for extra in out[1:]]
        i += used
    return tokens


def _is_count(raw: list[Token], at: int) -> bool:
    """Whether "once" is a number, not a conjunction as in "once the door has closed"."""
    after = raw[at + 1].text if at + 1 < len(raw) else "."
    before = raw[at - 1].text
    if after in ("per", "every", "a", "an") and (
        after in ("per", "every") or raw[at + 2 :][:1] and raw[at + 2].text in _SECONDS
    ):
        return True
    if before in ("at", "all"):
        return False
    return not after[0].isalpha() or after in (
        "and",
        "but",
        "while",
        "then",
        "in",
        "at",
        "as",
        "only",
        "more",
        "before",
        "after",
        "over",
        "with",
    )
