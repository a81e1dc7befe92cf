"""What a waveform has to be, wherever it comes from."""

from __future__ import annotations

import math

import torch

from ..errors import AudioError

SILENT_PEAK = 1e-4
"""Sounds whose peak stays below this (-80 dB of full scale) count as silent."""
RATES = (1_000, 768_000)
MAX_CHANNELS = 64


def check_rate(rate: int, label: str) -> int:
    low, high = RATES
    if isinstance(rate, bool) or int(rate) != rate or not low <= rate <= high:
        raise AudioError(
            f"{label}: sample rate {rate} Hz; expected a whole number from {low} to {high}"
        )
    return int(rate)


def check_audible(waveform: torch.Tensor, label: str) -> None:
    if waveform.abs().max() < SILENT_PEAK:
        raise AudioError(
            f"{label} is silent: choose a sound whose peak lies above "
            f"{20 * math.log10(SILENT_PEAK):.0f} dB"
        )


def check_waveform(
    waveform: torch.Tensor, sample_rate: int, *, label: str = "audio"
) -> torch.Tensor:
    """Check a waveform that comes from outside.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [T] or [channels, T], full scale at 1.
    sample_rate : int
        Rate in Hz, 1 kHz to 768 kHz.
    label : str
        How error messages call this sound.

    Returns
    -------
    torch.Tensor
        The same samples as [channels, T], float32.

    Raises
    ------
    AudioError
        If the type, shape or rate is wrong, or the samples are missing, not finite or silent.
    """
    check_rate(sample_rate, label)
    if not isinstance(waveform, torch.Tensor) or not waveform.is_floating_point():
        found = waveform.dtype if isinstance(waveform, torch.Tensor) else type(waveform).__name__
        raise AudioError(
            f"{label}: expected a floating-point tensor with samples in [-1, 1], found {found}"
        )
    if waveform.dim() not in (1, 2) or (waveform.dim() == 2 and waveform.shape[0] > MAX_CHANNELS):
        raise AudioError(
            f"{label}: expected shape [samples] or [channels, samples] with at most "
            f"{MAX_CHANNELS} channels, "
            f"found {list(waveform.shape)}"
        )
    if waveform.numel() == 0:
        raise AudioError(f"{label} holds no samples: choose another sound")
    waveform = waveform.reshape(-1, waveform.shape[-1]).float()
    if not torch.isfinite(waveform).all():
        raise AudioError(f"{label} holds NaN or infinite samples: repair the step that made it")
    check_audible(waveform, label)
    return waveform
