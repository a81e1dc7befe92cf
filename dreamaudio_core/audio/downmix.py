"""Mono for the network: weights of the channels that lose none of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FFT = 1024
BANDS = 16
# Parts of the sound this far below its loudest do not count, in dB.
RANGE = 30.0
# Losses in dB up to which equal and unequal weights are taken: a little more than independent
# channels, or a single one of two, lose by themselves.
EQUAL_LOSS = 7.0
UNEQUAL_LOSS = 11.0
# Cells of so many frames: interference of independent channels evens out within them.
FRAMES = 8


def downmix_weights(waveform: Tensor) -> Tensor:
    """Weights [channels] whose sum over channels loses no loud part of [channels, T].

    The mean of the channels cancels what is inverted between them, wholly for a balanced pair, in
    part for wide recordings. So candidates (the mean, the mean with signs, unequal weights, single
    channels) are compared in cells of time and frequency: the loss of a candidate is how far its
    level falls below that of the loudest channel in its worst loud cell. The first candidate that
    loses no more than independent channels do is taken.
    """
    channels = len(waveform)
    if channels == 1:
        return torch.ones(1)
    power, cross = _cells(waveform)
    level = power.amax(0)
    loud = level >= level.max() * 10.0 ** (-RANGE / 10.0)
    # One sounding channel of n costs the mean 20 log n: that is no cancellation.
    spread = 20.0 * math.log10(channels / 2.0)
    losses = []
    candidates = _candidates(waveform)
    for weights, allowed in candidates:
        kept = torch.einsum("i,j,ijc->c", weights, weights, cross)[loud]
        ratio = kept / (level[loud] * weights.abs().sum() ** 2)
        worst = float(ratio.kthvalue(1 + len(ratio) // 100).values)
        losses.append(-10.0 * math.log10(max(worst, 1e-9)))
        if losses[-1] <= allowed + spread:
            return weights
    return candidates[min(range(len(losses)), key=losses.__getitem__)][0]


def downmix(waveform: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mono [T] of [channels, T] by `downmix_weights`."""
    weights = downmix_weights(waveform) if weights is None else weights
    return (weights.to(waveform)[:, None] * waveform).sum(0)


def _candidates(waveform: Tensor) -> list[tuple[Tensor, float]]:
    """Weights, each with the loss in dB up to which it is taken, the preferred first."""
    count = len(waveform)
    signs = _signs(waveform)
    mean = torch.full((count,), 1.0 / count)
    falling = torch.linspace(1.0, 0.4, count)
    falling = falling / falling.sum()
    equal = [(mean, EQUAL_LOSS), (mean * signs, EQUAL_LOSS)]
    unequal = [(w * s, UNEQUAL_LOSS) for s in (1.0, signs) for w in (falling, falling.flip(0))]
    return equal + unequal + [(single, 0.0) for single in torch.eye(count)]


def _signs(waveform: Tensor) -> Tensor:
    """Sign of each channel with which it adds to the louder ones."""
    signs = torch.ones(len(waveform))
    order = waveform.square().sum(-1).argsort(descending=True).tolist()
    total = waveform[order[0]].double()
    for i in order[1:]:
        channel = waveform[i].double()
        signs[i] = -1.0 if float(total @ channel) < 0.0 else 1.0
        total = total + float(signs[i]) * channel
    return signs


def _cells(waveform: Tensor) -> tuple[Tensor, Tensor]:
    """Power [channels, cells] and real cross power [channels, channels, cells] in cells of time and
    frequency.
    """
    size = min(FFT, waveform.shape[-1])
    waveform = torch.nn.functional.pad(waveform.float(), (0, -waveform.shape[-1] % size))
    frames = waveform.unfold(-1, size, size)
    spectrum = torch.fft.rfft(frames * torch.hann_window(size).to(frames))
    bins = spectrum.shape[-1]
    edges = torch.logspace(0, math.log10(bins), BANDS + 1).long().tolist()
    edges = sorted({0, *edges[1:-1], bins})
    cells = []
    for low, high in zip(edges, edges[1:]):
        part = spectrum[..., low:high]
        product = torch.einsum("itf,jtf->ijt", part, part.conj()).real
        product = torch.nn.functional.pad(product, (0, -product.shape[-1] % FRAMES))
        cells.append(product.unflatten(-1, (-1, FRAMES)).sum(-1))
    cross = torch.cat(cells, -1)
    return cross.diagonal(dim1=0, dim2=1).T, cross
