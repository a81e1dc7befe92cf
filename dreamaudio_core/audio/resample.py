"""Changing the sample rate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F

from .checks import check_audible, check_rate, check_waveform

BLOCK = 1 << 18
_KAISER_BETA = 8.6
_SINC_LOBES = 64
_ROLLOFF = 0.96
_MAX_RATIO_TERM = 2560


def resample(waveform: torch.Tensor, orig: int, new: int) -> torch.Tensor:
    """Change the sample rate with a linear-phase polyphase filter (Kaiser-windowed sinc), without
    delay.

    The pass band reaches 92 % of the lower Nyquist frequency; what lies above it is attenuated by
    more than 80 dB. All usual rates from 8 to 192 kHz convert exactly. A pair whose reduced ratio
    has a term above 2560 (44,101 Hz to 16 kHz, say) uses the nearest ratio that has none, which
    changes speed and pitch by less than 0.04 %, mostly far less. Work is done chunk by chunk.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [..., T].
    orig, new : int
        Rates in Hz of the input and of the result.

    Returns
    -------
    torch.Tensor
        Samples [..., ceil(T * new / orig)] of the same dtype and device.

    Raises
    ------
    AudioError
        If a rate is not a whole number from 1 kHz to 768 kHz.
    """
    orig, new = check_rate(orig, "resample"), check_rate(new, "resample")
    if orig == new or waveform.numel() == 0:
        length = -(-waveform.shape[-1] * new // orig)
        return waveform if orig == new else waveform.new_zeros(*waveform.shape[:-1], length)
    flat = waveform.reshape(-1, waveform.shape[-1])
    chunks = flat.split(max(4096, BLOCK // flat.shape[0]), dim=-1)
    return torch.cat(list(resample_blocks(chunks, orig, new)), dim=-1).reshape(
        *waveform.shape[:-1], -1
    )


def resample_blocks(chunks: Iterable[torch.Tensor], orig: int, new: int) -> Iterator[torch.Tensor]:
    """Resample consecutive chunks [..., T_i] of one signal, yielding the consecutive pieces of the
    result.
    """
    if orig == new:
        yield from chunks
        return
    up, down = _ratio(orig, new)
    chunks = iter(chunks)
    first = next(chunks, None)
    if first is None:
        return
    kernel, half = _sinc_bank(up, down, first)
    buffer = first.new_zeros(*first.shape[:-1], half)
    taken = given = 0
    for chunk in itertools.chain((first,), chunks):
        taken += chunk.shape[-1]
        buffer = torch.cat((buffer, chunk), dim=-1)
        blocks = (buffer.shape[-1] - len(kernel)) // down + 1
        if blocks > 0:
            yield _filter(buffer, kernel, down, blocks)
            given += blocks * up
            buffer = buffer[..., blocks * down :]
    rest = -(-taken * new // orig) - given
    if rest > 0:
        blocks = -(-rest // up)
        buffer = F.pad(buffer, (0, max(0, (blocks - 1) * down + len(kernel) - buffer.shape[-1])))
        yield _filter(buffer, kernel, down, blocks)[..., :rest]


def _filter(buffer: torch.Tensor, kernel: torch.Tensor, down: int, blocks: int) -> torch.Tensor:
    """Apply a filter bank [width, up] at every `down` samples: [..., blocks * up]."""
    windows = buffer[..., : (blocks - 1) * down + len(kernel)].unfold(-1, len(kernel), down)
    return (windows @ kernel).flatten(-2)


def _ratio(orig: int, new: int) -> tuple[int, int]:
    """Samples out and samples in of one period of the polyphase filter."""
    # Limiting the larger term bounds both sides of the filter bank.
    if new >= orig:
        inverse = Fraction(orig, new).limit_denominator(_MAX_RATIO_TERM)
        up, down = inverse.denominator, inverse.numerator
    else:
        ratio = Fraction(new, orig).limit_denominator(_MAX_RATIO_TERM)
        up, down = ratio.numerator, ratio.denominator
    # Several periods a block turn a thin matrix product into an efficient one.
    periods = -(-32 // up)
    return up * periods, down * periods


def _sinc_bank(up: int, down: int, like: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Filter bank [down + 2 half + 1, up] for signals like `like`, and the input samples `half`
    that it looks back.
    """
    cutoff = _ROLLOFF * min(1.0, up / down)
    half = math.ceil(_SINC_LOBES / cutoff)
    numerators = torch.arange(up) * down
    first, phase = numerators // up, (numerators % up).double() / up
    row = torch.arange(2 * half + 1)[:, None]
    offset = row - half - phase
    window = torch.i0(_KAISER_BETA * (1 - (offset / half) ** 2).clamp(min=0).sqrt())
    taps = torch.where(offset.abs() <= half, torch.sinc(cutoff * offset) * window, 0.0)
    taps = (taps / taps.sum(dim=0)).to(like.dtype)
    bank = taps.new_zeros(down + 2 * half + 1, up)
    return bank.scatter_(0, row + first, taps).to(like.device), half


def to_mono(
    waveform: torch.Tensor, sample_rate: int, target_rate: int = 16_000, *, label: str = "audio"
) -> torch.Tensor:
    """Check a waveform, mix it to mono and resample it.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [T] or [channels, T].
    sample_rate, target_rate : int
        Rates in Hz of the input and of the result.
    label : str
        How error messages call this sound.

    Returns
    -------
    torch.Tensor
        Waveform [ceil(T * target_rate / sample_rate)], float32, on the input's device.

    Raises
    ------
    AudioError
        As `check_waveform`, and if nothing audible remains in the mono mix.
    """
    mono = resample(
        check_waveform(waveform, sample_rate, label=label).mean(dim=0), sample_rate, target_rate
    )
    check_audible(mono, label)
    return mono
