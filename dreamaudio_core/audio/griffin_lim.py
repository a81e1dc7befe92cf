"""Griffin-Lim refinement: make a vocoder's waveform agree with the mel spectrogram it was made
from.

The method of Griffin and Lim (1984), with the momentum of Perraudin et al. (2013), alternates
between wanted magnitudes and a consistent short-time spectrum. Here it starts at the vocoder's
waveform, and the wanted magnitudes lie half way (in decibels) between two: the waveform's own,
corrected band by band to the mel, which keep the fine structure that the vocoder made, and the
smooth ones that the mel alone implies. It lends small vocoders accuracy; large ones need none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import AudioConfig
from ..progress import Progress
from .mel import mel_filterbank

MAX_GAIN = 100.0
MOMENTUM = 0.99
TINY = 1e-9
# Last iterations, which only correct the bands, without momentum.
CLOSING = 4


class GriffinLim:
    """Refinement for one mel front-end.

    Parameters
    ----------
    config
        The front-end of the mel.
    device
        Where the bases live.
    """

    def __init__(self, config: AudioConfig, device: torch.device | str = "cpu"):
        self.config = config
        self.basis = mel_filterbank(config).to(device)
        # Each bin takes the mean correction of the bands over it; bins under no band are left
        # alone.
        weight = self.basis.sum(dim=0)
        self.covered = weight > 0
        self.spread = (self.basis / weight.clamp(min=1e-12)).T.contiguous()
        self.inverse = torch.linalg.pinv(self.basis.double()).float()
        self.window = torch.hann_window(config.n_fft, device=device)
        self.pad = (config.n_fft - config.hop_length) // 2

    def _frames(self, waveform: Tensor) -> Tensor:
        padded = F.pad(waveform[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        return padded.unfold(-1, self.config.n_fft, self.config.hop_length) * self.window

    def _overlap_add(self, frames: Tensor) -> Tensor:
        size, hop, count = self.config.n_fft, self.config.hop_length, frames.shape[1]
        length = (count - 1) * hop + size

        def fold(x: Tensor) -> Tensor:
            return F.fold(x.transpose(1, 2), (1, length), (1, size), stride=(1, hop))[:, 0, 0]

        norm = fold(self.window.square().expand(1, count, size)).clamp(min=1e-3)
        return (fold(frames * self.window) / norm)[:, self.pad : length - self.pad]

    def refine(
        self,
        waveform: Tensor,
        log_mel: Tensor,
        iterations: int,
        progress: Progress | None = None,
    ) -> Tensor:
        """Refined waveforms.

        Parameters
        ----------
        waveform
            [B, frames * hop], float32.
        log_mel
            Natural-log mel [B, 1, frames, bands] that the waveform should have.
        iterations
            How many times; 0 returns the waveform as it is.
        progress
            Gets the number of iterations done, and of all.
        """
        bands = log_mel[:, 0].exp()
        smooth = (bands @ self.inverse.T).clamp(min=TINY)
        previous: Tensor | None = None
        for i in range(iterations):
            spectrum = torch.fft.rfft(self._frames(waveform))
            corrected = self._correct(spectrum.abs().clamp(min=TINY), bands)
            if iterations - i > CLOSING:
                ahead = (
                    spectrum
                    if previous is None
                    else (1.0 + MOMENTUM) * spectrum - MOMENTUM * previous
                )
                previous = spectrum
                spectrum, corrected = ahead, (corrected * smooth).sqrt()
            waveform = self._overlap_add(
                torch.fft.irfft(torch.polar(corrected, spectrum.angle()), self.config.n_fft)
            )
            if progress is not None:
                progress(i + 1, iterations)
        return waveform

    def _correct(self, magnitude: Tensor, bands: Tensor) -> Tensor:
        found = (magnitude @ self.basis.T).clamp(min=self.config.floor / MAX_GAIN)
        gain = (bands / found).clamp(max=MAX_GAIN) @ self.spread.T
        return torch.where(self.covered, magnitude * gain, magnitude)
