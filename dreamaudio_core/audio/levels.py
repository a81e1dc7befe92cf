"""Levels on the way out: true peak, headroom, loudness; nothing is ever cut off."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import AudioError, InputError
from .resample import resample

HEADROOM = 1.0
"""Distance of the true peak from full scale, in dB."""

OVERSAMPLING = 4
LEVELS = ("as is", "peak", "-16 LUFS", "-23 LUFS")
"""What Save offers."""

_CHUNK = 1 << 18


def check_output(waveform: Tensor, label: str = "audio") -> None:
    """Refuse what is no sound: integers, NaN, infinities.

    Raises
    ------
    AudioError
        Says which.
    """
    if not isinstance(waveform, Tensor) or not waveform.is_floating_point():
        found = waveform.dtype if isinstance(waveform, Tensor) else type(waveform).__name__
        raise AudioError(
            f"{label}: expected floating-point samples, full scale at 1, found {found}; divide "
            "integer samples by their full scale"
        )
    if not torch.isfinite(waveform).all():
        raise AudioError(f"{label} holds NaN or infinite samples: repair the step that made it")


def true_peak(waveform: Tensor, sample_rate: int) -> float:
    """Largest magnitude of [..., T] between the samples too (ITU-R BS.1770-4, annex 2), by 4 times
    oversampling; full scale at 1.
    """
    flat = waveform.detach().reshape(-1, waveform.shape[-1]).float()
    peak = float(flat.abs().max()) if flat.numel() else 0.0
    # Only stretches that come near the sample peak can hold a higher true peak.
    for chunk in flat.split(_CHUNK, dim=-1):
        if float(chunk.abs().max()) > 0.5 * peak:
            up = resample(chunk, sample_rate, sample_rate * OVERSAMPLING)
            peak = max(peak, float(up.abs().max()))
    return peak


def keep_headroom(
    waveform: Tensor, sample_rate: int, headroom: float = HEADROOM
) -> tuple[Tensor, float]:
    """Scale a sound [..., T] down as a whole until its true peak keeps `headroom` dB of full scale.

    Returns
    -------
    tuple
        The sound, and the gain in dB (0 where it had headroom already).
    """
    peak = true_peak(waveform, sample_rate)
    ceiling = 10.0 ** (-headroom / 20.0)
    if peak <= ceiling:
        return waveform, 0.0
    return waveform * (ceiling / peak), 20.0 * math.log10(ceiling / peak)


def loudness(waveform: Tensor, sample_rate: int) -> float:
    """Integrated loudness of [channels, T] in LUFS (ITU-R BS.1770-4), -inf for silence; a sound
    below 0.4 s is extended by silence.

    Raises
    ------
    InputError
        If pyloudnorm is not installed.
    """
    try:
        import pyloudnorm
    except ImportError as error:
        raise InputError(
            "loudness: needs pyloudnorm; install it with pip install pyloudnorm"
        ) from error
    samples = waveform.detach().cpu().double().reshape(-1, waveform.shape[-1])
    short = math.ceil(0.4 * sample_rate) - samples.shape[-1]
    samples = torch.nn.functional.pad(samples, (0, max(0, short)))
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(samples.T.numpy()))


def set_level(waveform: Tensor, sample_rate: int, level: str) -> tuple[Tensor, float]:
    """Bring a sound [channels, T] to a level.

    Parameters
    ----------
    level
        One of `LEVELS`: `as is` only keeps samples from being cut off (true peak up to full scale);
        `peak` puts the true peak at -1 dB; a loudness is reached unless the true peak would come
        above -1 dB.

    Returns
    -------
    tuple
        The sound, and the gain in dB.
    """
    if level not in LEVELS:
        raise InputError(f"level: expected one of {', '.join(LEVELS)}, found {level!r}")
    check_output(waveform)
    if level == "as is":
        return keep_headroom(waveform, sample_rate, 0.0)
    peak = true_peak(waveform, sample_rate)
    if peak == 0.0:
        return waveform, 0.0
    gain = -HEADROOM - 20.0 * math.log10(peak)
    if level != "peak":
        target = float(level.split()[0])
        measured = loudness(waveform, sample_rate)
        gain = min(gain, target - measured) if math.isfinite(measured) else 0.0
    return waveform * 10.0 ** (gain / 20.0), gain
