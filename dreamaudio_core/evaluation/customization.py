"""Does the generated audio contain the sounds of the references?

Each event's stretch is cut out of the output where the target has the event, and compared with 16
candidates (the event itself and 15 other sounds of the bank) by log-mel distance at the best
alignment within 0.16 s. The score is the share of events whose nearest candidate is the event
itself; chance is 1/16. A candidate is compared `alone`, or in the `mix`: in place of the event in
the target, together with everything else that sounds there. For events in sequence both are the
same. Under a base that is up to 15 dB louder even the true target is often not nearest to the event
alone, so the target is scored too (mode `target`), as what a perfect model would reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.mel import LogMel
from ..config import SamplingConfig
from ..data.bank import Bank
from ..data.compose.composer import Composer
from ..data.compose.composition import Composition, Event
from ..data.compose.config import ComposerConfig
from ..pipeline import DreamAudio
from ..rendering.placing import cut_part
from ..scene.reference import Reference
from ..scene.timeline import Placement

CANDIDATES = 16
SHIFT_SECONDS = 0.16
CANDIDATE_SECONDS = (0.3, 5.0)
# Loudest band (natural logarithm) of a frame that counts as silent in a target, and of one that is
# audible there in the output.
SILENT, AUDIBLE = -8.0, -4.0
UNASKED_SECONDS = 0.3
# Log-mel L1 above which two renderings of an event count as different.
DIFFERENT = 0.3

MODES = {
    "target": "the target itself: what a perfect model would reach",
    "true": "references at their true times",
    "arranger": "references where the arranger puts them",
    "levels": "the same with each reference at the level that it has in the target",
    "free": "references placed by the network",
    "none": "no references",
}
SETS = {
    "concatenation": ComposerConfig.concatenation(),
    "overlay": ComposerConfig.overlay(),
}
# Single events, asked for by their caption alone.
SINGLE = ComposerConfig(
    short_probability=1.0,
    kinds={"sequence": 1.0},
    counts=(1.0,),
    distractor=0.0,
    long_reference=0.0,
    speech=0.0,
    adverb=0.0,
    unreferenced=0.0,
)


# An event, and the waveforms that it is compared with, its own first.
Scored = tuple[Event, list[Tensor]]


def aligned_distance(piece: Tensor, candidate: Tensor, shift: int, floor: float) -> float:
    """Mean absolute log-mel difference at the best shift of up to `shift` frames either way.

    Parameters
    ----------
    piece, candidate
        [frames, bands]; the candidate is padded with silence.
    shift
        Frames; every second shift is tried.
    floor
        Log-mel value of silence.
    """
    frames = len(piece)
    longer = max(0, frames - len(candidate))
    padded = F.pad(candidate, (0, 0, shift, longer + shift), value=floor)
    # Every second shift is fine enough to find the best one, and twice as fast.
    windows = padded.unfold(0, frames, step=2)[: shift + 1].transpose(1, 2)
    return float((windows - piece).abs().mean(dim=(1, 2)).min())


def measured_events(item: Composition) -> list[Event]:
    """The events that are scored: asked for, and not the base of a mix."""
    return [e for e in item.events if e.asked and e.placements and not e.background]


class Matcher:
    """Compares generated log-mels with the sounds of a bank.

    Parameters
    ----------
    bank
        Sounds of events.
    split
        Candidates come from this split.
    log_mel
        Front-end of the model.
    """

    def __init__(self, bank: Bank, split: str, log_mel: LogMel):
        self.bank, self.log_mel, audio = bank, log_mel, log_mel.config
        self.rate, self.frame_rate = audio.sample_rate, audio.sample_rate / audio.hop_length
        self.floor = float(np.log(audio.floor))
        shortest, longest = CANDIDATE_SECONDS
        self.pool = [
            i
            for i, e in enumerate(bank.entries)
            if e.split == split and shortest <= e.seconds <= longest
        ]

    def candidates(self, event: Event, rng: np.random.Generator) -> list[Tensor]:
        """Waveforms of the event's first occurrence and of `CANDIDATES` - 1 sounds of other labels,
        at its gain.
        """
        place = event.placements[0]
        sounds, taken = [cut_part(event.reference, place, self.rate)], {event.label}
        while len(sounds) < CANDIDATES:
            entry = self.pool[int(rng.integers(len(self.pool)))]
            label = self.bank.entries[entry].label
            if label in taken:
                continue
            taken.add(label)
            sound = self.bank.waveform(entry)
            # At the event's own level, so that no candidate loses for being louder or softer.
            part = Placement(0.0, min(place.duration, len(sound) / self.rate), place.gain)
            sounds.append(cut_part(sound, part, self.rate))
        return sounds

    def events(self, item: Composition, seed: tuple[int, int]) -> Iterator[Scored]:
        """The events that are scored, each with its candidates, which `seed` decides."""
        rng = np.random.default_rng((*seed, 1))
        for event in measured_events(item):
            yield event, self.candidates(event, rng)

    def matches(
        self, mel: Tensor, item: Composition, event: Event, sounds: list[Tensor]
    ) -> tuple[bool, bool]:
        """Whether the event is the nearest of its candidates alone, and in the mix; `mel` is
        [frames, bands].
        """
        place = event.placements[0]
        begin = round(place.start * self.frame_rate)
        piece = mel[begin : begin + max(8, round(place.duration * self.frame_rate))]
        shift = round(SHIFT_SECONDS * self.frame_rate)
        first = round(place.start * self.rate)
        assert item.target is not None
        stretch = item.target[first : first + len(sounds[0])]
        # What else sounds there is in the output too, whichever candidate is right.
        rest = stretch - sounds[0][: len(stretch)]

        def distance(waveform: Tensor) -> float:
            candidate = self.log_mel(waveform[None])[0, 0]
            return aligned_distance(piece, candidate, shift, self.floor)

        alone, mixed = [], []
        for sound in sounds:
            whole = rest.clone()
            whole[: len(sound)] += sound[: len(whole)]
            alone.append(distance(sound))
            mixed.append(distance(whole))
        return int(np.argmin(alone)) == 0, int(np.argmin(mixed)) == 0

    def event_distance(self, mel: Tensor, target: Tensor, event: Event) -> float:
        """Mean absolute difference of two log-mels [frames, bands] while an event first sounds."""
        place = event.placements[0]
        first, last = place.start, place.start + place.duration
        span = slice(round(first * self.frame_rate), round(last * self.frame_rate))
        return float((mel[span] - target[span]).abs().mean())

    def is_unasked(self, mel: Tensor, target: Tensor) -> bool:
        """Whether a log-mel [frames, bands] sounds for 0.3 s or more where the target is silent."""
        extra = (target.amax(1) < SILENT) & (mel.amax(1) > AUDIBLE)
        return int(extra.sum()) >= UNASKED_SECONDS * self.frame_rate


def references_of(item: Composition, mode: str, most: int) -> list[Reference]:
    """References of an item in a mode, at most `most`."""
    if mode == "none":
        return []
    return [
        Reference(
            event.reference,
            event.reference_caption,
            placements=event.placements if mode == "true" else None,
            # No prompt tells the level of an event, so that only its reference can.
            gain=event.placements[0].gain if mode == "levels" and event.placements else 0.0,
        )
        for event in item.references
    ][:most]


def generate_mels(
    model: DreamAudio, item: Composition, mode: str, seeds: list[int], settings: SamplingConfig
) -> Tensor:
    """Log-mels [seeds, 1, frames, bands] of an item in any mode but `target`."""
    references = references_of(item, mode, model.max_references)
    conditioning = model.condition(item.prompt, references)
    arrangement = model.arrange(conditioning, item.seconds, free=mode == "free")
    return model.decode(model.sample(conditioning, arrangement, seeds, settings))


@dataclass
class Votes:
    """Votes over events (`unasked`: over items), on the mel and after the vocoder, and the log-mel
    L1 between output and target in the events.
    """

    alone: list[bool] = field(default_factory=list)
    mix: list[bool] = field(default_factory=list)
    waveform_alone: list[bool] = field(default_factory=list)
    waveform_mix: list[bool] = field(default_factory=list)
    unasked: list[bool] = field(default_factory=list)
    event_log_mel_l1: list[float] = field(default_factory=list)
    waveform_event_log_mel_l1: list[float] = field(default_factory=list)

    def __add__(self, other: "Votes") -> "Votes":
        names = [f.name for f in fields(self)]
        return Votes(*(getattr(self, name) + getattr(other, name) for name in names))

    def summary(self) -> dict[str, float]:
        """Shares, and the numbers of events behind them."""
        shares = {name: share(votes) for name, votes in vars(self).items() if votes}
        return {
            "events": len(self.alone),
            **shares,
            "events_on_waveform": len(self.waveform_alone),
        }


def share(votes: Sequence[float]) -> float:
    """Mean of votes."""
    return float(np.mean(votes)) if votes else float("nan")


@torch.inference_mode()
def customization(
    model: DreamAudio,
    matcher: Matcher,
    composer: Composer,
    items: Iterable[int],
    seed: int,
    mode: str,
    settings: SamplingConfig,
    waveforms: int = 0,
) -> Votes:
    """Votes over the items of a composer.

    Parameters
    ----------
    items
        Numbers of the items.
    seed
        Seed of the items; the noise of an item is seeded by its number.
    mode
        One of `MODES`.
    waveforms
        Items with a number below this are scored after the vocoder, too.
    """
    votes = Votes()
    for index in items:
        item = composer.item(seed, index)
        assert item.target is not None
        target = matcher.log_mel(item.target[None])
        mel = target if mode == "target" else generate_mels(model, item, mode, [index], settings)
        votes.unasked.append(matcher.is_unasked(mel[0, 0], target[0, 0]))
        vocoded = None
        if index < waveforms and mode != "target":
            vocoded = matcher.log_mel(model.vocode(mel, item.seconds)[:, 0])[0, 0]
        for event, sounds in matcher.events(item, (seed, index)):
            alone, mixed = matcher.matches(mel[0, 0], item, event, sounds)
            votes.alone.append(alone)
            votes.mix.append(mixed)
            votes.event_log_mel_l1.append(matcher.event_distance(mel[0, 0], target[0, 0], event))
            if vocoded is not None:
                distance = matcher.event_distance(vocoded, target[0, 0], event)
                votes.waveform_event_log_mel_l1.append(distance)
                alone, mixed = matcher.matches(vocoded, item, event, sounds)
                votes.waveform_alone.append(alone)
                votes.waveform_mix.append(mixed)
    return votes


@torch.inference_mode()
def text_only(
    model: DreamAudio,
    matcher: Matcher,
    composer: Composer,
    items: int,
    seed: int,
    settings: SamplingConfig,
) -> dict[str, float]:
    """Share of single events, asked for by their caption alone, that are nearest to a sound of
    their own label.
    """
    votes = []
    for index in range(items):
        item = composer.item(seed, index)
        mel = generate_mels(model, item, "none", [index], settings)[0, 0]
        for event, sounds in matcher.events(item, (seed, index)):
            votes.append(matcher.matches(mel, item, event, sounds)[0])
    return {"items": items, "events": len(votes), "share": share(votes)}


@torch.inference_mode()
def variation(
    model: DreamAudio,
    matcher: Matcher,
    composer: Composer,
    items: int,
    seed: int,
    settings: SamplingConfig,
) -> dict[str, float]:
    """How two seeds differ, with the references at their true times.

    Returns
    -------
    dict[str, float]
        Log-mel L1 between them over everything (with the silence, where they agree) and in the
        events, the share of events that differ by more than 0.3, and the share that is recognised
        in both.
    """
    differences, inside, votes = [], [], []
    for index in range(items):
        item = composer.item(seed, index)
        a, b = generate_mels(model, item, "true", [2 * index, 2 * index + 1], settings)[:, 0]
        differences.append(float((a - b).abs().mean()))
        for event, sounds in matcher.events(item, (seed, index)):
            inside.append(matcher.event_distance(a, b, event))
            votes.append(all(matcher.matches(mel, item, event, sounds)[1] for mel in (a, b)))
    return {
        "items": items,
        "log_mel_l1": float(np.mean(differences)),
        "log_mel_l1_in_events": float(np.mean(inside)),
        f"events_over_{DIFFERENT}": share([d > DIFFERENT for d in inside]),
        "both_recognised": share(votes),
    }
