"""Discriminators: of patches for the VAE, of periods and of resolutions for the vocoder, and their
losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..errors import InputError

PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
SLOPE = 0.1

# Of the patch discriminator: layers at half the resolution of the one before.
HALVINGS = 3
# For each discriminator, its scores and the maps of its layers.
Verdict = tuple[list[Tensor], list[list[Tensor]]]


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches of a log-mel (Isola et al., 2017).

    Group norm stands for batch norm, so that the score of an item does not depend on its batch.

    Parameters
    ----------
    width
        Channels of the first layer, a multiple of 8.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        if width < 8 or width % 8:
            raise InputError(f"discriminator width: expected a multiple of 8, found {width}")
        chain: list[nn.Module] = [nn.Conv2d(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for depth in range(1, HALVINGS + 1):
            wider = width * min(2**depth, 8)
            stride = 2 if depth < HALVINGS else 1
            chain += [
                nn.Conv2d(channels, wider, 4, stride=stride, padding=1),
                nn.GroupNorm(8, wider),
                nn.LeakyReLU(0.2),
            ]
            channels = wider
        self.layers = nn.Sequential(*chain, nn.Conv2d(channels, 1, 4, padding=1))

    def forward(self, mel: Tensor) -> Tensor:
        """Scores [B, 1, T', F'] of log-mels [B, 1, frames, bands]."""
        return self.layers(mel)


def hinge_discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Hinge loss of scores."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + generated).mean())


def hinge_generator_loss(generated: Tensor) -> Tensor:
    """What the generator minimises against `hinge_discriminator_loss`."""
    return -generated.mean()


def _score(layers: nn.ModuleList, last: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Scores [B, n] and the maps of every layer."""
    maps = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        maps.append(x)
    x = last(x)
    return x.flatten(1), [*maps, x]


class PeriodDiscriminator(nn.Module):
    """A waveform folded into columns of `period` samples (HiFi-GAN, Kong et al., 2020)."""

    def __init__(self, period: int, width: int = 32):
        super().__init__()
        self.period = period
        chain = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if i < 4 else 1, 1), padding=(2, 0)))
            for i, (a, b) in enumerate(zip(chain, chain[1:]))
        )
        self.last = weight_norm(nn.Conv2d(chain[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, n] and layer maps of waveforms [B, T]."""
        missing = -waveform.shape[-1] % self.period
        x = F.pad(waveform[:, None], (0, missing), mode="reflect")
        x = x.unflatten(-1, (-1, self.period))
        return _score(self.layers, self.last, x)


class ResolutionDiscriminator(nn.Module):
    """The magnitude spectrogram at one resolution (UnivNet, Jang et al., 2021; BigVGAN v1)."""

    window: Tensor

    def __init__(self, n_fft: int, hop: int, window: int, width: int = 32):
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        shapes = [((3, 9), (1, 1))] + [((3, 9), (1, 2))] * 3 + [((3, 3), (1, 1))]
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    1 if i == 0 else width,
                    width,
                    kernel,
                    stride,
                    padding=(kernel[0] // 2, kernel[1] // 2),
                )
            )
            for i, (kernel, stride) in enumerate(shapes)
        )
        self.last = weight_norm(nn.Conv2d(width, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveform: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, n] and layer maps of waveforms [B, T]."""
        pad = (self.n_fft - self.hop) // 2
        padded = F.pad(waveform[:, None].float(), (pad, pad), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded,
            self.n_fft,
            self.hop,
            len(self.window),
            self.window.float(),
            center=False,
            return_complex=True,
        )
        # The gradient of a magnitude has no direction at 0.
        x = (
            (spectrum.real.square() + spectrum.imag.square())
            .clamp(min=1e-12)
            .sqrt()
            .transpose(1, 2)[:, None]
        )
        return _score(self.layers, self.last, x)


class VocoderDiscriminators(nn.Module):
    """BigVGAN's first set: one discriminator a period (MPD) and one a resolution (MRD).

    Parameters
    ----------
    periods, resolutions
        Periods and resolutions, one discriminator each; a resolution is (n_fft, hop, window).
    width
        Channels of the first layers (32 in the paper).
    """

    def __init__(
        self,
        periods: Sequence[int] = PERIODS,
        resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
        width: int = 32,
    ):
        super().__init__()
        if width < 1:
            raise InputError(f"discriminator width: expected at least 1, found {width}")
        self.periods = nn.ModuleList(PeriodDiscriminator(period, width) for period in periods)
        self.resolutions = nn.ModuleList(
            ResolutionDiscriminator(*sizes, width) for sizes in resolutions
        )

    def forward(self, waveform: Tensor) -> Verdict:
        """Scores and layer maps of every discriminator, of waveforms [B, T]."""
        scores, maps = [], []
        for discriminator in (*self.periods, *self.resolutions):
            score, layers = discriminator(waveform)
            scores.append(score)
            maps.append(layers)
        return scores, maps


def _total(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


def least_squares_discriminator_loss(real: list[Tensor], generated: list[Tensor]) -> Tensor:
    """Squared distance of real scores from 1 and of generated ones from 0, summed over the
    discriminators.
    """
    return _total(((1.0 - r) ** 2).mean() + (m**2).mean() for r, m in zip(real, generated))


def least_squares_generator_loss(generated: list[Tensor]) -> Tensor:
    """Squared distance of the scores from 1, summed over the discriminators."""
    return _total(((1.0 - m) ** 2).mean() for m in generated)


def feature_matching_loss(real: list[list[Tensor]], generated: list[list[Tensor]]) -> Tensor:
    """L1 distance of all layer maps, a mean over each and a sum over them."""
    return _total(
        (r.detach() - m).abs().mean() for a, b in zip(real, generated) for r, m in zip(a, b)
    )
