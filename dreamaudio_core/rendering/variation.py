"""Variations of a recorded sound: small seeded changes of pitch, length, level and timbre."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..audio.resample import resample

# Largest changes, at a variation of 1: pitch in semitones, length as a share, level in dB, and the
# filter's gain in dB at each of its points.
PITCH = 1.0
STRETCH = 0.05
LEVEL = 0.8
FILTER = 5.0
FILTER_POINTS = 16
DRAWS = 3 + FILTER_POINTS
# The filter's points lie evenly on the mel scale up to here, so that any two filters differ about
# equally to the ear; above it the last one holds.
HIGHEST_HZ = 8000.0
# Overlap-add of the time stretch.
GRAIN_SECONDS = 0.04
SEARCH_SECONDS = 0.01


def draws(seed: int, offset: Tensor) -> Tensor:
    """Numbers [DRAWS] in [-1, 1) for a seed.

    Consecutive seeds are spread evenly, where independent numbers would make two of ten takes
    nearly alike by chance: the first three by an additive recurrence, the filter's points by rows
    of a Hadamard matrix, any two of which differ in half of their signs.

    Parameters
    ----------
    offset
        Where the sequence begins, [DRAWS] in [0, 1).
    """
    steps = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64).sqrt() % 1.0
    free = 2.0 * ((offset[:3].double() + (seed % 2**40) * steps) % 1.0) - 1.0
    rows = _hadamard(FILTER_POINTS)[1:]
    row = rows[(seed + int(float(offset[3]) * len(rows))) % len(rows)]
    strength = 0.8 + 0.2 * torch.rand(
        FILTER_POINTS, generator=torch.Generator().manual_seed(seed % 2**63)
    )
    return torch.cat((free.float(), row * strength))


def _hadamard(size: int) -> Tensor:
    """Hadamard matrix [size, size] of a power of two, by Sylvester's construction."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix


def vary(waveform: Tensor, sample_rate: int, amount: float, drawn: Tensor) -> Tensor:
    """A variation of a sound.

    Parameters
    ----------
    waveform
        [channels, T]; all channels are changed alike.
    amount
        From 0 (the sound itself) over 0.5 (another take of the same thing) to 1 (a similar thing).
    drawn
        What to change it by, [DRAWS] in [-1, 1): pitch, length, level, and the filter's points.

    Returns
    -------
    Tensor
        [channels, T'], T' up to an eighth longer or shorter than T.
    """
    if amount <= 0.0:
        return waveform
    pitch, stretch, level = (drawn[:3] * amount).tolist()
    points = drawn[3:] * amount * FILTER
    before = waveform.square().mean().sqrt()
    out = _repitch(waveform, sample_rate, pitch * PITCH)
    out = _stretch(out, sample_rate, 1.0 + stretch * STRETCH)
    out = _filter(out, sample_rate, points - points.mean())
    # Levels are compared over the sound's length, so a longer take is no louder one.
    after = out.square().mean().sqrt().clamp(min=1e-12)
    return out * (before / after) * 10.0 ** (level * LEVEL / 20.0)


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
    """Gains in dB at points spread over the mel scale, interpolated between them."""
    total = waveform.shape[-1]
    size = 2 ** math.ceil(math.log2(max(total, 2)) + 0.2)
    frequency = torch.fft.rfftfreq(size, 1.0 / sample_rate).clamp(max=HIGHEST_HZ)
    mel = (1.0 + frequency / 700.0).log() / math.log(1.0 + HIGHEST_HZ / 700.0)
    place = mel * (len(points) - 1)
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
