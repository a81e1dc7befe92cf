"""Small VAE networks on patches of the log-mel: a linear transform, and residual networks that add
to it what is not linear.

Log-mel frames of 64 ms every 10 ms overlap so much that a Karhunen-Loeve transform of small patches
loses little. The networks work at the resolution of the patches, where convolutions are cheap, and
normalise each position by itself, so that a latent does not depend on how long the sound is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VAEConfig
from .operations import channels_last

# Log-mels lie between -11.5 (silence) and about 3: centre and scale for the networks' input.
CENTRE, SCALE = -6.0, 0.3


class ChannelNorm(nn.Module):
    """Divides each position of [B, C, T, F] by its root mean square over the channels."""

    def __init__(self, channels: int, dtype: Any = None, device: Any = None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6).to(x.dtype)
        return x * scale * self.weight[:, None, None].to(x)


class PatchBlock(nn.Module):
    """Residual block of two 3x3 convolutions; adds nothing before it is trained."""

    def __init__(self, channels: int, operations: Any, dtype: Any = None, device: Any = None):
        super().__init__()
        kw = {"padding": 1, "dtype": dtype, "device": device}
        self.norm = ChannelNorm(channels, dtype, device)
        self.conv1 = operations.Conv2d(channels, channels, 3, **kw)
        self.conv2 = _zero(operations.Conv2d(channels, channels, 3, **kw))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class PatchEncoder(nn.Module):
    """Log-mel [B, 1, frames, bands] to latent means [B, C, frames / P, bands / P], P the patch.

    `linear` alone is the transform; `embed` sees patches of twice the size, half overlapping.
    """

    def __init__(self, config: VAEConfig, operations: Any, dtype: Any = None, device: Any = None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        size, width, latent = config.patch_size, config.channels, config.latent_channels
        self.margin = size // 2
        self.linear = operations.Conv2d(config.in_channels, latent, size, size, **kw)
        self.embed = operations.Conv2d(config.in_channels, width, 2 * size, size, **kw)
        self.blocks = nn.Sequential(
            *(PatchBlock(width, operations, **kw) for _ in range(config.num_res_blocks))
        )
        self.out = _zero(operations.Conv2d(width, latent, 3, padding=1, **kw))

    def forward(self, mel: Tensor) -> Tensor:
        padded = F.pad(mel, (self.margin,) * 4, mode="replicate")
        h = self.blocks(self.embed(channels_last((padded - CENTRE) * SCALE)))
        return self.linear(mel) + self.out(h)


class PatchDecoder(nn.Module):
    """Latent [B, C, T, F] to log-mel [B, 1, P T, P F]; the mirror image of `PatchEncoder`."""

    def __init__(self, config: VAEConfig, operations: Any, dtype: Any = None, device: Any = None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        size, latent = config.patch_size, config.latent_channels
        width = config.decoder_channels or config.channels
        blocks = config.decoder_blocks or config.num_res_blocks
        inputs = config.in_channels
        self.linear = operations.ConvTranspose2d(latent, inputs, size, size, bias=False, **kw)
        self.mean = nn.Parameter(torch.zeros(1, inputs, size, size, **kw))
        self.embed = operations.Conv2d(latent, width, 3, padding=1, **kw)
        self.blocks = nn.Sequential(*(PatchBlock(width, operations, **kw) for _ in range(blocks)))
        self.norm_out = ChannelNorm(width, **kw)
        self.out = _zero(
            operations.ConvTranspose2d(width, inputs, 2 * size, size, padding=size // 2, **kw)
        )

    def forward(self, z: Tensor) -> Tensor:
        linear = self.linear(z) + self.mean.to(z).repeat(1, 1, *z.shape[2:])
        return linear + self.out(F.silu(self.norm_out(self.blocks(self.embed(channels_last(z))))))


@torch.no_grad()
def set_transform(
    encoder: PatchEncoder, decoder: PatchDecoder, mean: Tensor, basis: Tensor, scale: Tensor
) -> None:
    """Give the linear path the transform (x - mean) basis scale and its inverse.

    Parameters
    ----------
    mean
        Mean of the patches [P * P], frames first.
    basis
        Orthonormal columns [P * P, C].
    scale
        Factor of each coefficient [C].
    """
    size = decoder.mean.shape[-1]
    columns = basis.T.reshape(-1, 1, size, size)
    encoder.linear.weight.copy_(columns * scale[:, None, None, None])
    encoder.linear.bias.copy_(-(mean @ basis) * scale)
    decoder.linear.weight.copy_(columns / scale[:, None, None, None])
    decoder.mean.copy_(mean.reshape(1, 1, size, size))


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        if not parameter.is_meta:
            nn.init.zeros_(parameter)
    return layer
