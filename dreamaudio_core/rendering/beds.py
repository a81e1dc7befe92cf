"""Beds: a sound repeated with cross-fades to fill a stretch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..audio.trim import HOP_SECONDS

# Longest cross-fade; short sounds are joined over a quarter of their length.
CROSSFADE_SECONDS = 0.5
# The steady part of a sound is what stays within this of its median level, in dB.
STEADY = 6.0
LEVEL_SECONDS = 0.1


def fill(waveform: Tensor, length: int, sample_rate: int) -> Tensor:
    """Continue a sound [..., T] to `length` samples.

    The sound begins as it does, then its steady part is repeated, joined by cross-fades of equal
    power (for sounds that resemble themselves, such as a siren's tone, of equal amplitude, by their
    correlation), so that no join is louder or softer than the rest. A sound that is long enough is
    cut.
    """
    if waveform.shape[-1] >= length:
        return waveform[..., :length]
    begin, end = steady_part(waveform, sample_rate)
    loop = waveform[..., begin:end]
    fade = min(round(CROSSFADE_SECONDS * sample_rate), (end - begin) // 4)
    out = waveform.new_zeros(*waveform.shape[:-1], length + loop.shape[-1])
    out[..., :end] = waveform[..., :end]
    filled = end
    while filled < length:
        join = filled - fade
        out[..., join:filled] = crossfade(out[..., join:filled], loop[..., :fade])
        out[..., filled : filled + loop.shape[-1] - fade] = loop[..., fade:]
        filled += loop.shape[-1] - fade
    return out[..., :length]


def crossfade(old: Tensor, new: Tensor) -> Tensor:
    """From `old` to `new`, both [..., n], with constant power whatever their correlation."""
    count = old.shape[-1]
    if count == 0:
        return old
    rise = (torch.arange(count, dtype=old.dtype, device=old.device) + 0.5) / count
    down, up = torch.cos(0.5 * math.pi * rise), torch.sin(0.5 * math.pi * rise)
    power = (old.square().sum() * new.square().sum()).sqrt().clamp(min=1e-20)
    correlation = float(((old * new).sum() / power).clamp(-0.9, 1.0))
    return (old * down + new * up) / (1.0 + 2.0 * correlation * down * up).sqrt()


def steady_part(waveform: Tensor, sample_rate: int) -> tuple[int, int]:
    """First sample and the sample after the last of the longest stretch near the median level; the
    whole sound where there is none of at least half of its length.
    """
    total = waveform.shape[-1]
    hop = max(1, round(HOP_SECONDS * sample_rate))
    width = max(1, round(LEVEL_SECONDS / HOP_SECONDS))
    power = waveform.reshape(-1, total).square().mean(0)
    power = power[: total // hop * hop].unflatten(0, (-1, hop)).mean(-1)
    if len(power) < 2 * width:
        return 0, total
    level = 10.0 * (power.unfold(0, width, 1).mean(-1) + 1e-20).log10()
    steady = (level - level.median()).abs() <= STEADY
    edges = torch.diff(steady.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero()[:, 0]
    first, last = max(edges.reshape(-1, 2).tolist(), key=lambda pair: pair[1] - pair[0])
    begin, end = first * hop, min(total, (last + width) * hop)
    return (begin, end) if end - begin >= total // 2 else (0, total)


def fade(waveform: Tensor, samples_in: int, samples_out: int) -> Tensor:
    """Fade the beginning and the end of a sound [..., T] with raised-cosine ramps."""
    waveform = waveform.clone()
    total = waveform.shape[-1]
    for samples, at_end in ((min(samples_in, total), False), (min(samples_out, total), True)):
        if samples > 0:
            rise = (torch.arange(samples, dtype=waveform.dtype) + 0.5) / samples
            ramp = (0.5 - 0.5 * torch.cos(math.pi * rise)).to(waveform.device)
            if at_end:
                waveform[..., total - samples :] *= ramp.flip(0)
            else:
                waveform[..., :samples] *= ramp
    return waveform
