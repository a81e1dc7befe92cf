# ruff: noqa: E501 - a pattern a line can be compared with its neighbours
"""Cues of a prompt: words that say when, how often, how long, how loud or in which order, apart from
those that name a sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..json_text import parse_json
from .numbers import ORDINALS, Token

_N = r"(\d+(?:\.\d+)?)"
_S = r"(?: ?-)? ?(?:s|second)"
_AT = r"(?:(?:at|on|@|around|about|approximately|exactly|ca|t =|starting at|starting|enters at) )+"
_QUIET = r"(?:silence|quiet|pause|nothing|break|gap|stillness|rest)"
_BETWEEN = r"between(?: (?:each|every)(?: other| \w+)?| them| one another| the \w+s(?= ?$| ?[,.;])| \w+s(?= ?$| ?[,.;]))?"
_GOES_ON = r"(?:continu(?:e|es|ing)|keeps?|keeping|carr(?:y|ies)|carrying|goes|go|going|runs?|running|lasts?|lasting|stays?|plays?|playing)(?: (?:going|on|up|playing|running|sounding|ringing))* "
_CLAUSE_END = r"(?=$| ?[,.;:!?)/\]\n]| and\b| then\b| on\b| in\b| but\b| while\b| the\b)"

_THROUGH = r"(?: of (?:it|the (?:clip|piece|recording|scene|sound|whole)))?"
# A share of the whole, and several of them ("the quarter, half and three-quarter mark").
_SHARE = r"(?:(?:1|a) |the )?(?:quarter|half|third|3 ?-? ?quarters?|2 ?-? ?thirds?)"
_SHARES = {"quarter": 0.25, "half": 0.5, "third": 1 / 3, "3": 0.75, "2": 2 / 3}
# What is said of a sound, not of the whole.
_MIDWAY = r"(?:halfway|half way|midway|partway) (?:through|into)"
_OF_SOUND = r"(?= (?:the|a|an|all this|all the) (?!clip|piece|recording|scene|sound|whole|track|file|night|day|road|street|room|forest|city|town|sea|ocean|crowd|field|woods|first|last)[a-z])"
_IT = r"(?:it|this|that|them|all (?:this|that|of it))(?![a-z])"
_TAIL = r"(?:tail(?: end)?|very end|end|decay|last (?:part|bit|moments?|notes?|seconds?))"
_ALL_THAT = r"(?:all )?(?:this|that|of this|of that)|it|the (?:whole |entire )?(?:thing|pattern|sequence|pair|cycle|lot)|the whole lot"
_SLOWLY = r"(?:(?:gradually|slowly|steadily) )?"
_ALL = r"(?:it all|everything|(?:the|this) (?:scene|clip|sequence|piece|recording|track))"
_EACH_TIME = r"(?:each|every) (?:1|one|time)(?: of them)?"
_BEFORE = r"the (?:last|previous|one before)(?: one)?"
_THE = r"(?:the |your |our )?(?:far )?"
_SIDE = r"(?: (?:side|ear|channel|speaker))?(?![a-z])"
_MOVES = r"(?:(?:pan|pann|pass|mov|go|com|travel|sweep|fly|flie|driv|cross|approach|enter)(?:es|s|ing|e|ed)? )?(?:(?:by|over|past|across) )?"
# What stands between both sides, as in "from the left and leaves to the right".
_ON = r"(?:side |(?:,|and|then) ){0,3}(?:(?:leaves?|leaving|goes|going|exits?|exiting|moves|moving|vanish(?:es|ing)|disappears?|passes|passing) )?(?:off |out |away |over |across )?"


@dataclass(frozen=True)
class Cue:
    """Tokens `first` to `last` (exclusive) say `kind` with `values`.

    Kinds with seconds: `at` (one or more starts), `from` and `until`, `range`, `later`, `after`
    (absolute at the beginning of a prompt, else a gap), `gap`, `between` (repeats), `every`, `for`
    (duration), `within`, `rate`. Others: `times`, `total`, `first_part`, `last_part`, `gain`, `fade_in`,
    `fade_out`, `pan`, `bed`, positions and connectives named as in `grammar.json`.
    """

    kind: str
    values: tuple[float, ...]
    first: int
    last: int


@lru_cache(maxsize=1)
def grammar() -> dict[str, Any]:
    """The tables of `grammar.json`."""
    path = Path(__file__).with_name("grammar.json")
    return parse_json(path.read_text(encoding="utf-8"))


def _list(head: str, unit: str) -> str:
    more = rf"(?: ?(?:,|;)? ?(?:and |& |then )?(?:again )?(?:{_AT})?(?!{_N}{unit} (?:before|after|later|earlier|into|past)){_N}(?:{unit}(?![a-z])|{_CLAUSE_END}))*"
    return rf"{head}{_N}(?! times)(?:{unit}(?![a-z]))?{more}"


def _floats(match: re.Match[str]) -> tuple[float, ...]:
    return tuple(float(x) for x in re.findall(r"\d+(?:\.\d+)?", match[0]))


def _fixed(*values: float) -> Callable[[re.Match[str]], tuple[float, ...]]:
    return lambda _: values


def _per_second(match: re.Match[str]) -> tuple[float, ...]:
    return (1.0 / float(match[1] if match[1] and match[1][0].isdigit() else 1),)


def _ordinal(match: re.Match[str]) -> tuple[float, ...]:
    return (float(ORDINALS[match[1]]),)


def _ordinals(match: re.Match[str]) -> tuple[float, ...]:
    return tuple(float(ORDINALS[x]) for x in match.groups())


def _shares(match: re.Match[str]) -> tuple[float, ...]:
    """Shares of the whole, such as 0.25 and 0.5 of "the quarter and half mark"."""
    words = (re.sub(r"^(?:1|a|the) ", "", x) for x in re.findall(rf"{_SHARE}(?![a-z])", match[0]))
    return tuple(next(v for k, v in _SHARES.items() if w.startswith(k)) for w in words)


def _percent(match: re.Match[str]) -> tuple[float, ...]:
    return (float(match[1]) / 100,)


_ORDINAL = "|".join(ORDINALS)
# In order of precedence; earlier ones take their words from the later ones.
_PATTERNS: tuple[tuple[str, str, Callable[[re.Match[str]], tuple[float, ...]]], ...] = (
    # What starts with or in another sound
    ("alternate", r"(?:each|every) time(?= (?:the|a|an)(?![a-z]))|whenever", _fixed()),
    (
        "both_together",
        r"(?:and )?then (?:they )?(?:both|the two)(?: of them)? (?:together|at once|at the same time|simultaneously)(?= ?$| ?[,.;])",
        _fixed(),
    ),
    ("after", rf"{_QUIET} (?:until|till|up to) (?:the )?{_N}{_S}(?: mark)?(?![a-z])", _floats),
    (
        "end",
        rf"(?:shortly|just|right|moments|a moment|briefly) before the (?:very )?end{_THROUGH}(?= ?$| ?[,.;])",
        _fixed(),
    ),
    (
        "every",
        rf"(?:on )?(?:every|each) (?:second|other) beat (?:at|@) {_N} bpm",
        lambda m: (120 / float(m[1]),),
    ),
    ("times", rf"{_N} of (?:them|those)(?= ?$| ?[,.;])", _floats),
    (
        "inside_it",
        r"(?:and )?(?:as|while|when) (?:it|its (?:sound|noise|echo|tail)|the (?:sound|noise|echo)) (?:dies|fades|decays|trails)(?: (?:away|out|off|down))?",
        _fixed(1.0, 0.0),
    ),
    (
        "inside_it",
        rf"(?:overlapping|over|across)(?: with)? (?:its|the) {_TAIL}(?! of)",
        _fixed(1.0, 0.0),
    ),
    (
        "inside",
        rf"(?:overlapping|over|across|during|into|with)(?: with)? (?:the )?{_TAIL} of",
        _fixed(1.0, 0.0),
    ),
    (
        "inside",
        r"(?:just |right |shortly )?before(?= (?:the|a) (?:[a-z]+ ){1,2}?(?:ends|stops|finishes|fades|is over|has ended|dies)(?![a-z]))",
        _fixed(1.0, 0.0),
    ),
    (
        "inside_it",
        rf"(?:right )?(?:{_MIDWAY}|in the mid(?:dle|st) of|inside) {_IT}",
        _fixed(0.5, 0.0),
    ),
    ("inside", rf"(?:right )?(?:{_MIDWAY}|in the middle of){_OF_SOUND}", _fixed(0.5, 0.0)),
    ("inside_it", rf"(?:exactly |about )?{_N}{_S} into {_IT}", lambda m: (0.0, float(m[1]))),
    (
        "inside",
        rf"(?<!for )(?:exactly |about )?{_N}{_S} into{_OF_SOUND}",
        lambda m: (0.0, float(m[1])),
    ),
    (
        "inside",
        rf"(?:about )?{_SHARE} of the way (?:through|into){_OF_SOUND}",
        lambda m: (_shares(m)[0], 0.0),
    ),
    # What is meant for all that was named before
    (
        "repeat_all",
        rf"(?:and )?(?:{_ALL_THAT}) (?:is |gets )?(?:happens?|occurs?|plays?|repeats?|repeated|goes on|takes place|loops?)? ?{_N} times(?: in (?:all|total|a row))?(?= ?$| ?[,.;])",
        _floats,
    ),
    (
        "repeat_all",
        rf"(?:and |then )?(?:repeat|do|play|loop)(?:s|ed|ing)? (?:{_ALL_THAT}) {_N} times(?: in (?:all|total|a row))?(?= ?$| ?[,.;])",
        _floats,
    ),
    (
        "again_both",
        r"(?:and )?(?:then )?(?:they )?(?:both|the two of them)(?: (?:of them|sounds|go|do it|do so|sound|happen|come|repeat|are heard))* (?:again|once more|1 more times)",
        _fixed(),
    ),
    (
        "again_all",
        r"(?:and )?(?:then )?(?:(?:the )?whole (?:thing|sequence|pattern)|all of (?:it|that|this|them)|the same (?:thing|sequence|pattern)|everything|it all|they all)(?: (?:go|goes|sound|sounds|happens?|comes?|repeats?|starts?|plays?|is repeated|are heard))* (?:again|once more|1 more times|over again|from the (?:start|beginning|top))",
        _fixed(),
    ),
    (
        "again_all",
        rf"(?:and )?(?:then )?(?:the )?(?:whole (?:thing|sequence|pattern)|sequence|pattern|{_ALL_THAT}) (?:repeats(?: itself)?|is repeated)(?: 1 times| once more| again)?(?= ?$| ?[,.;])",
        _fixed(),
    ),
    (
        "again_all",
        rf"(?:and )?(?:then )?(?:repeat|do|play) (?:{_ALL_THAT})(?: again| once more| 1 times)?(?= ?$| ?[,.;])",
        _fixed(),
    ),
    # Reaching a level over time
    (
        "fade_in",
        rf"{_SLOWLY}(?:(?:gets?|getting|grows?|growing|becom(?:es?|ing)|com(?:es?|ing)|draw(?:s|ing)?|mov(?:es?|ing)) )(?:ever |steadily |gradually |slowly )?(?:closer|louder|nearer|stronger)(?: and (?:closer|louder|nearer|stronger))*",
        _fixed(),
    ),
    (
        "fade_in",
        rf"{_SLOWLY}(?:(?:builds?|building|swells?|swelling|rises?|rising|ramps?|ramping)(?: (?:up|in volume|in intensity))|crescendos?|swells|approach(?:es|ing)?(?= ?$| ?[,.;]| and(?! leave)| then| slowly))",
        _fixed(),
    ),
    (
        "fade_out",
        rf"{_SLOWLY}(?:(?:gets?|getting|grows?|growing|becom(?:es?|ing)) )(?:ever |steadily |gradually |slowly )?(?:quieter|softer|fainter|weaker)(?: and (?:quieter|softer|fainter|weaker))*",
        _fixed(),
    ),
    (
        "fade_out",
        rf"{_SLOWLY}(?:(?:dies?|dying|fad(?:es?|ing)|trails?|trailing|drifts?|drifting|moves?|moving) (?:away|off|down|out)|reced(?:es?|ing)(?: into the distance)?|fades?(?= ?$| ?[,.;]| to silence| into silence))(?: (?:slowly|gradually))?(?: toward| towards)?(?: the end)?",
        _fixed(),
    ),
    (
        "fade_out",
        r"(?:dies? (?:away|down|out)|trails? off|fad(?:es?|ing)) (?:in|in)?to (?:silence|nothing)",
        _fixed(),
    ),
    # A part of the whole
    ("share_span", rf"(?:for|during|throughout|over) the first half{_THROUGH}", _fixed(0.0, 0.5)),
    (
        "share_span",
        rf"(?:for|during|throughout|over) the (?:second|last|other) half{_THROUGH}",
        _fixed(0.5, 1.0),
    ),
    (
        "share_span",
        rf"(?:for|during|throughout|over|in) the first third{_THROUGH}",
        _fixed(0.0, 1 / 3),
    ),
    (
        "share_span",
        rf"(?:for|during|throughout|over|in) the (?:middle|second) third{_THROUGH}",
        _fixed(1 / 3, 2 / 3),
    ),
    (
        "share_span",
        rf"(?:for|during|throughout|over|in) the (?:last|final|third) third{_THROUGH}",
        _fixed(2 / 3, 1.0),
    ),
    (
        "until",
        rf"(?:and )?(?:is |gets )?(?:cut|stop|end|kill|switch|turn)(?:s|ped|ting|ping|ing|ed)?(?: (?:it|them|out|off|short|abruptly|suddenly))* (?:at|after) (?:the )?{_N}(?:{_S})?(?: mark)?(?![a-z])",
        _floats,
    ),
    (
        "skip",
        r"(?:no|not) (?:more|less|fewer) than(?= \d)|(?:at most|at least|up to)(?= \d)",
        _fixed(),
    ),
    ("skip", r"not (?:just|only)(?= (?:a|an|the|\d)(?![a-z]))", _fixed()),
    (
        "bed",
        r"(?:won't|will not|doesn't|does not|never|can't|cannot|wouldn't|without ever) (?:stops?|stopping|ends?|quits?|cease|let up)(?: for a (?:second|moment))?",
        _fixed(),
    ),
    (
        "forward",
        r"(?:and )?(?:each|every) time (?:it|this|that) (?:does|happens|is)(?: so)?",
        _fixed(),
    ),
    ("times", rf"on {_N} (?:separate |different )?occasions", _floats),
    (
        "earlier_by",
        rf"(?:and )?(?:exactly |about )?{_N}{_S} (?:before (?:that|it|this)|earlier|beforehand|prior)",
        _floats,
    ),
    ("after_by", rf"(?:and )?(?:exactly |about )?{_N}{_S} after(?= the (?:first|last) )", _floats),
    (
        "later",
        rf"(?:and )?(?:exactly |about )?{_N}{_S} after(?: (?:it|this))?(?= ?$| ?[,.;])",
        _floats,
    ),
    (
        "around",
        r"(?:flanked|framed|sandwiched|bracketed|bookended|surrounded on both sides) (?:by|between)",
        _fixed(),
    ),
    # Shares of the whole length
    (
        "share",
        rf"(?:at|around|about|near|on) {_SHARE}(?: ?,? ?(?:and )?{_SHARE})* ?-? ?(?:marks?|points?){_THROUGH}",
        _shares,
    ),
    (
        "share",
        rf"(?:at|around|about) {_N} (?:%|percent)(?: ?,? ?(?:and )?(?:at )?{_N} (?:%|percent))*{_THROUGH}",
        lambda m: tuple(v / 100 for v in _floats(m)),
    ),
    ("share", rf"{_N} (?:%|percent) (?:of the way )?(?:through|in){_THROUGH}", _percent),
    (
        "before_end",
        rf"with (?:only |just |about )?{_N}{_S} (?:left|remaining|to go|to spare)",
        _floats,
    ),
    ("gain", rf"(?:about |almost )?{_N} times (?:as loud|louder)", _fixed(6.0)),
    (
        "gain",
        rf"(?:about )?{_N} times (?:quieter|softer)|(?:at )?half (?:the |its )?volume",
        _fixed(-6.0),
    ),
    ("gain", r"(?:slightly|somewhat|a bit|a little) louder", _fixed(3.0)),
    ("gain", r"(?:slightly|somewhat|a bit|a little) (?:quieter|softer|fainter)", _fixed(-4.0)),
    (
        "gap",
        rf"(?:nothing happens|no sound) (?:for|in|during) the (?:first|opening) {_N}{_S}",
        _floats,
    ),
    (
        "gap",
        rf"the (?:first|opening) {_N}{_S} (?:is|are|stays?|remains?) (?:silent|quiet|empty)",
        _floats,
    ),
    ("gap", r"the first second (?:is|stays|remains) (?:silent|quiet|empty)", _fixed(1.0)),
    (
        "share",
        rf"(?:at |around )?(?:the |a )?(?:1 |first )?quarter (?:mark|point){_THROUGH}",
        _fixed(0.25),
    ),
    (
        "share",
        rf"(?:at |around )?(?:the )?(?:3 ?-? ?quarters?|third quarter) (?:mark|point){_THROUGH}",
        _fixed(0.75),
    ),
    (
        "share",
        rf"(?:at |around )?(?:the )?(?:half ?(?:- )?way|half) (?:mark|point){_THROUGH}|at the mid ?-? ?point{_THROUGH}",
        _fixed(0.5),
    ),
    (
        "share",
        rf"(?:about )?(?:a |1 )?quarter of the way (?:through|in|into){_THROUGH}",
        _fixed(0.25),
    ),
    ("share", rf"(?:about )?3 quarters of the way (?:through|in|into){_THROUGH}", _fixed(0.75)),
    (
        "share",
        rf"(?:about )?(?:a |1 |one )?third of the way (?:through|in|into){_THROUGH}",
        _fixed(1 / 3),
    ),
    ("share", rf"(?:about )?2 thirds of the way (?:through|in|into){_THROUGH}", _fixed(2 / 3)),
    (
        "before_end",
        rf"(?:exactly |about )?{_N}{_S} (?:before|from) the (?:very )?end{_THROUGH}",
        _floats,
    ),
    ("gap", rf"{_QUIET} (?:for|in|during) the (?:first|opening) {_N}{_S}", _floats),
    ("together", r"overlapping(?: with)?(?= (?:the|a|an|its?)(?![a-z]))", _fixed()),
    (
        "around",
        r"(?:on |at )?(?:either|both) sides? of|both before and after|before and after",
        _fixed(),
    ),
    (
        "alternate",
        r"(?:(?:that |which )?(?:keep |keeps )?(?:alternat(?:e|es|ing))(?: between| with)?|(?:take|takes|taking) turns|in alternation|alternately|back and forth(?= ?$| ?[,.;])|(?<!which )in turn(?! (?:is|are|follow)))",
        _fixed(),
    ),
    ("gain", r"2 times as (?:loud|strong)(?:ly)?", _fixed(6.0)),
    ("gain", r"3 times as (?:loud|strong)(?:ly)?", _fixed(9.0)),
    ("gain", r"(?:half|2 times) as (?:quiet|soft)(?:ly)?|half as loud(?:ly)?", _fixed(-6.0)),
    (
        "every",
        rf"(?:on )?(?:(?:every|each) beat )?(?:at|@) {_N} bpm",
        lambda m: (60 / float(m[1]),),
    ),
    ("gain_db", rf"(?:at |@ )?([-+])? ?{_N} db", lambda m: (float(f"{m[1] or ''}{m[2]}"),)),
    (
        "range",
        rf"(?:starts?|starting|begins?) (?:at|from) {_N}(?:{_S})? and (?:stops?|ends?|finish|finishes) at {_N}(?:{_S})?",
        _floats,
    ),
    (
        "range",
        rf"\(? ?(?:from )?(?:@ )?{_N}(?:{_S})? ?(?:to|-|–|until|till|through) ?(?:@ )?{_N}{_S}(?![a-z])(?: ?\))?",
        _floats,
    ),
    (
        "range",
        rf"(?:from )?t = {_N}(?:{_S})? ?(?:to|-|–|until|till) ?(?:t = )?{_N}(?:{_S})?",
        _floats,
    ),
    (
        "range",
        rf"(?:from |in |during )?s {_N} ?(?:to|-|–|until|till) ?(?:s )?{_N}(?![a-z])",
        _floats,
    ),
    (
        "range",
        rf"(?:from|between) the ({_ORDINAL}) (?:second )?(?:to|and|until) the ({_ORDINAL}) second",
        _ordinals,
    ),
    ("range", rf"(?:in )?between s {_N} and (?:s )?{_N}", _floats),
    ("range", rf"from {_N} (?:to|until|till) {_N}", _floats),
    ("range", rf"from second {_N} (?:to|until|till) (?:second )?{_N}", _floats),
    (
        "between",
        rf"(?:with )?(?:an? )?(?:{_QUIET} of )?(?:1 |a )s(?:econd)? (?:{_QUIET} )?(?:in )?{_BETWEEN}",
        _fixed(1.0),
    ),
    (
        "between",
        rf"(?:with )?(?:an? )?(?:{_QUIET} of )?{_N}{_S}(?: of)?(?: {_QUIET})? (?:in )?{_BETWEEN}",
        _floats,
    ),
    ("between", rf"with (?:an? )?(?:{_QUIET} of )?{_N}{_S}(?: {_QUIET})? (?:in )?between", _floats),
    ("range", rf"(?:in )?between {_N}(?:{_S})? and {_N}{_S}", _floats),
    ("from", rf"from the {_N}{_S} (?:mark|point)(?: (?:onwards?|on|forward))?", _floats),
    ("from", rf"from the ({_ORDINAL}) second (?:on|onwards?)", _ordinal),
    ("from", rf"from {_N}{_S} (?:on|onwards?)", _floats),
    ("from", rf"(?:starting )?from {_N}{_S}(?= ?,)", _floats),
    ("at", rf"(?:at|on|by) the ({_ORDINAL}) second(?! \d)", _ordinal),
    ("first_part", rf"(?:for|in|during|within)? ?the (?:first|opening) {_N}{_S}", _floats),
    ("last_part", rf"(?:for|in|during|within)? ?the (?:last|final) {_N}{_S}", _floats),
    ("last_part", r"(?:in |for |during )?(?:the )?(?:last|final) second(?! \d)", _fixed(1.0)),
    ("until", rf"(?:until|till|up to) (?:@ )?{_N}{_S}(?![a-z])", _floats),
    ("until", rf"(?:until|till|up to) second {_N}", _floats),
    (
        "until_end",
        rf"(?:(?:and )?{_GOES_ON})?(?:all the way |right )?(?:up )?(?:until|till|to) the (?:very )?end{_THROUGH}",
        _fixed(),
    ),
    (
        "until_end",
        rf"(?:(?:and )?{_GOES_ON})?(?:for |during )?the (?:rest|remainder)(?: of (?:the )?(?:clip|time|recording|piece|scene|it))?(?= ?$| ?[,.;]| with| while)",
        _fixed(),
    ),
    ("within", rf"all within {_N}{_S}", _floats),
    ("within", rf"(?:with)?in (?:under |less than )?{_N}{_S}(?![a-z])", _floats),
    # Intervals
    ("every", rf"(?:every|each) {_N}{_S}(?![a-z])", _floats),
    ("every", r"(?:every|each) other (?:s|second)(?![a-z])", _fixed(2.0)),
    ("every", r"(?:every|each) couple(?: of)? s(?![a-z])", _fixed(2.0)),
    ("every", r"(?:every|each) few (?:s|seconds)(?![a-z])", _fixed(3.0)),
    ("every", r"(?:every|each) (?:s|second)(?![a-z])(?! \d)", _fixed(1.0)),
    (
        "every",
        rf"(?:about )?(?:{_N}|once)(?: times)? (?:per|a|each|every) (?:s|second)(?![a-z])",
        _per_second,
    ),
    ("every", rf"{_N}(?= \w+ (?:per|a|each|every) (?:s|second)(?![a-z]))", _per_second),
    (
        "skip",
        r"(?:per|a|each) (?:s|second)(?= |$)(?! (?:\w+ )?(?:later|between|horn))(?=$| ?[,.;]| for| over| and| until)",
        _fixed(),
    ),
    ("every", rf"(?:at |@ |in )?(?:intervals? of )?{_N}{_S} intervals?", _floats),
    ("every", rf"(?:at |in )?intervals? of {_N}{_S}", _floats),
    ("every", rf"(?:spaced )?{_N}{_S} apart(?: from each other)?", _floats),
    # Silence
    (
        "gap",
        rf"(?:and )?(?:then |after )?(?:of |for )?(?:an? )?{_N}{_S}(?: of)?(?: \w+)? {_QUIET}(?! between)",
        _floats,
    ),
    ("gap", rf"(?:{_QUIET}|wait|waits|waiting)(?: of| for| about)* (?:an? )?{_N}{_S}", _floats),
    ("gap", rf"{_N}{_S} (?:pass|passes|go by|goes by|elapse)", _floats),
    (
        "gap",
        r"(?:after )?(?:an? |some )?(?:long|lengthy) (?:pause|silence|break|while)",
        _fixed(2.4),
    ),
    (
        "gap",
        r"after (?:an? |some |short |brief |little )*(?:pause|short silence|brief silence|moment of silence)",
        _fixed(1.2),
    ),
    (
        "gap",
        r"(?:an? |some |short |brief |little )*(?:pause|pauses|short silence|brief silence|moment of silence)(?! \w+ between)",
        _fixed(1.25),
    ),
    ("gap", r"waits|wait a moment|wait a bit", _fixed(1.2)),
    # Times
    ("at", rf"(?:{_AT})?(?:@ )?the {_N}{_S} mark", _floats),
    ("at", rf"(?:at|on|in|around) second {_N}(?: ?(?:,|and|, and) (?:at )?second {_N})*", _floats),
    (
        "later",
        rf"(?:and )?(?:exactly |about )?{_N}{_S} (?:later|after that|afterwards?|thereafter)",
        _floats,
    ),
    ("later", r"(?:and )?(?:an? )?(?:instant|blink) later", _fixed(0.3)),
    ("later", r"(?:and )?(?:moments|a bit) later", _fixed(1.0)),
    ("later", r"(?:and )?(?:some )?s later", _fixed(2.0)),
    (
        "backward",
        r"(?<!and )(?<!then )(?:right|immediately|shortly|soon|just|directly|straight|moments) after(?= (?:the|a|an|his|her|its|\w+ing)(?![a-z]))",
        _fixed(),
    ),
    ("forward", r"and (?:right|immediately|shortly|soon|just|directly) after(?! that)", _fixed()),
    ("later", r"(?:and )?(?:a|half a|1) heartbeat later", _fixed(0.6)),
    ("later", r"(?:a|half a|1) beat later|(?:a )?split second later", _fixed(0.6)),
    ("gap", r"(?:after )?(?:a|1) (?:long |short )?beat(?= ?[,.;])", _fixed(0.8)),
    ("forward", r"(?:right|immediately|just|shortly|soon|directly) after(?= ?[,.;]| ?$)", _fixed()),
    ("after_by", rf"(?:exactly |about )?{_N}{_S} after(?! that)", _floats),
    ("before_by", rf"(?:exactly |about )?{_N}{_S} before(?! that)", _floats),
    (
        "at",
        rf"{_N}{_S} (?:in|into)(?: (?:it|the (?:clip|piece|recording)))?(?= ?,| [a-z]|$| ?\.)",
        _floats,
    ),
    ("after", rf"(?:only )?after (?:about |exactly )?{_N}{_S}(?![a-z])", _floats),
    (
        "for",
        rf"for (?:about |exactly |around |roughly |over |some )*(?:{_N} more|another {_N}|{_N}){_S}(?: long)?(?: straight)?",
        _floats,
    ),
    ("for", rf"lasting (?:for )?(?:about )?{_N}{_S}", _floats),
    ("for", rf"{_N}{_S} long", _floats),
    ("for", rf"(?:an? )?{_N}{_S} of(?! {_QUIET})", _floats),
    ("at", rf"\[ ?(?:t = )?(?:@ )?{_N}(?:{_S})? ?\](?: :)?", _floats),
    ("at", rf"(?:\( )?t = {_N}(?:{_S})?(?: \))?(?: :)?", _floats),
    ("at", _list(_AT, _S), _floats),
    ("at", rf"\( (?:@ )?{_N}{_S} \)", _floats),
    ("for_or_at", rf"(?:an? )?{_N}{_S}(?![a-z])", _floats),
    # Counts
    ("total", rf"{_N} (?:\w+ )?in (?:all|total)", _floats),
    (
        "times",
        r"(?:for )?(?:not 1 times but )(\d+) times(?: more)?(?: in a row| over(?= ?$| ?[,.;]))?",
        lambda m: (float(m[1]),),
    ),
    ("times_each", rf"{_N} times (?:each|apiece)|each {_N} times", _floats),
    (
        "times",
        rf"(?:for )?(?:a total of )?{_N}(?: more)? times(?: more| in total| in all)?(?: in a row| over(?= ?$| ?[,.;]))?",
        _floats,
    ),
    ("times", rf"times {_N}", _floats),
    # Fades and movement
    ("ramp", rf"{_EACH_TIME} louder(?: than {_BEFORE})?|louder (?:each|every) time", _fixed(1.0)),
    ("ramp", rf"{_EACH_TIME} (?:quieter|softer|fainter)(?: than {_BEFORE})?", _fixed(-1.0)),
    ("ramp", r"(?:quieter|softer|fainter) (?:each|every) time", _fixed(-1.0)),
    (
        "pan",
        r"(?:hard |far )?pan(?:ned|s|ning)? (?:hard |far )?(?:to the )?left(?![a-z])",
        _fixed(-1.0),
    ),
    (
        "pan",
        r"(?:hard |far )?pan(?:ned|s|ning)? (?:hard |far )?(?:to the )?right(?![a-z])",
        _fixed(1.0),
    ),
    (
        "forward",
        r"(?:stops?|ends?|cuts? (?:out|off)|breaks? off|dies) (?:\w+ly )?(?:when|once|as soon as|the moment)",
        _fixed(),
    ),
    ("last", rf"{_ALL} (?:then )?(?:ends|closes|concludes) (?:with|on|in)", _fixed()),
    ("first", rf"{_ALL} (?:begins|starts|opens) (?:with|on)", _fixed()),
    ("moves", rf"{_MOVES}(?:from )?{_THE}left {_ON}to {_THE}right{_SIDE}", _fixed(1.0)),
    ("moves", rf"{_MOVES}(?:from )?{_THE}right {_ON}to {_THE}left{_SIDE}", _fixed(-1.0)),
    (
        "pan",
        r"(?:panned |hard |far )*(?:on|to|in|from|at)? ?(?:the |your |our )?(?:far )?(?:left)(?: (?:side|ear|channel|speaker|hand side))?(?![a-z])",
        _fixed(-1.0),
    ),
    (
        "pan",
        r"(?:panned |hard |far )*(?:on|to|in|from|at) (?:the |your |our )?(?:far )?(?:right)(?: (?:side|ear|channel|speaker|hand side))?(?! (?:at|after|before|in the|when)\b)(?![a-z])",
        _fixed(1.0),
    ),
    ("pan", r"(?:panned|hard|off(?: ?- ?| )?screen|screen|camera|stage|frame) right", _fixed(1.0)),
    ("fade_in", r"(?:slowly )?fad(?:e|es|ing|ed) in(?: slowly| gradually)?", _fixed()),
    (
        "fade_out",
        r"(?:slowly )?fad(?:e|es|ing|ed) (?:out|away|into the distance)(?: slowly| gradually)?",
        _fixed(),
    ),
    ("skip", r"(?:the |an? )?(?:sounds?|noises?|sound effects?|recordings?) of(?= )", _fixed()),
    ("skip", r"(?:an? |some )?(?:clip|recording) in which one hears how", _fixed()),
    ("before_last", r"(?:and )?in between(?: (?:them|those))?", _fixed()),
    ("amid", r"(?:comes? )?between(?= )(?! (?:them|each|s\b|1 s))", _fixed()),
    ("denial", r"nothing else(?: ,)? (?:and )?especially not", _fixed()),
    ("skip", r"nothing else|no answer|no response", _fixed()),
    ("together", r"meanwhile", _fixed()),
    ("each_follows", r"which in turn follows?", _fixed()),
)
_COMPILED = tuple((kind, re.compile(rf"(?<![\w.]){p}"), read) for kind, p, read in _PATTERNS)
_TABLES = (
    "repeat",
    "bed",
    "beginning",
    "end",
    "middle",
    "halfway",
    "denied",
    "denial",
    "louder",
    "quieter",
    "forward",
    "backward",
    "together",
    "last",
    "first",
    "again",
    "skip",
)


@lru_cache(maxsize=1)
def _words() -> tuple[tuple[str, str, tuple[float, ...]], ...]:
    """Phrases of the tables, longest first, with their kind and value."""
    found = []
    for rank, kind in enumerate(_TABLES):
        table = grammar()[kind]
        for phrase in table:
            value = (float(table[phrase]),) if isinstance(table, dict) else ()
            name = "gain" if kind in ("louder", "quieter") else kind
            found.append((-len(phrase), rank, phrase, name, value))
    return tuple((phrase, name, value) for *_, phrase, name, value in sorted(found))


def in_seconds(cue: Cue, total: float) -> Cue:
    """A cue whose times were told against the whole length, with starts in seconds (`at`)."""
    if cue.kind == "share":
        return replace(cue, kind="at", values=tuple(round(v * total, 3) for v in cue.values))
    if cue.kind == "share_span":
        return replace(cue, kind="range", values=tuple(round(v * total, 3) for v in cue.values))
    if cue.kind == "before_end":
        return replace(cue, kind="at", values=(max(0.0, total - cue.values[0]),))
    return cue


def find_cues(tokens: Sequence[Token], keep: frozenset[int] = frozenset()) -> list[Cue]:
    """Cues of a tokenized prompt in its order.

    Parameters
    ----------
    keep
        Tokens that belong to a sound's name and say nothing else.
    """
    starts, text = [], ""
    for token in tokens:
        starts.append(len(text))
        text += ("\n" if token.text[0] == "\n" else token.text) + " "
    text = text.rstrip(" ")
    index = {start: i for i, start in enumerate(starts)}
    ends = {start + len(token.text): i + 1 for i, (start, token) in enumerate(zip(starts, tokens))}
    taken = [i in keep for i in range(len(tokens))]
    cues: list[Cue] = []

    def take(kind: str, values: tuple[float, ...], start: int, end: int) -> None:
        while end > start and text[end - 1] == " ":
            end -= 1
        first, last = index.get(start), ends.get(end)
        if first is None or last is None or any(taken[first:last]):
            return
        taken[first:last] = [True] * (last - first)
        cues.append(Cue(kind, values, first, last))

    for kind, pattern, read in _COMPILED:
        for match in pattern.finditer(text):
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            take(kind, read(match), start, match.end())
    padded = f" {text} "
    for phrase, kind, values in _words():
        at = padded.find(f" {phrase} ")
        while at >= 0:
            take(kind, values, at, at + len(phrase))
            at = padded.find(f" {phrase} ", at + 1)
    return sorted(cues, key=lambda cue: cue.first)
