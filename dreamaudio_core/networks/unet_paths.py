"""The paths of the MRC UNet: contracting, middle and expanding, each with its attention sites."""

from __future__ import annotations

from typing import Sequence, cast

import torch
from torch import Tensor, nn

from ..config import MRCConfig
from .layers import (
    AttentionSite,
    Downsample,
    KeysValues,
    ResBlock,
    Upsample,
    zero_init,
)
from .operations import channels_last, silu

SiteContexts = list[list[KeysValues]]
# (tokens [B, L, D], mask [B, L]) of each text.
TextContexts = Sequence[tuple[Tensor, Tensor | None]]


class Encoder(nn.Module):
    """Contracting path; forward returns the skips, finest first, the last being the output
    itself.
    """

    def __init__(
        self, in_channels: int, config: MRCConfig, contexts: int, operations, dtype, device
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        embedding = 4 * config.model_channels
        self.stem = operations.Conv2d(in_channels, config.model_channels, 3, padding=1, **kw)
        self.blocks, self.sites, self.downsamples = (
            nn.ModuleList(),
            nn.ModuleDict(),
            nn.ModuleList(),
        )
        width = config.model_channels
        self.skip_widths = [width]
        for level, multiplier in enumerate(config.multipliers):
            out = config.model_channels * multiplier
            for _ in range(config.num_res_blocks):
                if level in config.attention_levels:
                    self.sites[str(len(self.blocks))] = _site(
                        out, contexts, config, operations, dtype, device
                    )
                self.blocks.append(
                    ResBlock(width, out, embedding, config.groups, operations, dtype, device)
                )
                width = out
                self.skip_widths.append(width)
            if level < len(config.multipliers) - 1:
                self.downsamples.append(Downsample(width, operations, dtype, device))
                self.skip_widths.append(width)
        self.per_level = config.num_res_blocks
        self.width = width

    def project(self, contexts: TextContexts) -> SiteContexts:
        """Keys and values of every site."""
        return [cast(AttentionSite, site).project(contexts) for site in self.sites.values()]

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        contexts: SiteContexts,
        stem: nn.Module | None = None,
        envelope: Tensor | None = None,
    ) -> list[Tensor]:
        x = (stem or self.stem)(channels_last(x))
        x = x if envelope is None else x + envelope
        skips = [x]
        remaining = iter(contexts)
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if str(i) in self.sites:
                x = self.sites[str(i)](x, next(remaining))
            skips.append(x)
            level, last = divmod(i + 1, self.per_level)
            if last == 0 and level <= len(self.downsamples):
                x = self.downsamples[level - 1](x)
                skips.append(x)
        return skips


class Middle(nn.Module):
    """Residual block (which joins the two encoders where there are two), attention site, residual
    block.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        contexts: int,
        config: MRCConfig,
        operations,
        dtype,
        device,
    ):
        super().__init__()
        args = (4 * config.model_channels, config.groups, operations, dtype, device)
        self.block1 = ResBlock(in_channels, channels, *args)
        self.site = _site(channels, contexts, config, operations, dtype, device)
        self.block2 = ResBlock(channels, channels, *args)

    def forward(self, x: Tensor, embedding: Tensor, contexts: list[KeysValues]) -> Tensor:
        return self.block2(self.site(self.block1(x, embedding), contexts), embedding)


class Decoder(nn.Module):
    """Expanding path over the joined skips; one more residual block a level than the encoders
    have.
    """

    def __init__(self, skip_widths: list[int], config: MRCConfig, operations, dtype, device):
        super().__init__()
        embedding = 4 * config.model_channels
        widths = list(skip_widths)
        self.blocks, self.sites, self.upsamples = nn.ModuleList(), nn.ModuleDict(), nn.ModuleList()
        width = config.model_channels * config.multipliers[-1]
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            out = config.model_channels * multiplier
            for _ in range(config.num_res_blocks + 1):
                if level in config.attention_levels:
                    self.sites[str(len(self.blocks))] = _site(
                        out, 2, config, operations, dtype, device
                    )
                joined = width + widths.pop()
                self.blocks.append(
                    ResBlock(joined, out, embedding, config.groups, operations, dtype, device)
                )
                width = out
            if level > 0:
                self.upsamples.append(Upsample(width, operations, dtype, device))
        self.per_level = config.num_res_blocks + 1
        self.norm = operations.GroupNorm(config.groups, width, dtype=dtype, device=device)
        out_conv = operations.Conv2d(
            width, config.latent_channels, 3, padding=1, dtype=dtype, device=device
        )
        self.out = zero_init(out_conv)

    def project(self, contexts: TextContexts) -> SiteContexts:
        """Keys and values of every site."""
        return [cast(AttentionSite, site).project(contexts) for site in self.sites.values()]

    def forward(
        self, x: Tensor, skips: list[Tensor], embedding: Tensor, contexts: SiteContexts
    ) -> Tensor:
        skips = list(skips)
        remaining = iter(contexts)
        for i, block in enumerate(self.blocks):
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            if str(i) in self.sites:
                x = self.sites[str(i)](x, next(remaining))
            level, last = divmod(i + 1, self.per_level)
            if last == 0 and level <= len(self.upsamples):
                x = self.upsamples[level - 1](x)
        return self.out(silu(self.norm(x)))


def _site(
    channels: int, contexts: int, config: MRCConfig, operations, dtype, device
) -> AttentionSite:
    dims = [config.text_dim] * contexts
    return AttentionSite(channels, dims, config.head_dim, config.groups, operations, dtype, device)
