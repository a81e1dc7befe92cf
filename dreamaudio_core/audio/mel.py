"""Log-mel spectrograms: the front-end that VAE and vocoder share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..config import AudioConfig


def mel_filterbank(config: AudioConfig) -> torch.Tensor:
    """Triangular mel filters on Slaney's scale, each of unit area over frequency in Hz.

    The scale is linear (200/3 Hz a mel) up to 1 kHz and logarithmic above, 27 mels for a factor of
    6.4 (Slaney, Auditory Toolbox, 1998).

    Parameters
    ----------
    config : AudioConfig
        Rate, FFT size, number of bands and their range.

    Returns
    -------
    torch.Tensor
        Basis [n_mels, n_fft // 2 + 1], float32.
    """
    hz_per_mel, knee, log_step = 200 / 3, 1000.0, math.log(6.4) / 27

    def to_mel(hz: float) -> float:
        return hz / hz_per_mel if hz < knee else knee / hz_per_mel + math.log(hz / knee) / log_step

    mels = torch.linspace(
        to_mel(config.fmin), to_mel(config.fmax), config.n_mels + 2, dtype=torch.float64
    )
    edges = torch.where(
        mels < knee / hz_per_mel,
        mels * hz_per_mel,
        knee * torch.exp((mels - knee / hz_per_mel) * log_step),
    )
    bins = (
        torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * config.sample_rate / config.n_fft
    )
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(
        min=0
    )
    return (triangles * 2 / (high - low)).float()


def _hann(config: AudioConfig, dtype: torch.dtype) -> torch.Tensor:
    # Rounded from float64: a window computed in float32 leaks visibly at the level of the floor.
    return torch.hann_window(config.n_fft, dtype=torch.float64).to(dtype)


def magnitude_spectrogram(
    waveform: torch.Tensor, config: AudioConfig, window: torch.Tensor | None = None
) -> torch.Tensor:
    """Magnitude of the short-time Fourier transform.

    Each side is extended by (n_fft - hop) / 2 reflected samples, so that frame i is centred on hop
    i and a multiple of the hop gives exactly T / hop frames. Other lengths, and ones too short to
    reflect, are first extended by zeros.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [B, T], float32 or float64, T at least 1.
    config : AudioConfig
        FFT size (also the window's length) and hop.
    window : torch.Tensor, optional
        Analysis window [n_fft]; the periodic Hann window by default.

    Returns
    -------
    torch.Tensor
        Magnitudes [B, n_fft // 2 + 1, ceil(T / hop)] in the waveform's dtype (float32 or float64).
    """
    if window is None:
        window = _hann(config, waveform.dtype).to(waveform.device)
    hop, length = config.hop_length, waveform.shape[-1]
    frames = -(-length // hop)
    pad = config.n_fft - hop
    left, right = pad // 2, pad - pad // 2
    waveform = F.pad(waveform, (0, max(frames * hop, right + 1) - length))
    waveform = F.pad(waveform, (left, right), mode="reflect")
    spectrum = torch.stft(
        waveform, config.n_fft, hop, window=window.to(waveform), center=False, return_complex=True
    )
    return spectrum[..., :frames].abs()


class LogMel(torch.nn.Module):
    """Log-mel spectrogram of the VAE and the vocoder (paper, section IV-B), differentiable.

    The window and the mel basis are buffers that are not saved with the weights.

    Parameters
    ----------
    config : AudioConfig
        The front-end.
    device : torch.device, optional
        Where the buffers live.
    """

    basis: torch.Tensor
    window: torch.Tensor

    def __init__(self, config: AudioConfig, device: torch.device | str | None = None):
        super().__init__()
        self.config = config
        self.register_buffer("basis", mel_filterbank(config).to(device), persistent=False)
        self.register_buffer("window", _hann(config, torch.float32).to(device), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Analyse waveforms [B, T] as natural logarithms [B, 1, ceil(T / hop), n_mels], floored at
        ln(config.floor).
        """
        # The floor is subnormal in float16, so half precision is only the dtype of the result.
        exact = waveform.float() if waveform.dtype in (torch.float16, torch.bfloat16) else waveform
        mel = self.linear(exact).clamp(min=self.config.floor).log()
        return mel.transpose(-1, -2).unsqueeze(1).to(waveform.dtype)

    def linear(self, waveform: torch.Tensor) -> torch.Tensor:
        """Mel magnitudes [B, n_mels, ceil(T / hop)] of waveforms [B, T], before the logarithm."""
        window = self.window if self.window.dtype == waveform.dtype else None
        return self.basis.to(waveform) @ magnitude_spectrogram(waveform, self.config, window)


def log_mel(waveform: torch.Tensor, config: AudioConfig) -> torch.Tensor:
    """Log-mel spectrogram of waveforms; for repeated use keep a `LogMel`.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [B, T], full scale at 1.
    config : AudioConfig
        The front-end.

    Returns
    -------
    torch.Tensor
        ln(max(mel magnitude, floor)), [B, 1, ceil(T / hop), n_mels], in the waveform's dtype.
    """
    return LogMel(config, waveform.device)(waveform)


def silence_log_mel(frames: int, config: AudioConfig) -> torch.Tensor:
    """Log-mel spectrogram of digital silence: ln(config.floor) everywhere, [1, 1, frames, n_mels],
    float32.
    """
    return torch.full((1, 1, frames, config.n_mels), math.log(config.floor))
