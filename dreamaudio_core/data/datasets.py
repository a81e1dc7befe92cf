"""Datasets drawn from a bank: the paper's AudioCaps-General, Customized-Concatenation and -Overlay
(section IV), and our own compositions with timelines. Customized-Fantasy is a file of scenes, which
`scenarios` writes as a test set.

Item i is a function of (seed, i) alone: the same on every worker and machine. A new dataset is a
class here, and a name in `DATASETS`.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..audio.decode import read_audio
from ..audio.edit import normalize_reference, trim_silence
from ..errors import InputError
from ..language.wording import CLAUSE_JOINTS, CLAUSE_OVERLAYS, as_clause, as_sentence
from ..scene.timeline import Placement
from .bank import Bank
from .compose.composer import Composer
from .compose.composition import Composition, Event, ReferenceGroup
from .compose.config import ComposerConfig
from .compose.render import mix, rms_db, to_peak

if TYPE_CHECKING:
    from ..retrieval import SoundLibrary

SECONDS = 10.0
LONGEST_CLIP = 5.0
SHORTEST_BASE = 9.5
MOST_EVENTS = 5
# Random choices of clips among which the one that fills the target best is taken.
CHOICES = 12
SNR_DB = (-15.0, 15.0)
# Hits beyond the wanted number, since a clip's own recording is none of its references.
SPARE_HITS = 3
# In place of the number of a bank's entry.
ELSEWHERE = -1
# Table I of the paper, and ours.
COUNTS: dict[str, dict[str, int]] = {
    "general": {"train": 49_502, "test": 928},
    "overlay": {"train": 146_481, "test": 200},
    "concatenation": {"train": 92_299, "test": 200},
    "composed": {"train": 20_000, "test": 200},
}


class CompositionDataset:
    """A bank, a split, a seed and a number of items.

    Parameters
    ----------
    bank
        The bank, unfiltered.
    split
        `"train"` or `"test"`.
    seed
        Random seed of all items.
    count
        Items; that of `COUNTS` by default.
    groups
        References that the events of a target are grouped into.

    Raises
    ------
    InputError
        If the bank has too few fitting sounds.
    """

    name = ""

    def __init__(
        self,
        bank: Bank,
        split: str = "train",
        seed: int = 0,
        count: int | None = None,
        groups: int = 3,
    ):
        if split not in COUNTS[self.name]:
            raise InputError(
                f"split: {self.name} has {' and '.join(COUNTS[self.name])}, found {split!r}"
            )
        if groups < 1:
            raise InputError(f"groups: expected at least 1, found {groups}")
        self.bank, self.split, self.seed, self.groups = bank, split, seed, groups
        self._count = COUNTS[self.name][split] if count is None else count
        self._choose()

    def _choose(self) -> None:
        """Select the recordings that may be drawn."""
        raise NotImplementedError

    def origin(self) -> dict[str, Any]:
        """What the items depend on; equal for two datasets with equal items."""
        return {
            "dataset": self.name,
            "split": self.split,
            "seed": self.seed,
            "groups": self.groups,
            "bank": self.bank.digest(),
        }

    def _need(self, found: list[int], least: int, what: str) -> None:
        if len(found) < least:
            raise InputError(
                f"{self.bank.manifest}: {self.name} needs at least {least} {what} in split "
                f"{self.split!r}, found {len(found)}; build a larger bank"
            )

    def _entries(self, low: float = 0.0, high: float = float("inf")) -> list[int]:
        """Entries of the split that last from `low` to `high` seconds."""
        return [
            i
            for i, e in enumerate(self.bank.entries)
            if e.split == self.split and low <= e.seconds <= high
        ]

    def __len__(self) -> int:
        return self._count

    def _rng(self, index: int) -> np.random.Generator:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return np.random.default_rng(
            (self.seed, list(COUNTS).index(self.name), self.split == "test", index)
        )

    def __getitem__(self, index: int) -> Composition:
        raise NotImplementedError

    def _seconds(self, waveform: Tensor) -> float:
        return len(waveform) / self.bank.sample_rate

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.bank.sample_rate)

    def _clip(self, entry: int, longest: float = LONGEST_CLIP) -> Tensor:
        """A recording trimmed of silence, without its mean, peak 0.5."""
        trimmed = trim_silence(self.bank.waveform(entry), self.bank.sample_rate)
        return normalize_reference(trimmed)[: self._samples(longest)]

    def _draw(self, rng: np.random.Generator, pool: list[int], taken: set[str]) -> int | None:
        for _ in range(20):
            entry = pool[int(rng.integers(len(pool)))]
            if self.bank.entries[entry].caption not in taken:
                taken.add(self.bank.entries[entry].caption)
                return entry
        return None

    def _clause(self, entry: int) -> str:
        return as_clause(self.bank.entries[entry].caption)

    def _event(
        self, index: int, sound: Tensor, words: str, start: float | None = 0.0, gain: float = 0.0
    ) -> Event:
        """An event that sounds whole from `start`, or nowhere for None."""
        entry = self.bank.entries[index]
        places = () if start is None else (Placement(start, self._seconds(sound), gain, 0.0),)
        return Event(index, entry.label, entry.caption, sound, words, words, places)

    def _composition(
        self, prompt: str, events: list[Event], groups: list[tuple[list[int], str]]
    ) -> Composition:
        """Mix the events of a target of 10 s, and deal them to groups (numbers, joint)."""
        target, events = mix(events, SECONDS, self.bank.sample_rate)
        dealt = tuple(
            ReferenceGroup(tuple(events[i] for i in numbers), joint) for numbers, joint in groups
        )
        return Composition(prompt, SECONDS, target, tuple(events), dealt, self.name)


class AudioCapsGeneral(CompositionDataset):
    """Clips of AudioCaps with their captions (AC).

    The paper gives them both ways: its section IV-B.4 without references, its Table I with
    retrieved ones. With a library each clip has the sounds that answer its caption best, never
    itself.

    Parameters
    ----------
    library
        Where references come from; none without one.
    """

    name = "general"

    def __init__(self, *args: Any, library: SoundLibrary | None = None, **options: Any):
        self.library = library
        super().__init__(*args, **options)

    def origin(self) -> dict[str, Any]:
        """What the items depend on, among it the library."""
        found = {} if self.library is None else {"library": self.library.identity()[:16]}
        return {**super().origin(), **found}

    def _choose(self) -> None:
        own = [i for i in self._entries() if self.bank.entries[i].source == "AudioCaps"]
        self._need(own, 1, "clips of AudioCaps")
        # Which of the published clips the paper could still fetch is not known; the first of the
        # table stand for them.
        self._pool = own[: COUNTS[self.name][self.split]]

    def __len__(self) -> int:
        return min(len(self._pool), self._count)

    def __getitem__(self, index: int) -> Composition:
        self._rng(index)
        entry = self._pool[index]
        caption = self.bank.entries[entry].caption
        sound = to_peak(self.bank.waveform(entry)[: self._samples(SECONDS)])
        event = replace(self._event(entry, sound, caption), has_reference=False)
        groups = tuple(ReferenceGroup((event,)) for event in self._retrieved(entry))
        return Composition(caption, SECONDS, sound, (event,), groups, self.name)

    def _retrieved(self, entry: int) -> list[Event]:
        if self.library is None:
            return []
        own = self.bank.entries[entry]
        # The clip itself is the best answer to its own caption; other clips may share the words.
        hits = self.library.search(own.caption, self.groups + SPARE_HITS)
        others = [
            hit
            for hit in hits
            if hit.path.name != Path(own.path).name and hit.caption != own.caption
        ]
        events = []
        for hit in others[: self.groups]:
            waveform = read_audio(hit.path, self.bank.sample_rate)
            sound = normalize_reference(trim_silence(waveform, self.bank.sample_rate))
            sound = sound[: self._samples(SECONDS)]
            events.append(Event(ELSEWHERE, "retrieved", hit.caption, sound, hit.caption))
        return events


class CustomizedConcatenation(CompositionDataset):
    """One to five clips of at most 5 s after one another, which fill 10 s as far as they can (CC).

    The number of clips is drawn evenly; of some random choices of that many, the longest that fits
    is taken. They are dealt at random to the reference audios, none of which stays empty while
    another holds two. For more than the paper's three references (its alignment, K = 4) there are
    at least as many clips.
    """

    name = "concatenation"

    def _choose(self) -> None:
        self._pool = self._entries(low=0.1, high=LONGEST_CLIP)
        # More references than the paper's three are wanted for their number: all are filled.
        self._least = self.groups if self.groups > 3 else 1
        self._most = max(MOST_EVENTS, self._least)
        self._need(self._pool, self._most, f"clips of at most {LONGEST_CLIP:g} s")

    def __getitem__(self, index: int) -> Composition:
        rng = self._rng(index)
        wanted = self._least + int(rng.integers(self._most - self._least + 1))
        events: list[Event] = []
        cursor = 0
        for entry in self._fitting(rng, wanted):
            clip = self._clip(entry)
            start = cursor / self.bank.sample_rate
            events.append(self._event(entry, clip, self._clause(entry), start))
            cursor += len(clip)
        text = events[0].reference_caption
        for event in events[1:]:
            text += _joint(rng).format(b=event.reference_caption)
        return self._composition(as_sentence(text), events, self._deal(rng, len(events)))

    def _fitting(self, rng: np.random.Generator, wanted: int) -> list[int]:
        """Entries with different captions that last 10 s together, or nearly."""
        best: list[int] = []
        longest = -1.0
        for _ in range(CHOICES):
            taken: set[str] = set()
            drawn = [self._draw(rng, self._pool, taken) for _ in range(wanted)]
            found = [entry for entry in drawn if entry is not None]
            length = sum(min(self.bank.entries[i].seconds, LONGEST_CLIP) for i in found)
            while length > SECONDS and len(found) > self._least:
                length -= self.bank.entries[found.pop()].seconds
            # A choice of the wanted number is better than any of fewer.
            if length <= SECONDS and (len(found), length) > (len(best), longest):
                best, longest = found, length
        if best:
            return best
        # Long clips alone: the shortest of the bank are certain to be the best that there is.
        pool = sorted(self._pool, key=lambda i: self.bank.entries[i].seconds)
        return pool[: self._least]

    def _deal(self, rng: np.random.Generator, count: int) -> list[tuple[list[int], str]]:
        order = rng.permutation(count).tolist()
        piles = min(self.groups, count)
        return [(order[first::piles], _joint(rng)) for first in range(piles)]


def _joint(rng: np.random.Generator) -> str:
    return CLAUSE_JOINTS[int(rng.integers(len(CLAUSE_JOINTS)))]


class CustomizedOverlay(CompositionDataset):
    """A base of 10 s with a clip of at most 5 s over its front half, its back half, both or neither
    (CO).

    The number of events, one to three, is drawn evenly. Each clip has its own signal-to-noise
    ratio: the mean power of the clip over that of the base, in dB, drawn evenly from -15 to 15.
    """

    name = "overlay"

    def _choose(self) -> None:
        self._pool = self._entries(low=0.1, high=LONGEST_CLIP)
        self._need(self._pool, 3, f"clips of at most {LONGEST_CLIP:g} s")
        self._bases = self._entries(low=SHORTEST_BASE)
        self._need(self._bases, 1, f"sounds of {SHORTEST_BASE:g} s or more")

    def _base(self, rng: np.random.Generator, entry: int) -> Tensor:
        length = self._samples(SECONDS)
        waveform = self.bank.waveform(entry)
        begin = int(rng.integers(max(1, len(waveform) - length + 1)))
        part = normalize_reference(waveform[begin : begin + length])
        # Digital silence was drawn: its power cannot be the measure of a ratio.
        part = normalize_reference(waveform[:length]) if part.abs().max() == 0 else part
        return torch.nn.functional.pad(part, (0, length - len(part)))

    def __getitem__(self, index: int) -> Composition:
        rng = self._rng(index)
        count = 1 + int(rng.integers(3))
        halves = ["front", "back"] if count == 3 else []
        if count == 2:
            halves = ["front" if rng.random() < 0.5 else "back"]
        chosen = self._bases[int(rng.integers(len(self._bases)))]
        taken = {self.bank.entries[chosen].caption}
        base = self._base(rng, chosen)
        words = {"base": self._clause(chosen)}
        events = [replace(self._event(chosen, base, words["base"]), background=True)]
        for half in halves:
            entry = self._draw(rng, self._pool, taken)
            if entry is None:
                continue
            clip, words[half] = self._clip(entry), self._clause(entry)
            begin = 0.0 if half == "front" else SECONDS / 2
            start = begin + rng.random() * (SECONDS / 2 - self._seconds(clip))
            gain = float(rng.uniform(*SNR_DB)) + rms_db(base) - rms_db(clip)
            events.append(self._event(entry, clip, words[half], start, gain))
        templates = CLAUSE_OVERLAYS["front" in words, "back" in words]
        prompt = templates[int(rng.integers(len(templates)))].format(**words)
        groups = [([k], CLAUSE_JOINTS[0]) for k in range(len(events))]
        return self._composition(as_sentence(prompt), events, groups)


class Composed(CompositionDataset):
    """Our compositions with timelines, see `compose`; by default all of 10.24 s."""

    name = "composed"

    def __init__(self, *args: Any, config: ComposerConfig | None = None, **options: Any):
        self.config = config or ComposerConfig.fixed_length()
        super().__init__(*args, **options)

    def origin(self) -> dict[str, Any]:
        """What the items depend on, among it everything that is drawn."""
        config = hashlib.sha256(repr(self.config).encode()).hexdigest()[:16]
        return {**super().origin(), "config": config}

    def _choose(self) -> None:
        self._composer = Composer(self.bank, self.config, self.split)

    def __getitem__(self, index: int) -> Composition:
        self._rng(index)
        return self._composer.item(self.seed, index)


DATASETS: dict[str, type[CompositionDataset]] = {
    kind.name: kind
    for kind in (
        AudioCapsGeneral,
        CustomizedConcatenation,
        CustomizedOverlay,
        Composed,
    )
}
