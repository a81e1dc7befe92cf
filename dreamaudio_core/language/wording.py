"""Wording of prompts: sentences that say in which order, how often and against what events are
heard.

Templates use, of the first event in time, `{a}` for a clause ("a gate is closing"), `{pa}` for one
in the simple present ("a gate closes"), `{A}` for a noun phrase ("a gate closing"), `{ha}` for a
clause in the perfect ("a gate has closed"), and `{b}`, `{pb}`, `{B}`, `{hb}` likewise of the
second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Sequence

import numpy as np

from .captions import Sentence, paraphrases, sentence_variants

FORWARD = (
    "{a}, then {b}",
    "{a} and then {b}",
    "{a}; then {b}",
    "{a}. Then {b}",
    "{a}, followed by {B}",
    "{A} followed by {B}",
    "{a} before {pb}",
    "{A} before {B}",
    "first {a}, then {b}",
    "first {A}, then {B}",
    "after {pa}, {b}",
    "after {A}, {b}",
    "once {ha}, {b}",
    "as soon as {ha}, {b}",
    "when {ha}, {b}",
    "{a}, after which {b}",
    "{a}, and afterwards {b}",
    "{a}. Afterwards {b}",
    "{a}, next {b}",
    "{a} and {b}",
    "{A} and then {B}",
    "{a}, and right after that {b}",
    "{A} comes before {B}",
    "{A} precedes {B}",
    "it starts with {A} and goes on with {B}",
    "{a}. {b}",
    "{A}, {B}",
    "{a}, and only then {b}",
    "{a} until {pb}",
    "{a}. This is followed by {B}",
    "{a}. Later {b}",
    "{a}; after that {b}",
    "{A} gives way to {B}",
    "{a}, whereupon {b}",
    "{a}; afterwards {b}",
    "{a}, and later on {b}",
    "{A} leads to {B}",
    "{A} is followed by {B}",
    "after {ha}, {b}",
    "having heard {A}, we hear {B}",
    "{a}, which is followed by {B}",
    "prior to {B} there is {A}",
    "before {pb} we hear {A}",
    "{a}, and a little later {b}",
    "{a}, and after a while {b}",
    "{A}, later {B}",
    "only after {A} do we hear {B}",
    "we hear {A}, followed by {B}",
    "we hear {A} followed, a little later, by {B}",
    "{a}. In response {b}",
    "{a}, and in answer {b}",
    "{a}. Soon {b}",
    "{a}, {b}",
    "{a} and immediately {b}",
    "{a}, and immediately {b}",
    "{a}, immediately followed by {B}",
    "{a}, and a moment later {b}",
    "{a}; a moment later {b}",
    "{a}. {b} afterwards",
    "{A} first, {B} next",
)
INVERTED = (
    "{b} after {pa}",
    "{b} after {A}",
    "{B} after {A}",
    "before {pb}, {a}",
    "before {B}, {a}",
    "{B} follows {A}",
    "{B} comes after {A}",
    "{B} is preceded by {A}",
    "{b}, preceded by {A}",
    "{B}, preceded by {A}",
    "{b} once {ha}",
    "{b} as soon as {ha}",
    "prior to {B}, {a}",
    "{B} is heard after {A}",
    "{b}, but first {a}",
    "{b}, but only after {pa}",
    "{b}, right after {A}",
    "{b} when {ha}",
    "{b}. Before that {a}",
    "{b}, but before that {a}",
    "{b}; earlier {a}",
    "{b}, after {A} has been heard",
    "play {B} after {A}",
    "{B} only comes after {A}",
    "{b} following {A}",
    "following {A}, {b}",
    "before we hear {B}, {a}",
    "{B} does not come until after {A}",
    "{b}, though not before {pa}",
    "{B}, which comes after {A}",
    "{B} is preceded, a little earlier, by {A}",
    "{B} answers {A}",
    "{b} in answer to {A}",
)
# Pairs that speak of the whole, so that no third event can stand beside them.
WHOLE_FORWARD = (
    "{a}, and in the end {b}",
    "start with {A}, finish with {B}",
    "play {A} first and {B} second",
    "{A} is heard first, {B} afterwards",
)
WHOLE_INVERTED = (
    "play {B} last and {A} first",
    "the last sound is {B}, the first is {A}",
    "{B} ends it all; it all begins with {A}",
    "{B} is heard last; {A} comes first",
)
JOINTS = (
    ", then {b}",
    " and then {b}",
    ", followed by {B}",
    "; after that {b}",
    ", next {b}",
    ". Then {b}",
    ", and after that {b}",
    ". After that {b}",
    ", and {b}",
    ". {b}",
    ", afterwards {b}",
    ", then {B}",
    ". Next comes {B}",
    ". Next {b}",
    ", and later {b}",
    ", and later on {b}",
    ". A little later {b}",
    ", soon followed by {B}",
    "; next {b}",
    ", whereupon {b}",
    ", and in the end {b}",
    ". In the end {b}",
    ", {b}",
    ", and immediately {b}",
    ", a moment later {b}",
)
# Three events, told in another order than they sound.
CHAINS = (
    "{C} follows {B}, which in turn follows {A}",
    "{C} comes after {B}, and {B} comes after {A}",
    "{A} comes before {B}, and {B} before {C}",
    "{c} after {B}, which comes after {A}",
    "{C} comes last, after {A} and {B}, in that order",
    "play {C} last, after {A} and then {B}",
    "{c} at the end, after {A} and {B}",
    "{C} is preceded by {B}, and that by {A}",
    "before {C} we hear {A} and then {B}",
    "{b} after {A} and before {C}",
    "between {A} and {C}, {b}",
    "{B} comes between {A} and {C}",
    "{a} first and {c} last; in between {b}",
    "it starts with {A} and ends with {C}; in between comes {B}",
    "the last sound is {C}, the first is {A}, and {b} in between",
    "{c}, but before that {b}, and before that {a}",
    "once {ha}, {b}, and only then {c}",
    "first {a}; {c} at the end; {b} in the middle",
    "{A} first. {B} next. {C} at the end",
    "{A} first, {B} second, {C} third",
    "first {a}. Next {b}. Last {c}",
)
SHORT_PAUSES = (
    ", then after a pause {b}",
    ", and after a short silence {b}",
    ". A moment later {b}",
    "; after a short pause {b}",
)
LONG_PAUSES = (
    ", and after a long pause {b}",
    ". A long while later {b}",
    ", and after a long silence {b}",
)
FIRSTS = (
    "first {a}",
    "first of all {a}",
    "to begin with, {a}",
    "at first {a}",
    "it starts with {A}",
    "first comes {A}",
    "at the start {a}",
    "it opens with {A}",
    "start with {A}",
    "initially {a}",
)
MIDDLES = (", then {b}", ", next {b}", ", after that {b}", ", followed by {B}", ", then {B}")
LASTS = (
    ", finally {b}",
    ", and finally {b}",
    ", and lastly {b}",
    " and last of all {b}",
    ". Finally {b}",
    ", and finally {B}",
    "; then {b}",
    ". Then {b}",
    ", and then {b}",
    ", thereafter {b}",
    ". Next {b}",
    ", and in the end {b}",
    ". Last of all {b}",
    ", and at last {b}",
    ". Last comes {B}",
    ", with {B} at the end",
)
TOGETHER = (
    "{a} while {b}",
    "{b} while {a}",
    "while {b}, {a}",
    "{a} as {b}",
    "as {b}, {a}",
    "{a} and {b} at the same time",
    "{a}, and at the same time {b}",
    "at the same time {a} and {b}",
    "{A} together with {B}",
    "{A} over {B}",
    "{a} just as {b}",
    "{A} and {B} simultaneously",
    "simultaneously, {a} and {b}",
    "{a} and {b}, both at once",
    "{A} mixed with {B}",
    "{a} at the very moment when {b}",
    "{a}, during which {b}",
    "during {A}, {b}",
    "{a} and, at the same instant, {b}",
    "{A} accompanied by {B}",
    "{A} along with {B}",
)
ALL_TOGETHER = (
    "{clauses} at the same time",
    "all at once {clauses}",
    "{nouns} together",
    "{nouns} mixed together",
    "{nouns} all at the same time",
    "{clauses}, all at once",
    "simultaneously, {clauses}",
)
BEHIND = {
    "any": (
        "{f} over {B}",
        "over {B}, {f}",
        "while {b}, {f}",
        "{f} while {b}",
        "{b} while {f}",
        "as {b}, {f}",
        "{b} the whole time; {f}",
        "{f}, with {B} throughout",
        "{b} throughout. {f}",
        "all along {b}; {f}",
    ),
    "background": (
        "{f}, with {B} in the background",
        "with {B} in the background, {f}",
        "in the background {b}; {f}",
        "{f}. In the background {b}",
        "{f} against a background of {B}",
        "{f}, and in the background {b}",
        "{b} behind everything. {f}",
        "{f} with {B} in the background",
    ),
    "quiet": (
        "{f}, with {B} quietly in the background",
        "{f}, and faintly in the background {b}",
        "softly in the background {b}; {f}",
        "with {B} far away in the background, {f}",
        "{f}. {b} very quietly behind it",
    ),
    "loud": (
        "{f}, almost drowned out by {B}",
        "{f}, barely audible over {B}",
        "{b}, almost covering this: {f}",
    ),
}
TIMES = {
    2: ("twice", "two times", "twice in a row"),
    3: ("three times", "three times in a row", "repeatedly"),
    4: ("four times", "again and again", "over and over"),
}
REPEAT_FIRST = (
    "{many}, then {b}",
    "{many} before {pb}",
    "{b} after {many}",
    "{many}. Then {b}",
    "after {many}, {b}",
    "{many}, followed by {B}",
)
REPEAT_LAST = (
    "{b}, then {many}",
    "after {pb}, {many}",
    "{b}. Then {many}",
    "{b} before {many}",
    "{many} after {pb}",
    "once {hb}, {many}",
)
AGAIN = (
    "{a}, then {b}, then {again}",
    "{a}, {b}, and {again}",
    "{a}, then {b}, and once more {A}",
    "{a}. Then {b}. Then {again}",
    "{a} before and after {B}",
    "{a}, and again after {B}",
)
AGAIN_AT_END = (
    "{a}, then {b}, and {again} at the end",
    "{a}. Then {b}. At the very end {again}",
    "{a}, then {b}, and at the end {again}",
    "{a} at the beginning and again at the end; in between {b}",
)
END_ALONE = (
    "at the end {a}",
    "{a} at the very end",
    "silence, and only at the end {a}",
    "{a} right at the end",
    "towards the end {a}",
    "{a} near the end",
)
END = (
    "{a}, and at the end {b}",
    "{a}, and at the very end {b}",
    "{a} at the beginning and {b} at the end",
    "at the end {b}; at the beginning {a}",
    "it begins with {A} and ends with {B}",
    "it ends with {B} and begins with {A}",
    "{b} at the very end; at the start {a}",
    "{a} at the start. {b} at the end",
    "{a}. Right at the end {b}",
    "{a}, and towards the end {b}",
    "{a}. Towards the end {b}",
    "{a}, and near the end {b}",
)
# After a finished text.
ENDED = (
    "{text}. At the end {a}",
    "{text}, and at the end {a}",
    "{text}. Towards the end {a}",
    "{text}, and towards the end {a}",
    "{text}, and {a} towards the end",
    "{text}, and {a} at the end",
    "{text}, and it all ends with {A}",
)
HALVES = (
    "in the first half {a}, in the second half {b}",
    "in the second half {b}, in the first half {a}",
    "{a}, and halfway through {b}",
    "{a} in the first half and {b} in the second",
    "{a}. The second half is {B}",
)
SECOND_HALF = ("in the second half {a}", "{a} in the second half", "halfway through, {a}")
MIDDLE = ("in the middle {a}", "{a} in the middle", "{a} right in the middle")
CLOCK_ALONE = (
    "after {k} seconds {a}",
    "{a} after {k} seconds",
    "{k} seconds in, {a}",
    "at {k} seconds {a}",
)
CLOCK = (
    "{a}, and at {k} seconds {b}",
    "{a}. {k} seconds in, {b}",
    "at {k} seconds {b}; at the beginning {a}",
    "{a} at the start, {b} at {k} seconds",
)
DENIALS = (
    "{text}, without {X}",
    "{text}. There is no {x}",
    "{text}, but no {x}",
    "no {x}, just this: {text}",
    "without {X}, {text}",
    "{text}, and nobody hears {X}",
    "{text}. {X} is not heard",
    "{text}, never {X}",
    "{text}. No {x}",
)
NUMBER_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
)
DISTANCE = {"in the distance": -12.0, "far away": -12.0, "quietly": -8.0, "very loudly": 6.0}


@dataclass(frozen=True)
class Phrase:
    """One event in the words that a prompt uses for it."""

    caption: str
    sentence: Sentence | None
    clause: str
    noun: str
    perfect: str
    plain: str

    @property
    def again(self) -> str:
        """ "the gate closes again" """
        return re.sub(r"^an? ", "the ", self.plain) + " again"


def draw_phrase(rng: np.random.Generator, caption: str, adverb: str = "") -> Phrase:
    """Choose synonyms and forms for `caption`; `adverb` (such as "in the distance") is added to its
    predicate.
    """
    variants = sentence_variants(caption)
    if not variants:
        return Phrase(caption, None, caption, f"the sound of {caption}", caption, caption)
    sentence = variants[0] if rng.random() < 0.6 else variants[rng.integers(len(variants))]
    if adverb:
        verb, rest = sentence.parts[-1]
        sentence = replace(
            sentence, parts=(*sentence.parts[:-1], (verb, f"{rest} {adverb}".strip()))
        )
    plain = sentence.present()
    clause = plain if rng.random() < 0.7 else sentence.progressive()
    nouns = [sentence.gerund(), *sentence.noun_phrases()]
    noun = nouns[0] if rng.random() < 0.4 else nouns[rng.integers(len(nouns))]
    return Phrase(caption, sentence, clause, noun, sentence.perfect(), plain)


def draw_reference_caption(rng: np.random.Generator, phrase: Phrase, prompt: str) -> str:
    """A phrasing of the event's caption that the prompt does not contain, where there is one."""
    choices = paraphrases(phrase.caption)
    lowered = prompt.lower()
    others = [choice for choice in choices if choice.lower() not in lowered]
    others = others or choices
    return others[0] if rng.random() < 0.25 else others[int(rng.integers(len(others)))]


def _pick(rng: np.random.Generator, templates: Sequence[str]) -> str:
    return templates[int(rng.integers(len(templates)))]


def _fields(first: Phrase, second: Phrase | None = None) -> dict[str, str]:
    fields = {
        "a": first.clause,
        "A": first.noun,
        "pa": first.plain,
        "ha": first.perfect,
        "again": first.again,
    }
    if second is not None:
        fields.update(b=second.clause, B=second.noun, pb=second.plain, hb=second.perfect)
    return fields


def listed(items: Sequence[str], last: str = " and ") -> str:
    """ "x, y and z", or with what `last` puts before z"""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + last + items[-1]


def sequence_text(
    rng: np.random.Generator, phrases: Sequence[Phrase], pauses: bool = False
) -> tuple[str, list[str]]:
    """Words for events one after another.

    Returns the text and the kind of each gap: `""`, `"short"` or `"long"`.
    """
    gaps = [""] * (len(phrases) - 1)
    if len(phrases) == 1:
        return _alone(rng, phrases[0]), gaps
    if len(phrases) == 3 and rng.random() < 0.25:
        third = {"c": phrases[2].clause, "C": phrases[2].noun}
        return _pick(rng, CHAINS).format(**_fields(*phrases[:2]), **third), gaps
    style = rng.random()
    if len(phrases) == 2 and not (pauses and style < 0.2):
        forward = rng.random() < 0.6
        templates = (*FORWARD, *WHOLE_FORWARD) if forward else (*INVERTED, *WHOLE_INVERTED)
        return _pick(rng, templates).format(**_fields(*phrases)), gaps
    if style < 0.25 and len(phrases) > 2:
        text = _pick(rng, FIRSTS).format(**_fields(phrases[0]))
        for phrase in phrases[1:-1]:
            text += _pick(rng, MIDDLES).format(b=phrase.clause, B=phrase.noun)
        return text + _pick(rng, LASTS).format(b=phrases[-1].clause, B=phrases[-1].noun), gaps
    if style < 0.4 and len(phrases) > 2:
        items = [p.clause for p in phrases] if rng.random() < 0.5 else [p.noun for p in phrases]
        text = listed(items, _pick(rng, (" and ", ", and ", ", ")))
        return text + _pick(rng, ("", ", in that order", ", one after another")), gaps
    if style < 0.6 and len(phrases) > 2:
        at = int(rng.integers(0, len(phrases) - 1))
        pair = _pick(rng, INVERTED if rng.random() < 0.7 else FORWARD).format(
            **_fields(phrases[at], phrases[at + 1])
        )
        pieces = [p.clause for p in phrases[:at]] + [pair] + [p.clause for p in phrases[at + 2 :]]
        text = pieces[0]
        for position, piece in enumerate(pieces[1:], 1):
            # A comma or "and" next to an inverted pair could tie its halves to the wrong neighbour.
            links = (". Then ", "; then ", ". After that, ")
            if position > at:
                links = (". Then ", "; after that ", ". After that ")
            text += _pick(rng, links) + piece
        return text, gaps
    text = phrases[0].clause if rng.random() < 0.7 else phrases[0].noun
    for position, phrase in enumerate(phrases[1:]):
        joints: Sequence[str] = JOINTS
        if pauses and rng.random() < 0.5:
            gaps[position] = "short" if rng.random() < 0.6 else "long"
            joints = SHORT_PAUSES if gaps[position] == "short" else LONG_PAUSES
        text += _pick(rng, joints).format(b=phrase.clause, B=phrase.noun)
    return text, gaps


def _alone(rng: np.random.Generator, phrase: Phrase) -> str:
    return _pick(rng, ("{a}", "{a}", "{A}", "we hear {A}", "there is {A}", "just {A}")).format(
        **_fields(phrase)
    )


def together_text(rng: np.random.Generator, phrases: Sequence[Phrase]) -> str:
    """Words for two or more events that start together."""
    if len(phrases) == 2:
        return _pick(rng, TOGETHER).format(**_fields(*phrases))
    if rng.random() < 0.4:
        others = listed([p.clause for p in phrases[1:]])
        return f"{phrases[0].clause} {_pick(rng, ('while', 'as'))} {others}"
    return _pick(rng, ALL_TOGETHER).format(
        clauses=listed([p.clause for p in phrases]), nouns=listed([p.noun for p in phrases])
    )


def behind_text(rng: np.random.Generator, base: Phrase, foreground: str, level: str) -> str:
    """Words for `foreground` (a finished text) before a background; `level` is a key of
    `BEHIND`.
    """
    fields = {"b": base.clause, "B": base.noun, "f": foreground}
    templates: Sequence[str] = BEHIND[level]
    if re.search(r"[.;,]| and | before | after | then ", foreground):
        clear = [
            t
            for t in templates
            if re.search(r"(^|[.;] ?)\{f\}([.]|$)|^(with|over).*, \{f\}$", t)
            or t
            in (
                "{f}, with {B} in the background",
                "{f}, with {B} throughout",
                "{f}, almost drowned out by {B}",
                "{f}, with {B} quietly in the background",
            )
        ]
        templates = clear or templates
    return _pick(rng, templates).format(**fields)


def repeat_text(
    rng: np.random.Generator, phrase: Phrase, times: int, other: Phrase | None, other_first: bool
) -> str:
    """Words for an event that sounds `times` times in a row, before or after another one."""
    many = f"{phrase.plain} {_pick(rng, TIMES[times])}"
    if other is None:
        return many
    fields = {
        "many": many,
        "b": other.clause,
        "B": other.noun,
        "pb": other.plain,
        "hb": other.perfect,
    }
    return _pick(rng, REPEAT_LAST if other_first else REPEAT_FIRST).format(**fields)


def template_text(
    rng: np.random.Generator,
    templates: Sequence[str],
    first: Phrase,
    second: Phrase | None = None,
    seconds: int | None = None,
) -> str:
    """Words of one of `templates` for one or two events, `{k}` being a number of seconds."""
    fields = _fields(first, second)
    if seconds is not None:
        fields["k"] = NUMBER_WORDS[seconds] if rng.random() < 0.5 else str(seconds)
    return re.sub(r"\b(1|one) seconds", r"\1 second", _pick(rng, templates).format(**fields))


def ended_text(rng: np.random.Generator, text: str, last: Phrase) -> str:
    """Add to a finished text what is heard at the end."""
    return _pick(rng, ENDED).format(text=text, a=last.clause, A=last.noun)


def deny_text(rng: np.random.Generator, text: str, phrase: Phrase) -> str:
    """Add that an event is not heard."""
    if phrase.sentence is None:
        return text
    gerund = phrase.sentence.gerund()
    bare = re.sub(r"^(an?|the|some) ", "", gerund)
    if bare.startswith(("someone", "somebody", "something")):
        return f"{text}, without {gerund}"
    return _pick(rng, DENIALS).format(text=text, X=gerund, x=bare)


def finish(rng: np.random.Generator, text: str) -> str:
    """Either a capitalised sentence with a full stop or a lower-case line."""
    text = re.sub(r"\s+", " ", text).strip()
    if rng.random() < 0.6:
        return re.sub(r"(^|[.] )([a-z])", lambda match: match[1] + match[2].upper(), text) + "."
    return re.sub(r"([.] )([A-Z])(?=[a-z]* )", lambda match: match[1] + match[2].lower(), text)


# Captions of real collections are clauses of any form; these joints fit all of them.
CLAUSE_JOINTS = (
    ", then {b}",
    " and then {b}",
    ", after that {b}",
    ", next {b}",
    ", and afterwards {b}",
    "; then {b}",
    ", and after that {b}",
    "; later {b}",
    ", and later {b}",
    ". Then {b}",
)
CLAUSE_OVERLAYS = {
    (True, True): (
        "{base}, while first {front} and then {back}",
        "first {front}, then {back}, while {base}",
        "{base}; at the beginning {front}, and towards the end {back}",
        "as {base}, {front}, then {back}",
        "in the background {base}; first {front}, later {back}",
    ),
    (True, False): (
        "at the beginning {front} while {base}",
        "{base}; at the beginning {front}",
        "first {front} while {base}",
        "in the background {base}; at the start {front}",
    ),
    (False, True): (
        "towards the end {back} while {base}",
        "{base}, and later {back}",
        "{base}; towards the end {back}",
        "in the background {base}; later {back}",
    ),
    (False, False): ("{base}",),
}


def as_clause(caption: str) -> str:
    """A caption as it stands within a sentence: no full stop, no capital unless a name or acronym
    follows.
    """
    text = caption.strip().rstrip(".").strip()
    first = text.split(" ", 1)[0]
    return text if len(first) > 1 and first.isupper() else text[:1].lower() + text[1:]


def as_sentence(text: str) -> str:
    """Capitalised, with a full stop."""
    return text[:1].upper() + text[1:] + "."
