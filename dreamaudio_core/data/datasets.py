"""The paper's datasets, drawn from a bank: AudioCaps-General, Customized-Concatenation, -Overlay
and -Fantasy (section IV).

Item i is a function of (seed, i) alone: the same on every worker and machine. Clips are trimmed of
silence and brought to a peak of 0.5; mixes are made first and scaled after, as a whole, so that a
signal-to-noise ratio is kept.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..audio import normalize_reference, trim_silence
from ..errors import InputError
from .bank import Bank
from .paper_items import SAMPLE_RATE, GroupEvent, PaperItem, ReferenceGroup, TargetEvent

SECONDS = 10.0
LONGEST_CLIP = 5.0
SHORTEST_BASE = 9.5
MOST_EVENTS = 5
SNR_DB = (-15.0, 15.0)
# Table I of the paper; datasets by their short names.
COUNTS = {
    "general": {"train": 49_502, "test": 928},
    "overlay": {"train": 146_481, "test": 200},
    "concatenation": {"train": 92_299, "test": 200},
    "fantasy": {"test": 25},
}

# Captions of real collections are clauses of any form; these joints fit all of them.
JOINTS = (
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
OVERLAY = {
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


def prepare_clip(waveform: Tensor) -> Tensor:
    """Trimmed of silence, mean removed, peak 0.5."""
    return normalize_reference(trim_silence(waveform, SAMPLE_RATE))


def _to_peak(waveform: Tensor) -> Tensor:
    return waveform * (0.5 / max(float(waveform.abs().max()), 1e-6))


class PaperDataset:
    """Common to all: a bank, a split, a seed and a number of items.

    Parameters
    ----------
    bank
        The bank, unfiltered.
    split
        `"train"` or `"test"`.
    seed
        Names the stream.
    count
        Items; that of the paper's Table I by default.
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
        self._choose()
        self._count = COUNTS[self.name][split] if count is None else count

    def _choose(self) -> None:
        raise NotImplementedError

    def _need(self, found: list[int], least: int, what: str) -> None:
        if len(found) < least:
            raise InputError(
                f"{self.bank.manifest}: {self.name} needs at least {least} {what} in split {self.split!r}, "
                f"found {len(found)}; build a larger bank"
            )

    def _entries(self, **limits: float) -> list[int]:
        low, high = limits.get("low", 0.0), limits.get("high", float("inf"))
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

    def __getitem__(self, index: int) -> PaperItem:
        raise NotImplementedError

    def _clip(self, entry: int, longest: float = LONGEST_CLIP) -> Tensor:
        return prepare_clip(self.bank.waveform(entry))[: round(longest * SAMPLE_RATE)]

    def _draw(self, rng: np.random.Generator, pool: list[int], taken: set[str]) -> int | None:
        for _ in range(20):
            entry = pool[int(rng.integers(len(pool)))]
            if self.bank.entries[entry].caption not in taken:
                taken.add(self.bank.entries[entry].caption)
                return entry
        return None

    def _clause(self, entry: int) -> str:
        return as_clause(self.bank.entries[entry].caption)


class AudioCapsGeneral(PaperDataset):
    """Clips of AudioCaps with their captions and no references (AC)."""

    name = "general"

    def _choose(self) -> None:
        own = [i for i in self._entries() if self.bank.entries[i].source == "AudioCaps"]
        self._need(own, 1, "clips of AudioCaps")
        # Which of the published clips the paper could still fetch is not known; the first of the
        # table stand for them.
        self._pool = own[: COUNTS[self.name][self.split]]

    def __len__(self) -> int:
        return min(len(self._pool), self._count)

    def __getitem__(self, index: int) -> PaperItem:
        self._rng(index)
        entry = self._pool[index]
        target = _to_peak(self.bank.waveform(entry)[: round(SECONDS * SAMPLE_RATE)])
        return PaperItem(
            self.bank.entries[entry].caption,
            target,
            (),
            (TargetEvent(entry, 0.0, len(target) / SAMPLE_RATE),),
        )


class CustomizedConcatenation(PaperDataset):
    """One to five clips of at most 5 s after one another, in 10 s (CC).

    The number of clips is drawn evenly; those that no longer fit are left out. They are then dealt
    at random to the reference audios, none of which stays empty while another holds two.
    """

    name = "concatenation"

    def _choose(self) -> None:
        self._pool = self._entries(low=0.1, high=LONGEST_CLIP)
        self._need(self._pool, MOST_EVENTS, f"clips of at most {LONGEST_CLIP:g} s")

    def __getitem__(self, index: int) -> PaperItem:
        rng = self._rng(index)
        wanted, taken = 1 + int(rng.integers(MOST_EVENTS)), set()
        target = torch.zeros(round(SECONDS * SAMPLE_RATE))
        clips: list[tuple[int, Tensor]] = []
        events: list[TargetEvent] = []
        cursor = 0
        for _ in range(wanted):
            entry = self._draw(rng, self._pool, taken)
            clip = None if entry is None else self._clip(entry)
            if clip is None or cursor + len(clip) > len(target):
                continue
            target[cursor : cursor + len(clip)] = clip
            clips.append((entry, clip))
            events.append(TargetEvent(entry, cursor / SAMPLE_RATE, len(clip) / SAMPLE_RATE))
            cursor += len(clip)
        text = self._clause(clips[0][0])
        for entry, _ in clips[1:]:
            text += JOINTS[int(rng.integers(len(JOINTS)))].format(b=self._clause(entry))
        return PaperItem(as_sentence(text), _to_peak(target), self._deal(rng, clips), tuple(events))

    def _deal(
        self, rng: np.random.Generator, clips: list[tuple[int, Tensor]]
    ) -> tuple[ReferenceGroup, ...]:
        piles: list[list[tuple[int, Tensor]]] = [[] for _ in range(min(self.groups, len(clips)))]
        for place, k in enumerate(rng.permutation(len(clips))):
            piles[place % len(piles)].append(clips[k])
        groups = []
        for pile in piles:
            events, start = [], 0.0
            for entry, clip in pile:
                events.append(GroupEvent(clip, self._clause(entry), start, entry))
                start += len(clip) / SAMPLE_RATE
            groups.append(ReferenceGroup(tuple(events), JOINTS[int(rng.integers(len(JOINTS)))]))
        return tuple(groups)


class CustomizedOverlay(PaperDataset):
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
        length = round(SECONDS * SAMPLE_RATE)
        waveform = self.bank.waveform(entry)
        begin = int(rng.integers(max(1, len(waveform) - length + 1)))
        part = normalize_reference(waveform[begin : begin + length])
        # Digital silence was drawn: its power cannot be the measure of a ratio.
        part = normalize_reference(waveform[:length]) if part.abs().max() == 0 else part
        return torch.nn.functional.pad(part, (0, length - len(part)))

    def __getitem__(self, index: int) -> PaperItem:
        rng, taken = self._rng(index), set()
        count = 1 + int(rng.integers(3))
        front = count == 3 or (count == 2 and bool(rng.random() < 0.5))
        back = count == 3 or (count == 2 and not front)
        entry = self._draw(rng, self._bases, taken)
        base = self._base(rng, entry)
        mix, power = base.clone(), float(base.double().square().mean())
        words = {"base": self._clause(entry)}
        groups = [ReferenceGroup((GroupEvent(base, words["base"], 0.0, entry),))]
        events = [TargetEvent(entry, 0.0, SECONDS)]
        for name, wanted, begin in (("front", front, 0.0), ("back", back, SECONDS / 2)):
            entry = self._draw(rng, self._pool, taken) if wanted else None
            if entry is None:
                front, back = front and name != "front", back and name != "back"
                continue
            clip = self._clip(entry)
            duration = len(clip) / SAMPLE_RATE
            start = round((begin + rng.random() * (SECONDS / 2 - duration)) * SAMPLE_RATE)
            snr = float(rng.uniform(*SNR_DB))
            gain = (
                power / max(float(clip.double().square().mean()), 1e-12) * 10 ** (snr / 10)
            ) ** 0.5
            mix[start : start + len(clip)] += gain * clip
            words[name] = self._clause(entry)
            groups.append(ReferenceGroup((GroupEvent(clip, words[name], 0.0, entry),)))
            events.append(TargetEvent(entry, start / SAMPLE_RATE, duration, snr))
        templates = OVERLAY[front, back]
        prompt = templates[int(rng.integers(len(templates)))].format(**words)
        return PaperItem(as_sentence(prompt), _to_peak(mix), tuple(groups), tuple(events))


@lru_cache(maxsize=1)
def fantasy_table() -> dict[str, Any]:
    """`fantasy.json`: the events, by label, with their captions, and the scenarios: a prompt and
    its events.
    """
    return json.loads(Path(__file__).with_name("fantasy.json").read_text(encoding="utf-8"))


class CustomizedFantasy(PaperDataset):
    """Scenarios that nobody has recorded: a prompt and references, no target (CF).

    The events are the classes of ESC-50 and UrbanSound8K; which recording of its class stands for
    an event is drawn.
    """

    name = "fantasy"

    def _choose(self) -> None:
        by_label: dict[str, list[int]] = {}
        for i, entry in enumerate(self.bank.entries):
            by_label.setdefault(entry.label, []).append(i)
        self._scenarios = fantasy_table()["scenarios"]
        for label in fantasy_table()["events"]:
            if label not in by_label:
                raise InputError(
                    f"{self.bank.manifest}: fantasy needs a sound with the label {label!r}, found none; scan "
                    "ESC-50 and UrbanSound8K into the bank"
                )
        # Held-out recordings first: the scenarios are a test.
        self._by_label = {
            label: [i for i in found if self.bank.entries[i].split == "test"] or found
            for label, found in by_label.items()
        }

    def __len__(self) -> int:
        return min(self._count, len(self._scenarios))

    def __getitem__(self, index: int) -> PaperItem:
        rng = self._rng(index)
        scenario = self._scenarios[index]
        groups = []
        for label in scenario["events"]:
            pool = self._by_label[label]
            entry = pool[int(rng.integers(len(pool)))]
            clip = self._clip(entry, SECONDS)
            groups.append(
                ReferenceGroup((GroupEvent(clip, fantasy_table()["events"][label], 0.0, entry),))
            )
        return PaperItem(scenario["prompt"], None, tuple(groups))


DATASETS: dict[str, type[PaperDataset]] = {
    kind.name: kind
    for kind in (AudioCapsGeneral, CustomizedConcatenation, CustomizedOverlay, CustomizedFantasy)
}
