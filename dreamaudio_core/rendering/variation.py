"""Variations of a recorded sound: small seeded changes of pitch, length, level and timbre."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ..audio import resample

# Largest changes, at a variation of 1: pitch in semitones, length as a share, level in dB, and the
# filter's gain in dB at each of its points.
PITCH = 2.0
STRETCH = 0.12
LEVEL = 0.8
FILTER = 6.0
FILTER_POINTS = 8
LOWEST_HZ = 60.0
# Overlap-add of the time stretch.
GRAIN_SECONDS = 0.04
SEARCH_SECONDS = 0.01


def vary(waveform: Tensor, sample_rate: int, amount: float, generator: Generator) -> Tensor:
    """A variation of a sound.

    Parameters
    ----------
    waveform
        [channels, T]; all channels are changed alike.
    amount
        From 0 (the sound itself) to 1 (another take of the same thing).
    generator
        Where the changes are drawn from.

    Returns
    -------
    Tensor
        [channels, T'], T' up to a quarter longer or shorter than T.
    """
    if amount <= 0.0:
        return waveform
    # Drawn from both halves away from zero, so that no two takes are nearly alike by chance.
    draws = 2.0 * torch.rand(3, generator=generator) - 1.0
    pitch, stretch, level = (
        amount * (0.35 * x.sign() + 0.65 * x) * limit
        for x, limit in zip(draws, (PITCH, STRETCH, LEVEL))
    )
    points = amount * FILTER * (2.0 * torch.rand(FILTER_POINTS, generator=generator) - 1.0)
    before = waveform.square().mean().sqrt()
    out = _repitch(waveform, sample_rate, float(pitch))
    out = _stretch(out, sample_rate, 1.0 + float(stretch))
    out = _filter(out, sample_rate, points - points.mean())
    # Levels are compared over the sound's length, so a longer take is no louder one.
    after = out.square().mean().sqrt().clamp(min=1e-12)
    return out * (before / after) * 10.0 ** (float(level) / 20.0)


def _repitch(waveform: Tensor, sample_rate: int, semitones: float) -> Tensor:
    """Higher and shorter, or lower and longer."""
    # 10 Hz steps keep the resampler's filter small.
    new = round(sample_rate * 2.0 ** (-semitones / 12.0) / 10.0) * 10
    base = round(sample_rate / 10.0) * 10
    return resample(waveform, base, new)


def _stretch(waveform: Tensor, sample_rate: int, factor: float) -> Tensor:
    """Longer by `factor` at the same pitch: overlap-add of grains that are moved to where they
    continue the last one best (WSOLA, Verhelst and Roelands 1993).
    """
    grain = 2 * round(GRAIN_SECONDS * sample_rate / 2)
    search, hop = round(SEARCH_SECONDS * sample_rate), grain // 2
    total = waveform.shape[-1]
    if total < 2 * grain:
        return waveform
    window = torch.hann_window(grain, dtype=waveform.dtype)
    length = round(total * factor)
    count = -(-length // hop)
    padded = torch.nn.functional.pad(waveform, (0, grain + search + 2 * hop))
    mono = padded.sum(0)
    out = waveform.new_zeros(len(waveform), (count + 2) * hop)
    # The first half grain is the sound's own, so that its attack stays.
    out[:, :hop] = padded[:, :hop] * (1.0 - window[:hop])
    at = 0
    for i in range(count):
        if i:
            natural, wanted = at + hop, min(round(i * hop / factor), total)
            low = max(0, wanted - search)
            region = mono[low : wanted + search + hop]
            target = mono[natural : natural + hop]
            at = low + _best_match(region, target)
        piece = padded[:, at : at + grain]
        out[:, i * hop : i * hop + grain] += (
            torch.nn.functional.pad(piece, (0, grain - piece.shape[-1])) * window
        )
    return out[:, :length]


def _best_match(region: Tensor, target: Tensor) -> int:
    """Offset at which `region` [n] resembles `target` [m] most, by normalised correlation."""
    if len(region) <= len(target):
        return 0
    size = 2 ** math.ceil(math.log2(len(region) + len(target)))
    spectrum = torch.fft.rfft(region, size) * torch.fft.rfft(target, size).conj()
    offsets = len(region) - len(target) + 1
    product = torch.fft.irfft(spectrum, size)[:offsets]
    energy = torch.nn.functional.pad(region.square().cumsum(0), (1, 0))
    energy = energy[len(target) :] - energy[: -len(target)]
    return int((product / (energy.clamp(min=0.0) + 1e-9).sqrt()).argmax())


def _filter(waveform: Tensor, sample_rate: int, points: Tensor) -> Tensor:
    """Gains in dB at points spread over the octaves, interpolated between them."""
    total = waveform.shape[-1]
    size = 2 ** math.ceil(math.log2(max(total, 2)) + 0.2)
    frequency = torch.fft.rfftfreq(size, 1.0 / sample_rate).clamp(min=LOWEST_HZ)
    octave = (frequency / LOWEST_HZ).log2()
    place = octave / octave[-1] * (len(points) - 1)
    left = place.floor().long().clamp(max=len(points) - 2)
    gain = points[left] + (place - left) * (points[left + 1] - points[left])
    # A zero-phase filter would ring before the attack; its minimum-phase form does not.
    spectrum = torch.fft.rfft(waveform, size) * _minimum_phase(gain * math.log(10.0) / 20.0, size)
    return torch.fft.irfft(spectrum, size)[..., :total].to(waveform.dtype)


def _minimum_phase(log_gain: Tensor, size: int) -> Tensor:
    """Transfer function with this logarithmic magnitude [size / 2 + 1] (by the cepstrum)."""
    cepstrum = torch.fft.irfft(log_gain.to(torch.complex64), size)
    fold = torch.zeros(size)
    fold[0], fold[size // 2], fold[1 : size // 2] = 1.0, 1.0, 2.0
    return torch.fft.rfft(cepstrum * fold, size).exp()
