"""Drawing from a bank: which recordings a composition uses, and which stretch of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...language import wording
from ...language.wording import Phrase
from ..bank import Bank
from .config import ComposerConfig
from .render import faded, looped, loudest, to_peak
from .timing import FULL_SECONDS, Place, needed

MIN_BASE_SECONDS = 2.5
LONG_REFERENCE_SECONDS = 6.0
MIN_CAPTIONS = 6


@dataclass
class Part:
    """An event while it is being arranged: a sound (longer than it may last if `long`), its words,
    its places in seconds, and its level in dB before the mix is scaled.
    """

    index: int
    caption: str
    label: str
    sound: Tensor
    seconds: float
    long: bool = False
    background: bool = False
    phrase: Phrase | None = None
    places: list[Place] = field(default_factory=list)
    level: float = 0.0

    @property
    def length(self) -> float | None:
        """Seconds; None for a part that is longer than it may last."""
        return None if self.long else self.seconds


class Pool:
    """Recordings of a bank by label.

    A label is drawn first, then one of its recordings; each source weighs as the root of the number
    of its labels, so that large sources do not drown small ones.
    """

    def __init__(self, bank: Bank, indices: Sequence[int]):
        table: dict[str, list[int]] = {}
        for index in indices:
            table.setdefault(bank.entries[index].label, []).append(index)
        self._groups = [table[label] for label in sorted(table)]
        sources = [bank.entries[group[0]].source for group in self._groups]
        count = {source: sources.count(source) for source in set(sources)}
        weights = np.array([count[source] ** -0.5 for source in sources])
        self._cumulative = np.cumsum(weights) / max(weights.sum(), 1e-12)

    def __len__(self) -> int:
        return len(self._groups)

    def draw(self, rng: np.random.Generator) -> int:
        """Entry of the bank."""
        place = int(np.searchsorted(self._cumulative, rng.random()))
        group = self._groups[min(place, len(self._groups) - 1)]
        return group[int(rng.integers(len(group)))]


class Pools:
    """The recordings that a composer may use, by their kind.

    Raises
    ------
    InputError
        If there are fewer than six usable events with different captions, or no background.
    """

    def __init__(self, bank: Bank, config: ComposerConfig, split: str | None):
        self.bank = bank

        def pool(least: float, *kinds: str) -> Pool:
            return Pool(
                bank,
                [
                    index
                    for index, entry in enumerate(bank.entries)
                    if (split is None or entry.split == split)
                    and entry.kind in kinds
                    and entry.seconds >= least
                ],
            )

        self.event, self.speech = pool(config.min_event, "event"), pool(config.min_event, "speech")
        self.ambience = pool(MIN_BASE_SECONDS, "ambience")
        self.music = pool(MIN_BASE_SECONDS, "music")
        captions = {
            entry.caption
            for entry in bank.entries
            if (split is None or entry.split == split)
            and entry.kind in ("event", "speech")
            and entry.seconds >= config.min_event
        }
        if len(captions) < MIN_CAPTIONS or not self.event:
            raise InputError(
                f"{bank.manifest}: expected at least {MIN_CAPTIONS} events with different captions "
                f"in split {split!r}, found {len(captions)}; build a larger bank"
            )
        if not self.ambience and not self.music:
            raise InputError(
                f"{bank.manifest}: expected music or ambience of {MIN_BASE_SECONDS} s or more in "
                f"split {split!r}, found none; build a larger bank"
            )
        self.siblings: dict[tuple[str, str], list[int]] = {}
        for index, entry in enumerate(bank.entries):
            self.siblings.setdefault((entry.label, entry.caption), []).append(index)


class Draw:
    """What one composition draws: parts, words, levels and gaps.

    Parameters
    ----------
    pools, config
        Those of the composer.
    rng
        The item's generator.
    seconds
        Length of the target.
    """

    def __init__(
        self, pools: Pools, config: ComposerConfig, rng: np.random.Generator, seconds: float
    ):
        self.pools, self.config, self.rng, self.seconds = pools, config, rng, seconds
        self.rules, self.chances = config.timing, config.chances
        self.taken: set[str] = set()

    def happens(self, probability: float) -> bool:
        """True with `probability`."""
        return bool(self.rng.random() < probability)

    def count(self, weights: Sequence[float], first: int = 1) -> int:
        """A number from `first` on, with these weights."""
        return first + int(self.rng.choice(len(weights), p=np.array(weights) / sum(weights)))

    def part(
        self, longest: float | None = None, long_allowed: bool = True, total: float | None = None
    ) -> Part:
        """An event with a caption that is not taken yet.

        Parameters
        ----------
        longest
            Recordings longer than these seconds are avoided where there are others.
        long_allowed
            Whether its reference may be longer than the part that is used.
        total
            Seconds that it is laid out in; the whole target by default.
        """
        bank = self.pools.bank
        for attempt in range(40):
            speech = self.pools.speech and self.happens(self.config.speech)
            index = (self.pools.speech if speech else self.pools.event).draw(self.rng)
            entry = bank.entries[index]
            # A bank that has nothing as short still has to give an event: from the 30th try any
            # length will do.
            fits = longest is None or entry.seconds <= longest or attempt >= 30
            if fits and entry.caption not in self.taken:
                break
        self.taken.add(entry.caption)
        sound = bank.waveform(index)
        long = long_allowed and self.happens(self.config.long_reference)
        if long:
            sound = self._lengthened(index, sound)
        else:
            limit = self.rules.longest(self.seconds if total is None else total)
            # The reference is cut as the target is, so that all of it is in the target.
            sound = to_peak(loudest(sound, min(limit, longest or limit), bank.sample_rate))
        return self._as_part(index, sound, long=long)

    def short_part(self, longest: float) -> Part:
        """An event for a prompt that counts: its own caption speaks of no number."""
        for _ in range(20):
            part = self.part(longest, long_allowed=False)
            if not {"once", "twice", "times"} & set(part.caption.split()):
                break
        return part

    def base(self) -> Part:
        """A background, mostly as long as the target."""
        bank, rate = self.pools.bank, self.pools.bank.sample_rate
        for _ in range(20):
            music = self.pools.music and (
                not self.pools.ambience or self.happens(self.chances.music_base)
            )
            index = (self.pools.music if music else self.pools.ambience).draw(self.rng)
            if bank.entries[index].caption not in self.taken:
                break
        self.taken.add(bank.entries[index].caption)
        sound = bank.waveform(index)
        if self.happens(self.chances.loop_base):
            sound = looped(sound, self.seconds, rate)
        length = min(len(sound), round(self.seconds * rate))
        begin = int(self.rng.integers(len(sound) - length + 1))
        stretch = sound[begin : begin + length]
        # A stretch between two sounds of a recording would be its noise, brought to full level.
        if stretch.abs().max() < 1e-2:
            stretch = loudest(sound, self.seconds, rate)
        return self._as_part(index, to_peak(faded(stretch, rate)), background=True)

    def fitting(
        self, count: int, total: float | None = None, long_allowed: bool = True
    ) -> list[Part]:
        """At most `count` events that fit into `total` seconds in sequence, and at least one."""
        total = self.seconds if total is None else total
        left, parts = total - self.rules.lead, []
        for _ in range(count):
            part = self.part(long_allowed=long_allowed, total=total)
            if needed(part.length, self.rules) <= left:
                parts.append(part)
                left -= needed(part.length, self.rules)
        # The first event may be too long for what there is; a composition has one all the same.
        return parts or [self.part(self.rules.longest(total), long_allowed=False, total=total)]

    def words(self, parts: Sequence[Part], adverbs: bool = True) -> list[Phrase]:
        """Phrases of the parts; some are said to be far away or loud, and are so."""
        phrases = []
        for part in parts:
            adverb = ""
            # A caption that speaks of loudness itself is not contradicted.
            plain = "softly" not in part.caption and "hard" not in part.caption
            if adverbs and self.happens(self.config.adverb) and plain:
                adverb = list(wording.DISTANCE)[int(self.rng.integers(len(wording.DISTANCE)))]
                part.level = wording.DISTANCE[adverb]
            part.phrase = phrase = wording.draw_phrase(self.rng, part.caption, adverb)
            phrases.append(phrase)
        return phrases

    def levels(self, parts: Sequence[Part]) -> None:
        """Vary the levels of parts."""
        for part in parts:
            part.level += float(self.rng.uniform(-self.config.level_db, self.config.level_db))

    def gaps(self, kinds: Sequence[str]) -> list[float]:
        """Seconds of gaps of the kinds that `wording.sequence_text` gives."""
        return [self.rules.gap_of(kind, int(self.rng.integers(-1, 2))) for kind in kinds]

    def _as_part(
        self, index: int, sound: Tensor, long: bool = False, background: bool = False
    ) -> Part:
        entry = self.pools.bank.entries[index]
        seconds = len(sound) / self.pools.bank.sample_rate
        return Part(index, entry.caption, entry.label, sound, seconds, long, background)

    def _lengthened(self, index: int, sound: Tensor) -> Tensor:
        """A reference of 6 to 10.24 s: the recording if it is long, else takes of its label with
        pauses and a noise floor.
        """
        bank, rng, rate = self.pools.bank, self.rng, self.pools.bank.sample_rate
        most = round(FULL_SECONDS * rate)
        if len(sound) >= LONG_REFERENCE_SECONDS * rate:
            return to_peak(sound[:most])
        wanted = int(rng.uniform(LONG_REFERENCE_SECONDS, FULL_SECONDS) * rate)
        entry = bank.entries[index]
        takes = [index]
        if self.happens(self.chances.siblings):
            takes = self.pools.siblings[entry.label, entry.caption]
        pieces, length, take = [], 0, sound
        while length < wanted:
            pieces += [to_peak(take), torch.zeros(int(rng.uniform(0.05, 0.8) * rate))]
            length += len(pieces[-1]) + len(pieces[-2])
            take = bank.waveform(takes[int(rng.integers(len(takes)))])
        joined = torch.cat(pieces)[:most]
        # Pauses of digital silence would tell the network where the takes were joined.
        floor = 10 ** (rng.uniform(-75.0, -50.0) / 20)
        noise = torch.from_numpy(rng.standard_normal(len(joined)).astype(np.float32))
        return to_peak(joined + floor * 0.5 * noise)


Layout = Callable[[Draw], tuple[list[Part], str]]
"""From a draw to its parts, with their places, and the text of the prompt."""
