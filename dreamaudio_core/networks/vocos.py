"""Vocoder at frame rate: ConvNeXt blocks and an inverse short-time Fourier transform, after Vocos
(Siuzdak, ICLR 2024).

Two parts are added in the spectrum. The first is an excitation of fixed noise with the magnitudes
that the mel implies, which the network corrects band by band: it sees how far the mel of the
excitation lies from the one wanted. The second is predicted, magnitude and phase of every bin, on
carriers at the bins' own frequencies: clicks and tones, which noise cannot make. So an untrained
network already gives the right spectrum, and each frame costs the same whatever the sample rate.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audio.mel import mel_filterbank
from ..config import AudioConfig, VocosConfig
from .mel_vocoder import FLOOR, MelVocoder

NOISE_FRAMES = 1024
KERNEL = 7
# Frames on either side that an inverse transform, and a transform after it, depend on.
REACH = 16
TINY = 1e-9


class Spectra:
    """Transforms and constant tensors of one front-end on one device."""

    def __init__(self, config: VocosConfig, device: torch.device):
        self.n_fft, self.hop = config.n_fft, config.hop_length
        self.pad = (self.n_fft - self.hop) // 2
        rate = config.sampling_rate
        audio = AudioConfig(rate, self.n_fft, self.hop, config.num_mels, 0.0, rate / 2)
        basis = mel_filterbank(audio)
        weight = basis.sum(dim=0).clamp(min=1e-12)
        self.basis = basis.to(device)
        self.spread = (basis / weight).to(device)
        self.inverse = torch.linalg.pinv(basis.double()).float().T.contiguous().to(device)
        self.window = torch.hann_window(self.n_fft, device=device)
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(NOISE_FRAMES * self.hop, generator=generator).to(device)
        self.bins = torch.arange(self.n_fft // 2 + 1, device=device)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Spectrum [B, frames, bins] of waveforms [B, frames * hop], framed as the mel is."""
        padded = F.pad(waveform[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        return torch.fft.rfft(padded.unfold(-1, self.n_fft, self.hop) * self.window)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Waveforms [B, frames * hop] of spectra [B, frames, bins]."""
        frames = torch.fft.irfft(spectrum, self.n_fft) * self.window
        count = frames.shape[1]
        length = (count - 1) * self.hop + self.n_fft

        def overlap_add(x: Tensor) -> Tensor:
            columns = x.transpose(1, 2)
            added = F.fold(columns, (1, length), (1, self.n_fft), stride=(1, self.hop))
            return added[:, 0, 0]

        norm = overlap_add(self.window.square().expand(1, count, self.n_fft)).clamp(min=1e-3)
        return (overlap_add(frames) / norm)[:, self.pad : length - self.pad]

    def excitation(self, magnitude: Tensor, offset: int) -> Tensor:
        """Spectrum of noise that was given magnitudes [B, frames, bins]; the noise is that of the
        frames from `offset` on.
        """
        frames = magnitude.shape[1]
        index = torch.arange(frames * self.hop, device=magnitude.device) + offset * self.hop
        noise = self.analyse(self.noise[index % len(self.noise)][None])
        return self.analyse(self.synthesise(magnitude * noise / noise.abs().clamp(min=TINY)))

    def carriers(self, frames: int, offset: int) -> Tensor:
        """Phases [frames, bins] of tones at the bins' frequencies."""
        time = (torch.arange(frames, device=self.bins.device)[:, None] + offset) * self.hop
        return (2 * math.pi / self.n_fft) * (self.bins * (time % self.n_fft) % self.n_fft)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time and a pointwise network, [B, T, D] to the same (Liu et al.,
    2022).
    """

    def __init__(self, channels: int, expansion: int, operations: Any, dtype: Any, device: Any):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.depthwise = operations.Conv1d(
            channels, channels, KERNEL, padding=KERNEL // 2, groups=channels, **kw
        )
        self.norm = operations.LayerNorm(channels, eps=1e-6, **kw)
        self.expand = operations.Linear(channels, expansion * channels, **kw)
        self.project = operations.Linear(expansion * channels, channels, **kw)
        self.scale = nn.Parameter(torch.full((channels,), 0.2, **kw))

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        h = self.project(F.gelu(self.expand(self.norm(h)), approximate="tanh"))
        return x + self.scale.to(h) * h


class Vocos(MelVocoder):
    """Log-mel to waveform at frame rate.

    Parameters
    ----------
    config : VocosConfig
        Front-end and sizes.
    operations
        Module with `Conv1d`, `Linear` and `LayerNorm`, `torch.nn` or a host's replacement.
    dtype, device
        Type and device of the weights; transforms are always computed in float32.
    """

    config: VocosConfig
    # Reflection at the ends needs a few frames.
    least_frames = 4

    def __init__(
        self, config: VocosConfig, operations: Any = nn, dtype: Any = None, device: Any = None
    ) -> None:
        super().__init__()
        self.config = config
        kw = {"dtype": dtype, "device": device}
        width, bins = config.channels, config.n_fft // 2 + 1
        self.embed = operations.Linear(3 * 2 * config.num_mels, width, **kw)
        self.norm_in = operations.LayerNorm(width, eps=1e-6, **kw)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.expansion, operations, dtype, device)
            for _ in range(config.blocks)
        )
        self.norm_out = operations.LayerNorm(width, eps=1e-6, **kw)
        self.head = operations.Linear(width, config.num_mels + 2 * bins, **kw)
        self._spectra: dict[torch.device, Spectra] = {}
        if not self.head.weight.is_meta:
            self._start(bins)

    @torch.no_grad()
    def _start(self, bins: int) -> None:
        # The excitation nearly alone: the predicted part is quiet, its phases are random.
        bands = self.config.num_mels
        self.head.weight.mul_(0.1)
        self.head.bias.zero_()
        self.head.bias[bands : bands + bins] = -2.0
        self.head.bias[bands + bins :].uniform_(-math.pi, math.pi)

    def _on(self, device: torch.device) -> Spectra:
        if device not in self._spectra:
            self._spectra[device] = Spectra(self.config, device)
        return self._spectra[device]

    def forward(self, mel: Tensor, offset: int = 0) -> Tensor:
        """Waveform of a log-mel spectrogram.

        Parameters
        ----------
        mel : Tensor
            [B, num_mels, frames], natural logarithm of the magnitude; four frames or more.
        offset : int
            Number of the first frame, which decides the noise and the carriers' phases.

        Returns
        -------
        Tensor
            [B, 1, frames * hop_length], float32.
        """
        spectra = self._on(mel.device)
        mel = mel.float().transpose(1, 2)
        with torch.no_grad():
            magnitude = (mel.exp() @ spectra.inverse).clamp(min=TINY)
            excitation = spectra.excitation(magnitude, offset)
            found = (excitation.abs() @ spectra.basis.T).clamp(min=FLOOR).log()
        gain, level, angle = self._predict(mel, found)
        predicted = torch.polar(
            magnitude * level.clamp(max=4.0).exp(),
            angle + spectra.carriers(mel.shape[1], offset),
        )
        gain = (gain.clamp(-6.0, 4.0) @ spectra.spread).exp()
        return spectra.synthesise(excitation * gain + predicted)[:, None]

    def chunk(self, mel: Tensor, first: int) -> Tensor:
        """Waveform of a stretch of a mel that begins at its frame number `first`."""
        return self(mel, offset=first)

    def _predict(self, mel: Tensor, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log gain of the excitation's bands, log level and phase of the predicted bins, each
        [B, T, .], from the wanted mel and the excitation's, both [B, T, M].
        """
        bands, bins = self.config.num_mels, self.config.n_fft // 2 + 1
        h = torch.cat([(mel + 6.0) * 0.3, (mel - found).clamp(-4.0, 4.0)], dim=-1)
        padded = F.pad(h, (0, 0, 1, 1), mode="replicate")
        h = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=-1)
        h = self.norm_in(self.embed(h.to(self._dtype)))
        for block in self.blocks:
            h = block(h)
        gain, level, angle = self.head(self.norm_out(h)).float().split((bands, bins, bins), dim=-1)
        return gain, level, angle

    @property
    def _dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.embed.weight.dtype

    def receptive_field(self) -> int:
        """Frames of mel on either side of a frame that its samples depend on."""
        return self.config.blocks * (KERNEL // 2) + 1 + REACH
