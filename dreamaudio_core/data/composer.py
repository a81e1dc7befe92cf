"""Training items with timelines: references, a target mixed from them, and a prompt that says how.

An item is a function of (seed, index) alone, so every worker and machine composes the same. All
starts lie on the grid of the latent (`ComposerConfig.grid`). With T the length of the target, the
arrangement follows from the prompt, the lengths of the references and T by these rules, which are
what the arranger can learn:

- A reference of at most `max_event` seconds (scaled by T / 10.24) is used whole. A longer one gives
one stretch, its
  loudest: in a sequence an equal share of the time that the short parts leave, elsewhere half of T,
  at most `max_event`.
- Sequence ("then", "followed by", "before", "after", "and", full stops): the first event starts at
`lead`, each next
  one `gap` after the end of the one before (plus or minus one grid step). "After a pause" widens
  the gap to `short_pause`, "after a long pause" to `long_pause`. The order is that of the meaning:
  "b after a" and "before b, a" put a first.
- Together ("while", "as", "at the same time" between events): all start at `lead`.
- Background (music, ambience): the base starts at 0 and lasts as long as its reference, which is
mostly as long as T.
  What is heard before it is laid out as a sequence, or together, and its block is centred in T.
- "twice", "three times", "again and again" (four): the event is repeated in sequence; "again"
returns to it after
  another event.
- "at the end": the event ends at T; "at the beginning" and "at the start": it starts at `lead`.
- "in the first half": at `lead`; "in the second half", "halfway through": at T / 2; "in the
middle": centred in T.
- "at k seconds", "after k seconds", "k seconds in": at k.
- A reference that the prompt does not mention, or denies ("without ..."), does not occur.

Mixes are made first and scaled after as a whole, so a signal-to-noise ratio drawn for an overlay is
kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..audio import fade_edges, loudest_stretch
from ..errors import InputError
from ..language import wording
from ..language.wording import Phrase
from ..rendering.placing import FADE_SECONDS, cut_part
from ..scene.timeline import Placement
from .bank import Bank

SAMPLE_RATE = 16_000
FULL_SECONDS = 10.24
KINDS = ("sequence", "together", "background", "repeat", "end", "halves", "clock")


def _default_kinds() -> dict[str, float]:
    return {
        "sequence": 0.40,
        "together": 0.12,
        "background": 0.24,
        "repeat": 0.10,
        "end": 0.07,
        "halves": 0.04,
        "clock": 0.03,
    }


@dataclass(frozen=True)
class ComposerConfig:
    """What is drawn, and how often.

    Parameters
    ----------
    seconds, short_seconds, short_probability
        Length of a target, and the shorter one that some items have.
    kinds
        Weights of the kinds of composition (see `KINDS`).
    counts
        Weights of 1, 2, ... events in a sequence.
    max_event, min_event
        Longest part taken of one event in a target of 10.24 s, and the shortest recording used, in
        seconds.
    grid, lead, gap, short_pause, long_pause
        Seconds of the timing rules in the module's description.
    snr_db
        Range of the level of foreground over base, drawn evenly.
    level_db
        Half range of the level of events in sequence.
    long_reference
        Probability that a reference is longer than its part: the recording in full, or several
        takes of its label with pauses and a noise floor.
    distractor, denial
        Probability of references that the prompt does not ask for, and that it then denies one of
        them.
    unreferenced
        Probability that an asked event comes without its reference.
    adverb
        Probability that the prompt places an event far away or makes it loud.
    speech
        Share of speech among the events.
    max_words
        Longest prompt.
    """

    seconds: float = FULL_SECONDS
    short_seconds: float = 5.12
    short_probability: float = 0.15
    kinds: dict[str, float] = field(default_factory=_default_kinds)
    counts: tuple[float, ...] = (0.12, 0.30, 0.32, 0.18, 0.08)
    max_event: float = 5.0
    min_event: float = 0.15
    grid: float = 0.08
    lead: float = 0.08
    gap: float = 0.16
    short_pause: float = 1.20
    long_pause: float = 2.40
    snr_db: tuple[float, float] = (-15.0, 15.0)
    level_db: float = 4.0
    long_reference: float = 0.18
    distractor: float = 0.25
    denial: float = 0.2
    unreferenced: float = 0.06
    adverb: float = 0.06
    speech: float = 0.2
    max_words: int = 36

    @classmethod
    def concatenation(cls, **changes: Any) -> "ComposerConfig":
        """Only sequences in which every event has its reference and every reference is asked for."""
        return replace(cls._plain(), kinds={"sequence": 1.0}, **changes)

    @classmethod
    def overlay(cls, **changes: Any) -> "ComposerConfig":
        """Only a base with one to three events before it, every one with its reference."""
        return replace(cls._plain(), kinds={"background": 1.0}, **changes)

    @classmethod
    def _plain(cls) -> "ComposerConfig":
        return cls(short_probability=0.0, long_reference=0.0, distractor=0.0, unreferenced=0.0)


@dataclass(frozen=True)
class ComposedEvent:
    """One event of a composition.

    Parameters
    ----------
    index
        Entry in the composer's bank of events, or of backgrounds where `background` is true.
    label, caption
        Those of the bank.
    phrase
        The words of the prompt for it; None if the prompt does not ask for it.
    reference_caption
        Its caption as a reference, in words other than the prompt's.
    reference
        Waveform [T], trimmed, peak 0.5, at 16 kHz; it may be longer than the part that is used.
    placements
        Its occurrences: start on the grid, duration, gain in dB from `reference` to the target,
        offset in `reference`.
    asked, has_reference
        Whether the prompt asks for it; whether the model is given its reference.
    background
        Whether it comes from the bank of backgrounds.
    """

    index: int
    label: str
    caption: str
    phrase: str | None
    reference_caption: str
    reference: torch.Tensor
    placements: tuple[Placement, ...]
    asked: bool
    has_reference: bool
    background: bool = False


@dataclass(frozen=True)
class Composition:
    """A training item: prompt, target waveform [T] and its events in random order."""

    prompt: str
    seconds: float
    target: torch.Tensor
    events: tuple[ComposedEvent, ...]
    kind: str

    @property
    def references(self) -> tuple[ComposedEvent, ...]:
        """The events whose reference is given."""
        return tuple(event for event in self.events if event.has_reference)


@dataclass
class _Part:
    """An event while it is being arranged: `places` holds (start, duration), `level` dB before the
    mix is scaled.
    """

    index: int
    background: bool
    caption: str
    label: str
    reference: torch.Tensor
    long: bool
    phrase: Phrase | None = None
    places: list[tuple[float, float]] = field(default_factory=list)
    level: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.reference) / SAMPLE_RATE


class Composer:
    """Composes items from a bank.

    Parameters
    ----------
    events, backgrounds
        Banks of short events (speech among them) and of long bases; only entries of `split` are
        used.
    config
        What is drawn.
    split
        `"train"`, `"test"` or None for all.

    Raises
    ------
    InputError
        If there are fewer than six usable events with different captions, or no background.
    """

    def __init__(
        self,
        events: Bank,
        backgrounds: Bank,
        config: ComposerConfig | None = None,
        split: str | None = "train",
    ):
        self.events, self.backgrounds = events, backgrounds
        self.config = config or ComposerConfig()
        unknown = sorted(set(self.config.kinds) - set(KINDS))
        if unknown:
            raise InputError(
                f"kinds: {unknown[0]!r} is not a kind of composition; choose from {', '.join(KINDS)}"
            )
        self._by_label = events.by_label()
        usable = [
            i
            for i, e in enumerate(events.entries)
            if (split is None or e.split == split) and e.seconds >= self.config.min_event
        ]
        self._pools = {
            name: self._pool(
                events,
                [i for i in usable if (events.entries[i].kind == "speech") == (name == "speech")],
            )
            for name in ("event", "speech")
        }
        bases = [
            i
            for i, e in enumerate(backgrounds.entries)
            if (split is None or e.split == split) and e.seconds >= 2.5
        ]
        self._base_pools = {
            name: self._pool(
                backgrounds,
                [i for i in bases if (backgrounds.entries[i].kind == "music") == (name == "music")],
            )
            for name in ("ambience", "music")
        }
        captions = {events.entries[i].caption for i in usable}
        if len(captions) < 6 or not self._pools["event"][0]:
            raise InputError(
                f"events: expected at least 6 events with different captions in split {split!r}, "
                f"found {len(captions)}; build a larger bank"
            )
        if not bases:
            raise InputError(
                f"backgrounds: expected music or ambience of 2.5 s or more in split {split!r}, found none; "
                "build a larger bank"
            )
        total = sum(self.config.kinds.values())
        self._kinds = [(name, weight / total) for name, weight in self.config.kinds.items()]

    @staticmethod
    def _pool(bank: Bank, indices: list[int]) -> tuple[list[list[int]], np.ndarray]:
        """Recordings by label, and the labels' cumulative probabilities; a source weighs as the
        root of its labels.
        """
        table: dict[str, list[int]] = {}
        for index in indices:
            table.setdefault(bank.entries[index].label, []).append(index)
        groups = [table[label] for label in sorted(table)]
        sources = [bank.entries[group[0]].source for group in groups]
        count = {source: sources.count(source) for source in set(sources)}
        weights = np.array([count[source] ** -0.5 for source in sources])
        return groups, np.cumsum(weights) / max(weights.sum(), 1e-12)

    # Choosing

    def _draw_index(
        self, rng: np.random.Generator, pool: tuple[list[list[int]], np.ndarray]
    ) -> int:
        groups, cumulative = pool
        group = groups[min(int(np.searchsorted(cumulative, rng.random())), len(groups) - 1)]
        return group[int(rng.integers(len(group)))]

    def _draw_part(
        self,
        rng: np.random.Generator,
        seconds: float,
        taken: set[str],
        longest: float | None = None,
        long_allowed: bool = True,
    ) -> _Part:
        limit = self._limit(seconds)
        for attempt in range(40):
            name = (
                "speech"
                if self._pools["speech"][0] and rng.random() < self.config.speech
                else "event"
            )
            index = self._draw_index(rng, self._pools[name])
            entry = self.events.entries[index]
            if entry.caption in taken or (
                longest is not None and entry.seconds > longest and attempt < 30
            ):
                continue
            break
        taken.add(entry.caption)
        waveform = self.events.waveform(index)
        if long_allowed and rng.random() < self.config.long_reference:
            return _Part(
                index, False, entry.caption, entry.label, self._lengthen(rng, index, waveform), True
            )
        waveform = _loudest(waveform, min(limit, longest or limit))
        return _Part(index, False, entry.caption, entry.label, _to_peak(waveform), False)

    def _draw_base(self, rng: np.random.Generator, seconds: float, taken: set[str]) -> _Part:
        for _ in range(20):
            music = self._base_pools["music"][0] and (
                not self._base_pools["ambience"][0] or rng.random() < 0.5
            )
            index = self._draw_index(rng, self._base_pools["music" if music else "ambience"])
            entry = self.backgrounds.entries[index]
            if entry.caption not in taken:
                break
        taken.add(entry.caption)
        waveform = self.backgrounds.waveform(index)
        if rng.random() < 0.8:
            waveform = _looped(waveform, round(seconds * SAMPLE_RATE))
        length = min(len(waveform), round(seconds * SAMPLE_RATE))
        begin = int(rng.integers(len(waveform) - length + 1))
        part = waveform[begin : begin + length]
        if part.abs().max() < 1e-2:
            part = _loudest(waveform, seconds)
        part = fade_edges(part, round(FADE_SECONDS * SAMPLE_RATE))
        return _Part(index, True, entry.caption, entry.label, _to_peak(part), False)

    def _lengthen(
        self, rng: np.random.Generator, index: int, waveform: torch.Tensor
    ) -> torch.Tensor:
        """A reference of 6 to 10.24 s: the recording if it is long, else takes of its label with
        pauses and a floor.
        """
        most = round(FULL_SECONDS * SAMPLE_RATE)
        if len(waveform) >= 6 * SAMPLE_RATE:
            return _to_peak(waveform[:most])
        wanted = int(rng.uniform(6.0, FULL_SECONDS) * SAMPLE_RATE)
        entry = self.events.entries[index]
        takes = [
            i
            for i in self._by_label[entry.label]
            if self.events.entries[i].caption == entry.caption
        ]
        siblings = takes if rng.random() < 0.5 else [index]
        pieces, length, take = [], 0, waveform
        while length < wanted:
            pieces += [_to_peak(take), torch.zeros(int(rng.uniform(0.05, 0.8) * SAMPLE_RATE))]
            length += len(pieces[-1]) + len(pieces[-2])
            take = self.events.waveform(siblings[int(rng.integers(len(siblings)))])
        joined = torch.cat(pieces)[:most]
        floor = 10 ** (rng.uniform(-75.0, -50.0) / 20)
        noise = torch.from_numpy(rng.standard_normal(len(joined)).astype(np.float32))
        return _to_peak(joined + floor * 0.5 * noise)

    def _limit(self, seconds: float) -> float:
        return self.config.max_event * seconds / FULL_SECONDS

    # Timing

    def _up(self, seconds: float) -> float:
        return round(math.ceil(seconds / self.config.grid - 1e-6) * self.config.grid, 4)

    def _down(self, seconds: float) -> float:
        return round(math.floor(seconds / self.config.grid + 1e-6) * self.config.grid, 4)

    def _share(self, parts: list[_Part], seconds: float, gaps: float) -> float:
        """Seconds of each part that is longer than it may last."""
        longs = sum(part.long for part in parts)
        if not longs:
            return 0.0
        left = (
            seconds - self.config.lead - gaps - sum(part.seconds for part in parts if not part.long)
        )
        return max(8 * self.config.grid, self._down(min(self._limit(seconds), left / longs)))

    def _gap(self, rng: np.random.Generator, kind: str = "") -> float:
        if kind == "short":
            return self.config.short_pause
        if kind == "long":
            return self.config.long_pause
        return self.config.gap + self.config.grid * float(rng.integers(-1, 2))

    def _lay(
        self, parts: list[_Part], gaps: list[float], seconds: float, begin: float | None = None
    ) -> None:
        """Place parts one after another from `begin` (default `lead`), or centred in `seconds` if
        it is negative.
        """
        share = self._share(parts, seconds, sum(gaps) + self.config.grid * len(parts))
        durations = [share if part.long else part.seconds for part in parts]
        starts, end = [], 0.0
        for duration, gap in zip(durations, [0.0, *gaps]):
            starts.append(self._up(end + gap))
            end = starts[-1] + duration
        shift = self.config.lead if begin is None else begin
        if shift < 0:
            shift = max(0.0, self._down((seconds - end) / 2))
        for part, start, duration in zip(parts, starts, durations):
            begin = round(start + shift, 4)
            part.places.append((begin, min(duration, seconds - begin)))

    def _lay_together(self, parts: list[_Part], seconds: float, centred: bool = False) -> None:
        half = self._down(min(self._limit(seconds), seconds / 2))
        durations = [half if part.long else part.seconds for part in parts]
        start = (
            max(0.0, self._down((seconds - max(durations)) / 2)) if centred else self.config.lead
        )
        for part, duration in zip(parts, durations):
            part.places.append((start, duration))

    def _fit(
        self, rng: np.random.Generator, count: int, seconds: float, taken: set[str]
    ) -> list[_Part]:
        """At most `count` parts that fit into `seconds` in sequence."""
        parts: list[_Part] = []
        left = seconds - self.config.lead
        for _ in range(count):
            part = self._draw_part(rng, seconds, taken)
            need = (1.28 if part.long else part.seconds) + self.config.gap + 2 * self.config.grid
            if need <= left:
                parts.append(part)
                left -= need
        return parts or [
            self._draw_part(rng, seconds, taken, longest=self._limit(seconds), long_allowed=False)
        ]

    # Composing

    def item(self, seed: int, index: int) -> Composition:
        """Item `index` of the stream that `seed` names."""
        rng = np.random.default_rng((seed, index))
        short = rng.random() < self.config.short_probability
        seconds = self.config.short_seconds if short else self.config.seconds
        names, weights = zip(*self._kinds)
        kind = names[int(rng.choice(len(names), p=weights))]
        compose = getattr(self, f"_compose_{kind}")
        while True:
            taken: set[str] = set()
            parts, text = compose(rng, seconds, taken)
            if len(text.split()) <= self.config.max_words:
                break
        distractors = self._distractors(rng, seconds, taken)
        if distractors and rng.random() < self.config.denial:
            text = wording.deny_text(rng, text, wording.draw_phrase(rng, distractors[0].caption))
        prompt = wording.finish(rng, text)
        target, gain = self._mix(parts, seconds)
        events = [
            self._event(rng, part, prompt, gain, part.phrase is not None)
            for part in parts + distractors
        ]
        order = rng.permutation(len(events))
        return Composition(prompt, seconds, target, tuple(events[i] for i in order), kind)

    def _compose_sequence(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        counts = self.config.counts
        count = 1 + int(rng.choice(len(counts), p=np.array(counts) / sum(counts)))
        parts = self._fit(rng, count, seconds, taken)
        self._words(rng, parts)
        spare = seconds - sum(part.seconds for part in parts if not part.long)
        pauses = (
            rng.random() < 0.15
            and not any(p.long for p in parts)
            and spare > self.config.long_pause * (len(parts) - 1) + 0.5
        )
        text, kinds = wording.sequence_text(rng, [part.phrase for part in parts], pauses)
        self._lay(parts, [self._gap(rng, kind) for kind in kinds], seconds)
        self._levels(rng, parts)
        return parts, text

    def _compose_together(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        count = int(rng.choice([2, 3, 4], p=[0.6, 0.25, 0.15]))
        parts = [self._draw_part(rng, seconds, taken) for _ in range(count)]
        self._words(rng, parts)
        self._lay_together(parts, seconds)
        self._levels(rng, parts)
        return parts, wording.together_text(rng, [part.phrase for part in parts])

    def _compose_background(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        base = self._draw_base(rng, seconds, taken)
        base.phrase = wording.draw_phrase(rng, base.caption)
        parts = self._fit(rng, int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])), seconds, taken)
        self._words(rng, parts, adverbs=False)
        if len(parts) == 2 and rng.random() < 0.25:
            text = wording.together_text(rng, [part.phrase for part in parts])
            self._lay_together(parts, seconds, centred=True)
        else:
            text, kinds = wording.sequence_text(rng, [part.phrase for part in parts])
            self._lay(parts, [self._gap(rng, kind) for kind in kinds], seconds, begin=-1.0)
        level = str(rng.choice(["any", "background", "quiet", "loud"], p=[0.4, 0.4, 0.12, 0.08]))
        low, high = self.config.snr_db
        ranges = {
            "any": (low, high),
            "background": (np.clip(0.0, low, high), high),
            "quiet": (np.clip(8.0, low, high), high),
            "loud": (low, np.clip(-3.0, low, high)),
        }
        base.places.append((0.0, min(base.seconds, seconds)))
        for part in parts:
            snr = rng.uniform(*ranges[level])
            part.level = float(
                np.clip(snr + _rms_db(base.reference) - _rms_db(part.reference), -20.0, 20.0)
            )
        return [base, *parts], wording.behind_text(rng, base.phrase, text, level)

    def _compose_repeat(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        style = rng.random()
        brief = seconds / 5.5
        part = self._brief(rng, seconds, taken, brief)
        part.phrase = wording.draw_phrase(rng, part.caption)
        other = self._brief(rng, seconds, taken, 1.5 * brief) if style > 0.3 else None
        if other is not None:
            other.phrase = wording.draw_phrase(rng, other.caption)
        if style < 0.65:
            times = int(rng.choice([2, 3, 4], p=[0.5, 0.35, 0.15]))
            room = seconds - self.config.lead - (other.seconds + 0.32 if other else 0.0)
            times = max(2, min(times, int(room / (part.seconds + 0.32))))
            first = bool(rng.random() < 0.5)
            text = wording.repeat_text(
                rng, part.phrase, times, other.phrase if other else None, first
            )
            chain = [part] * times
            if other is not None:
                chain = [other, *chain] if first else [*chain, other]
            self._lay(chain, [self._gap(rng) for _ in chain[1:]], seconds)
        elif style < 0.85:
            text = wording.template_text(rng, wording.AGAIN, part.phrase, other.phrase)
            self._lay([part, other, part], [self._gap(rng), self._gap(rng)], seconds)
        else:
            text = wording.template_text(rng, wording.AGAIN_AT_END, part.phrase, other.phrase)
            self._lay([part, other], [self._gap(rng)], seconds)
            part.places.append((self._down(seconds - part.seconds), part.seconds))
        parts = [part] if other is None else [part, other]
        self._levels(rng, parts)
        return parts, text

    def _brief(
        self, rng: np.random.Generator, seconds: float, taken: set[str], longest: float
    ) -> _Part:
        for _ in range(20):
            part = self._draw_part(rng, seconds, taken, longest=longest, long_allowed=False)
            if not {"once", "twice", "times"} & set(part.caption.split()):
                break
        return part

    def _compose_end(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        last = self._draw_part(rng, seconds, taken, long_allowed=False)
        last.phrase = wording.draw_phrase(rng, last.caption)
        last.places.append((self._down(seconds - last.seconds), last.seconds))
        if rng.random() < 0.25:
            self._levels(rng, [last])
            return [last], wording.template_text(rng, wording.END_ALONE, last.phrase)
        parts = self._fit(rng, int(rng.integers(1, 3)), last.places[0][0], taken)
        self._words(rng, parts)
        phrases, gaps = [part.phrase for part in parts], []
        together = len(parts) > 1 and rng.random() < 0.3
        if len(parts) == 1:
            text = wording.template_text(rng, wording.END, *phrases, last.phrase)
        else:
            if together:
                text = wording.together_text(rng, phrases)
            else:
                text, gaps = wording.sequence_text(rng, phrases)
            text = wording.ended_text(rng, text, last.phrase)
        for part in parts:
            if part.long:
                part.reference, part.long = (
                    _to_peak(_loudest(part.reference, self._limit(last.places[0][0]))),
                    False,
                )
        if together:
            self._lay_together(parts, last.places[0][0])
        else:
            self._lay(parts, [self._gap(rng, kind) for kind in gaps], last.places[0][0])
        self._levels(rng, [*parts, last])
        return [*parts, last], text

    def _compose_halves(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        half = self._up(seconds / 2)
        first = self._draw_part(rng, seconds, taken, long_allowed=False)
        first.phrase = wording.draw_phrase(rng, first.caption)
        style = rng.random()
        if style < 0.35:
            middle = rng.random() < 0.5
            start = self._down((seconds - first.seconds) / 2) if middle else half
            first.places.append((start, first.seconds))
            self._levels(rng, [first])
            return [first], wording.template_text(
                rng, wording.MIDDLE if middle else wording.SECOND_HALF, first.phrase
            )
        second = self._draw_part(rng, seconds, taken, long_allowed=False)
        second.phrase = wording.draw_phrase(rng, second.caption)
        first.places.append((self.config.lead, first.seconds))
        second.places.append((half, second.seconds))
        self._levels(rng, [first, second])
        return [first, second], wording.template_text(
            rng, wording.HALVES, first.phrase, second.phrase
        )

    def _compose_clock(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> tuple[list[_Part], str]:
        last = self._brief(rng, seconds, taken, seconds / 3)
        last.phrase = wording.draw_phrase(rng, last.caption)
        latest = int(seconds - last.seconds)
        if rng.random() < 0.4:
            at = int(rng.integers(1, latest + 1))
            last.places.append((self._up(at), last.seconds))
            self._levels(rng, [last])
            return [last], wording.template_text(rng, wording.CLOCK_ALONE, last.phrase, seconds=at)
        first = self._brief(rng, seconds, taken, seconds / 3)
        first.phrase = wording.draw_phrase(rng, first.caption)
        at = int(rng.integers(min(latest, math.ceil(self.config.lead + first.seconds)), latest + 1))
        first.places.append((self.config.lead, first.seconds))
        last.places.append((self._up(at), last.seconds))
        self._levels(rng, [first, last])
        return [first, last], wording.template_text(
            rng, wording.CLOCK, first.phrase, last.phrase, seconds=at
        )

    def _words(self, rng: np.random.Generator, parts: list[_Part], adverbs: bool = True) -> None:
        for part in parts:
            adverb = ""
            if (
                adverbs
                and rng.random() < self.config.adverb
                and "softly" not in part.caption
                and "hard" not in part.caption
            ):
                adverb = list(wording.DISTANCE)[int(rng.integers(len(wording.DISTANCE)))]
                part.level = wording.DISTANCE[adverb]
            part.phrase = wording.draw_phrase(rng, part.caption, adverb)

    def _levels(self, rng: np.random.Generator, parts: list[_Part]) -> None:
        for part in parts:
            part.level += float(rng.uniform(-self.config.level_db, self.config.level_db))

    def _distractors(
        self, rng: np.random.Generator, seconds: float, taken: set[str]
    ) -> list[_Part]:
        if rng.random() >= self.config.distractor:
            return []
        return [
            self._draw_base(rng, seconds, taken)
            if rng.random() < 0.15
            else self._draw_part(rng, seconds, taken)
            for _ in range(int(rng.integers(1, 3)))
        ]

    def _mix(self, parts: list[_Part], seconds: float) -> tuple[torch.Tensor, float]:
        """Target waveform [T] with peak 0.5, and the gain in dB that brought it there."""
        target = torch.zeros(round(seconds * SAMPLE_RATE))
        for part in parts:
            for placement in self._placements(part, 0.0):
                begin = round(placement.start * SAMPLE_RATE)
                sound = cut_part(part.reference, placement, SAMPLE_RATE)[: len(target) - begin]
                target[begin : begin + len(sound)] += sound
        scale = 0.5 / max(float(target.abs().max()), 1e-6)
        return target * scale, 20 * math.log10(scale)

    def _placements(self, part: _Part, gain: float) -> tuple[Placement, ...]:
        placements = []
        for start, duration in sorted(part.places):
            length = round(duration * SAMPLE_RATE)
            offset = (
                loudest_stretch(part.reference, length) / SAMPLE_RATE
                if length < len(part.reference)
                else 0.0
            )
            placements.append(Placement(start, duration, part.level + gain, offset))
        return tuple(placements)

    def _event(
        self, rng: np.random.Generator, part: _Part, prompt: str, gain: float, asked: bool
    ) -> ComposedEvent:
        phrase = part.phrase or wording.draw_phrase(rng, part.caption)
        forms = (phrase.clause, phrase.noun, phrase.perfect, phrase.plain)
        words = next((form for form in forms if form.lower() in prompt.lower()), phrase.plain)
        return ComposedEvent(
            index=part.index,
            label=part.label,
            caption=part.caption,
            phrase=words if asked else None,
            reference_caption=wording.draw_reference_caption(rng, phrase, prompt),
            reference=part.reference,
            placements=self._placements(part, gain),
            asked=asked,
            has_reference=not asked or rng.random() >= self.config.unreferenced,
            background=part.background,
        )


def timeline_targets(
    composition: Composition, max_references: int = 8, max_repeats: int = 4
) -> dict[str, np.ndarray]:
    """What the arranger should answer for the references of a composition, in their order.

    Returns
    -------
    dict
        `seconds` [R] lengths of the references, `present` [R] which rows are in use, `occurs` [R],
        `counts` [R] how often, and `starts`, `durations` (seconds), `gains` (dB), `used` (which are
        in use), each [R, P] in order of time.

    Raises
    ------
    InputError
        If the composition has more references or repeats than fit.
    """
    references = composition.references
    repeats = max((len(event.placements) for event in references), default=0)
    if len(references) > max_references or repeats > max_repeats:
        raise InputError(
            f"composition: found {len(references)} references and {repeats} repeats, expected at most "
            f"{max_references} and {max_repeats}; raise the limits"
        )
    out: dict[str, np.ndarray] = {
        "seconds": np.zeros(max_references, np.float32),
        "present": np.zeros(max_references, bool),
        "occurs": np.zeros(max_references, np.float32),
        "counts": np.zeros(max_references, np.int64),
        "used": np.zeros((max_references, max_repeats), bool),
        **{
            name: np.zeros((max_references, max_repeats), np.float32)
            for name in ("starts", "durations", "gains")
        },
    }
    for row, event in enumerate(references):
        out["seconds"][row] = len(event.reference) / SAMPLE_RATE
        out["present"][row] = True
        out["occurs"][row] = float(bool(event.placements))
        out["counts"][row] = len(event.placements)
        for column, placement in enumerate(event.placements):
            out["used"][row, column] = True
            out["starts"][row, column] = placement.start
            out["durations"][row, column] = placement.duration
            out["gains"][row, column] = placement.gain
    return out


def _loudest(waveform: torch.Tensor, seconds: float) -> torch.Tensor:
    length = round(seconds * SAMPLE_RATE)
    if len(waveform) <= length:
        return waveform
    begin = loudest_stretch(waveform, length)
    return fade_edges(waveform[begin : begin + length], round(FADE_SECONDS * SAMPLE_RATE))


def _looped(waveform: torch.Tensor, length: int) -> torch.Tensor:
    """Repeat with cross-fades of 50 ms until at least `length` samples long."""
    ramp = torch.linspace(0, 1, SAMPLE_RATE // 20)
    out = waveform
    while len(out) < length:
        joint = out[-len(ramp) :] * ramp.flip(0) + waveform[: len(ramp)] * ramp
        out = torch.cat((out[: -len(ramp)], joint, waveform[len(ramp) :]))
    return out


def _to_peak(waveform: torch.Tensor) -> torch.Tensor:
    return waveform * (0.5 / max(float(waveform.abs().max()), 1e-6))


def _rms_db(waveform: torch.Tensor) -> float:
    return 10 * math.log10(max(float(waveform.double().square().mean()), 1e-10))
