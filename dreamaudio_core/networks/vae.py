"""Mel VAE of AudioLDM: a convolutional autoencoder with a diagonal Gaussian latent (paper, section
III-A).

Parameter names are those of the latent-diffusion checkpoints, so that public weights load without
renaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import VAEConfig
from .operations import add, attention, channels_last, silu, upsample
from .patches import PatchDecoder, PatchEncoder

MIN_LOGVAR = -30.0


@dataclass
class DiagonalGaussian:
    """Posterior q(z | mel); both fields are [B, C, T, F]."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_moments(cls, moments: Tensor) -> "DiagonalGaussian":
        """Split moments [B, 2C, T, F] on channels."""
        mean, logvar = moments.chunk(2, dim=1)
        return cls(mean, logvar.clamp(MIN_LOGVAR, 20.0))

    def kl(self) -> Tensor:
        """KL divergence from N(0, I) in nats, summed over the latent, [B]."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1.0 - self.logvar).sum(dim=(1, 2, 3))


class ResnetBlock(nn.Module):
    """GroupNorm, SiLU, 3x3 convolution, twice, around a residual."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, operations, dtype=None, device=None
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.norm1 = operations.GroupNorm(groups, in_channels, eps=1e-6, **kw)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **kw)
        self.norm2 = operations.GroupNorm(groups, out_channels, eps=1e-6, **kw)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **kw)
        self.nin_shortcut = None
        if in_channels != out_channels:
            self.nin_shortcut = operations.Conv2d(in_channels, out_channels, 1, **kw)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        return add(h, x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int, groups: int, operations, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.norm = operations.GroupNorm(groups, channels, eps=1e-6, **kw)
        self.q = operations.Conv2d(channels, channels, 1, **kw)
        self.k = operations.Conv2d(channels, channels, 1, **kw)
        self.v = operations.Conv2d(channels, channels, 1, **kw)
        self.proj_out = operations.Conv2d(channels, channels, 1, **kw)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (
            rearrange(proj(h), "b c t f -> b 1 (t f) c") for proj in (self.q, self.k, self.v)
        )
        h = rearrange(attention(q, k, v), "b 1 (t f) c -> b c t f", f=x.shape[-1])
        return x + self.proj_out(h)


class Downsample(nn.Module):
    """Strided convolution with the checkpoints' padding on the right and bottom only."""

    def __init__(self, channels: int, operations, dtype=None, device=None):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest-neighbour doubling followed by a convolution."""

    def __init__(self, channels: int, operations, dtype=None, device=None):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.conv)


class Middle(nn.Module):
    """Two residual blocks around optional attention."""

    def __init__(self, channels: int, config: VAEConfig, operations, dtype=None, device=None):
        super().__init__()
        args = (config.groups, operations, dtype, device)
        self.block_1 = ResnetBlock(channels, channels, *args)
        self.attn_1 = AttentionBlock(channels, *args) if config.middle_attention else None
        self.block_2 = ResnetBlock(channels, channels, *args)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block_1(x)
        if self.attn_1 is not None:
            x = self.attn_1(x)
        return self.block_2(x)


class Level(nn.Module):
    """Residual blocks of one resolution, with a resampler at one end."""

    def __init__(
        self,
        widths: list[int],
        groups: int,
        resample: nn.Module | None,
        name: str,
        operations,
        dtype,
        device,
    ):
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(a, b, groups, operations, dtype, device) for a, b in zip(widths, widths[1:])
        )
        self.resample_name = name
        if resample is not None:
            self.add_module(name, resample)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        resample = self._modules.get(self.resample_name)
        return x if resample is None else resample(x)


class Encoder(nn.Module):
    """Log-mel [B, 1, frames, bands] to moments [B, 2C, frames / stride, bands / stride]."""

    def __init__(self, config: VAEConfig, operations, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        widths = [config.channels * m for m in config.multipliers]
        self.conv_in = operations.Conv2d(config.in_channels, config.channels, 3, padding=1, **kw)
        self.down = nn.ModuleList()
        width = config.channels
        for i, out in enumerate(widths):
            resample = Downsample(out, operations, dtype, device) if i < len(widths) - 1 else None
            chain = [width] + [out] * config.num_res_blocks
            self.down.append(
                Level(chain, config.groups, resample, "downsample", operations, dtype, device)
            )
            width = out
        self.mid = Middle(width, config, operations, dtype, device)
        self.norm_out = operations.GroupNorm(config.groups, width, eps=1e-6, **kw)
        self.conv_out = operations.Conv2d(width, 2 * config.latent_channels, 3, padding=1, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(channels_last(x))
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latent [B, C, T, F] to log-mel [B, 1, T * stride, F * stride]."""

    def __init__(self, config: VAEConfig, operations, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        widths = [config.channels * m for m in config.multipliers]
        width = widths[-1]
        self.conv_in = operations.Conv2d(config.latent_channels, width, 3, padding=1, **kw)
        self.mid = Middle(width, config, operations, dtype, device)
        levels = []
        for i, out in reversed(list(enumerate(widths))):
            resample = Upsample(out, operations, dtype, device) if i > 0 else None
            chain = [width] + [out] * (config.num_res_blocks + 1)
            levels.append(
                Level(chain, config.groups, resample, "upsample", operations, dtype, device)
            )
            width = out
        # Checkpoints number the levels by resolution, finest first; they run coarsest first.
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = operations.GroupNorm(config.groups, width, eps=1e-6, **kw)
        self.conv_out = operations.Conv2d(width, config.in_channels, 3, padding=1, **kw)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(channels_last(z)))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(silu(self.norm_out(x)))


class AutoencoderKL(nn.Module):
    """Variational autoencoder of log-mel spectrograms.

    Parameters
    ----------
    config
        Sizes, and the scale factor that latents are multiplied by.
    operations
        Namespace that provides the layers (`torch.nn`, or a host's own, such as ComfyUI's
        `comfy.ops`).
    """

    def __init__(self, config: VAEConfig, operations=nn, dtype=None, device=None):
        super().__init__()
        self.config = config
        c = config.latent_channels
        if config.patch_size > 1:
            self.encoder: nn.Module = PatchEncoder(config, operations, dtype, device)
            self.decoder: nn.Module = PatchDecoder(config, operations, dtype, device)
            self.quant_conv = self.post_quant_conv = None
            return
        self.encoder = Encoder(config, operations, dtype, device)
        self.decoder = Decoder(config, operations, dtype, device)
        self.quant_conv = operations.Conv2d(2 * c, 2 * c, 1, dtype=dtype, device=device)
        self.post_quant_conv = operations.Conv2d(c, c, 1, dtype=dtype, device=device)

    def posterior(self, mel: Tensor) -> DiagonalGaussian:
        """Unscaled posterior of log-mel [B, 1, frames, bands]; `frames` must be a multiple of the
        stride. Networks on patches give the mean alone: their posterior has next to no variance.
        """
        moments = self.encoder(mel)
        if self.quant_conv is None:
            return DiagonalGaussian(moments, torch.full_like(moments, MIN_LOGVAR))
        return DiagonalGaussian.from_moments(self.quant_conv(moments))

    def encode(self, mel: Tensor) -> Tensor:
        """Scaled posterior mean [B, C, frames / stride, bands / stride]: what a reference is at
        inference.
        """
        return self.posterior(mel).mean * self.config.scale_factor

    def decode(self, latent: Tensor) -> Tensor:
        """Log-mel [B, 1, frames, bands] of a scaled latent [B, C, T, F]."""
        return self.reconstruct(latent / self.config.scale_factor)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Log-mel of an unscaled latent, such as a sample of the posterior."""
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))
