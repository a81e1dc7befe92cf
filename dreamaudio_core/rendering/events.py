"""Events: the placements of a reference as waveforms, for the network and for the result alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from ..audio.downmix import downmix
from ..audio.edit import loudest_stretch
from ..scene.reference import Original, Reference
from ..scene.timeline import Placement, Placements
from .beds import fade, fill
from .variation import DRAWS, draws, vary

# Ramps where a sound is cut.
CUT_SECONDS = 0.005
BED_END_SECONDS = 0.05


@dataclass(frozen=True, eq=False)
class Event:
    """One placement of a reference, rendered.

    Parameters
    ----------
    start
        Seconds from the beginning of the target.
    waveform
        [channels, T] at the original's rate and level, with gains and fades.
    original
        What it was made of.
    pan, pan_end
        From -1 (left) to 1 (right), at its start and at its end.
    """

    start: float
    waveform: Tensor
    original: Original
    pan: float
    pan_end: float

    @property
    def seconds(self) -> float:
        """Length."""
        return self.waveform.shape[-1] / self.original.sample_rate

    def for_network(self, sample_rate: int) -> Tensor:
        """The network's mono waveform [t] of this event."""
        return self.original.to_network(self.waveform, sample_rate)


def render_events(
    reference: Reference, placements: Placements, variation: float = 0.0, seed: int = 0
) -> list[Event]:
    """Events of a reference in the order of its placements; none where it is not placed.

    Parameters
    ----------
    variation
        See `variation.vary`; each placement is varied for itself.
    seed
        The same seed gives the same variations.
    """
    return [
        _event(reference, place, variation, draws(seed, _offset(i, reference.waveform)))
        for i, place in enumerate(placements or ())
    ]


def cut_event(original: Original, placement: Placement) -> Tensor:
    """The stretch [channels, T] of a reference that a placement uses, with short ramps where it is
    cut; longer than the rest of the reference means a bed.
    """
    waveform, rate = original.waveform, original.sample_rate
    total, length = waveform.shape[-1], max(1, round(placement.duration * rate))
    # A duration in seconds of 16 kHz may round to a few samples more than the original has.
    if length <= total + rate // 1000:
        length = min(length, total)
    if placement.offset is not None:
        begin = min(round(placement.offset * rate), total - 1)
    elif length < total:
        begin = loudest_stretch(downmix(waveform, original.weights), length)
    else:
        begin = 0
    rest = waveform[:, begin:]
    ramp_in, ramp_out = round(CUT_SECONDS * rate) if begin > 0 else 0, 0
    if length < rest.shape[-1]:
        ramp_out = round(CUT_SECONDS * rate)
    elif length > rest.shape[-1]:
        ramp_out = round(BED_END_SECONDS * rate)
    part = fill(rest, length, rate)
    return fade(part, min(ramp_in, length // 2), min(ramp_out, length // 2))


def _event(reference: Reference, place: Placement, variation: float, drawn: Tensor) -> Event:
    original = reference.source
    rate = original.sample_rate
    part = cut_event(original, place)
    if variation > 0.0:
        part = vary(part, rate, variation, drawn)
    fade_in, fade_out = (
        round(max(own, of_all) * rate)
        for own, of_all in (
            (place.fade_in, reference.fade_in),
            (place.fade_out, reference.fade_out),
        )
    )
    part = fade(part, fade_in, fade_out)
    part = part * 10.0 ** ((place.gain + reference.gain) / 20.0)
    pan_end = place.pan if place.pan_end is None else place.pan_end
    pans = (min(1.0, max(-1.0, pan + reference.pan)) for pan in (place.pan, pan_end))
    return Event(place.start, part, original, *pans)


def _offset(index: int, waveform: Tensor) -> Tensor:
    """Where the variations of a reference's placement begin, so that no two go alike."""
    key = f"{index}/{len(waveform)}/{float(waveform.double().abs().sum()):.3f}"
    value = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return torch.rand(DRAWS, generator=torch.Generator().manual_seed(value % 2**63))


def network_mix(events: Sequence[Event], samples: int, sample_rate: int, origin: int = 0) -> Tensor:
    """Sum [samples] of events as the network gets them, each at its sample; `origin` is the first
    sample of the result on the target's time axis.
    """
    out = torch.zeros(samples)
    for event in events:
        part = event.for_network(sample_rate).to(out)
        begin = round(event.start * sample_rate) - origin
        part = part[max(0, -begin) : max(0, samples - begin)]
        out[max(0, begin) : max(0, begin) + len(part)] += part
    return out
