"""Sounds of a composition: cut, looped and mixed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Sequence

import torch
from torch import Tensor

from ...audio.edit import fade_edges, loudest_stretch
from ...rendering.placing import FADE_SECONDS, cut_part
from .composition import Event

PEAK = 0.5
CROSSFADE_SECONDS = 0.05


def to_peak(waveform: Tensor) -> Tensor:
    """The waveform with a peak of 0.5."""
    return waveform * (PEAK / max(float(waveform.abs().max()), 1e-6))


def rms_db(waveform: Tensor) -> float:
    """Mean level in dB."""
    return 10 * math.log10(max(float(waveform.double().square().mean()), 1e-10))


def faded(waveform: Tensor, rate: int) -> Tensor:
    """The waveform with short ramps at its edges."""
    return fade_edges(waveform, min(round(FADE_SECONDS * rate), len(waveform) // 2))


def loudest(waveform: Tensor, seconds: float, rate: int) -> Tensor:
    """The loudest stretch of at most `seconds`."""
    length = round(seconds * rate)
    if len(waveform) <= length:
        return waveform
    begin = loudest_stretch(waveform, length)
    return faded(waveform[begin : begin + length], rate)


def looped(waveform: Tensor, seconds: float, rate: int) -> Tensor:
    """The waveform repeated with cross-fades until at least `seconds` long."""
    ramp = torch.linspace(0, 1, round(CROSSFADE_SECONDS * rate))
    out = waveform
    while len(out) < round(seconds * rate):
        joint = out[-len(ramp) :] * ramp.flip(0) + waveform[: len(ramp)] * ramp
        out = torch.cat((out[: -len(ramp)], joint, waveform[len(ramp) :]))
    return out


def mix(events: Sequence[Event], seconds: float, rate: int) -> tuple[Tensor, list[Event]]:
    """Target waveform [T] with a peak of 0.5, and the events with the gains that brought it there.

    Mixed first and scaled as a whole, so that signal-to-noise ratios are kept.
    """
    target = torch.zeros(round(seconds * rate))
    for event in events:
        for place in event.placements:
            begin = round(place.start * rate)
            sound = cut_part(event.reference, place, rate)[: len(target) - begin]
            target[begin : begin + len(sound)] += sound
    scale = PEAK / max(float(target.abs().max()), 1e-6)
    gain = 20 * math.log10(scale)
    scaled = [
        replace(e, placements=tuple(replace(p, gain=p.gain + gain) for p in e.placements))
        for e in events
    ]
    return target * scale, scaled
