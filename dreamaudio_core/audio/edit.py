"""Cutting and levelling single sounds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_THRESHOLD_DB = -50.0
_MARGIN = 0.01


def trim_silence(waveform: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Cut leading and trailing silence: what is more than 10 ms from any sample above -50 dB of the
    peak.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [T].
    sample_rate : int
        Rate in Hz.

    Returns
    -------
    torch.Tensor
        A view of the waveform, never empty; all of it where nothing is above zero.
    """
    level = waveform.abs()
    peak = level.max()
    if peak == 0:
        return waveform
    loud = (level >= peak * 10 ** (_THRESHOLD_DB / 20)).nonzero()
    keep = round(_MARGIN * sample_rate)
    return waveform[max(0, int(loud[0]) - keep) : int(loud[-1]) + 1 + keep]


def loudest_stretch(waveform: torch.Tensor, length: int) -> int:
    """Find the window with the most energy.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [T].
    length : int
        Samples of the window.

    Returns
    -------
    int
        Index of the window's first sample, the earliest of equals; 0 where the waveform is no
        longer than the window.
    """
    if length >= waveform.shape[-1]:
        return 0
    total = F.pad(waveform.detach().cpu().double().square().cumsum(0), (1, 0))
    return int((total[length:] - total[:-length]).argmax())


def normalize_reference(waveform: torch.Tensor) -> torch.Tensor:
    """Remove the mean of samples [..., T] and scale their peak to 0.5; all-constant samples become
    zeros.
    """
    # In double precision the sum does not depend on how many threads share it, so prepared sounds
    # are the same everywhere.
    waveform = waveform - waveform.mean(dim=-1, keepdim=True, dtype=torch.float64).to(
        waveform.dtype
    )
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(
        peak < 1e-7, torch.zeros_like(waveform), 0.5 * waveform / peak.clamp(min=1e-7)
    )


def fade_edges(waveform: torch.Tensor, samples: int) -> torch.Tensor:
    """Fade the edges of a cut with raised-cosine ramps.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [..., T].
    samples : int
        Length of each ramp, at most half of T.

    Returns
    -------
    torch.Tensor
        A faded copy [..., T].
    """
    length = waveform.shape[-1]
    samples = max(0, min(samples, length // 2))
    position = (torch.arange(samples, dtype=waveform.dtype, device=waveform.device) + 0.5) / max(
        samples, 1
    )
    ramp = 0.5 - 0.5 * torch.cos(math.pi * position)
    return waveform * torch.cat((ramp, ramp.new_ones(length - 2 * samples), ramp.flip(0)))
