"""MRC UNet: the denoising network with multi-reference customization (paper, section III-B).

A noise encoder reads z and the prompt C; a reference encoder of the same shape reads the references
R and their captions E; a middle block joins both; the decoder takes the skips of both and attends
to C and E. What does not depend on the time (the reference branch, all keys and values of C and E)
is computed once, by `MRCUNet.precompute`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import MRCConfig
from ..errors import CheckpointError, InputError
from .layers import (
    AttentionSite,
    Downsample,
    KeysValues,
    PromptEmbedding,
    PromptEnvelope,
    ResBlock,
    TimeEmbedding,
    Upsample,
    mean_token,
    zero_init,
)

SiteContexts = list[list[KeysValues]]


@dataclass
class MRCContext:
    """All that the network needs besides z and the time; computed once a generation.

    `features` are the reference encoder's skips, the last being its output (empty for the -UNet
    variant, which instead keeps the reference latents themselves in `channels`); `encoder`,
    `middle` and `decoder` hold the keys and values of each attention site in order. `pooled` [B, 4
    * hidden] is added to the time embedding where the network pools the prompt, `envelope` [B,
    hidden, 1, F] after the noise encoder's first convolution where it estimates the prompt's
    envelope.
    """

    encoder: SiteContexts
    middle: SiteContexts
    decoder: SiteContexts
    features: list[Tensor]
    channels: Tensor | None = None
    refresh: Callable[[Tensor], list[Tensor]] | None = None
    pooled: Tensor | None = None
    envelope: Tensor | None = None

    def repeat(self, times: int) -> "MRCContext":
        """Context for `times` items of each row, item by item: rows a, b become a, a, .., b, b, ..
        .
        """

        def grow(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat_interleave(times, dim=0)

        def grow_sites(sites: SiteContexts) -> SiteContexts:
            return [[KeysValues(*map(grow, kv)) for kv in site] for site in sites]

        refresh = self.refresh
        return MRCContext(
            grow_sites(self.encoder),
            grow_sites(self.middle),
            grow_sites(self.decoder),
            [grow(f) for f in self.features],
            grow(self.channels),
            None if refresh is None else lambda time: [grow(f) for f in refresh(time[::times])],
            grow(self.pooled),
            grow(self.envelope),
        )

    def rows(self, index: slice) -> "MRCContext":
        """Context of some rows of the batch; used where guidance is off and one branch suffices."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        def cut_sites(sites: SiteContexts) -> SiteContexts:
            return [[KeysValues(*map(cut, kv)) for kv in site] for site in sites]

        if self.refresh is not None:
            raise InputError("rows: a context whose references follow the time cannot be cut")
        return MRCContext(
            cut_sites(self.encoder),
            cut_sites(self.middle),
            cut_sites(self.decoder),
            [cut(f) for f in self.features],
            cut(self.channels),
            pooled=cut(self.pooled),
            envelope=cut(self.envelope),
        )


class Encoder(nn.Module):
    """Contracting path; forward returns the skips, finest first, the last being the output itself."""

    def __init__(
        self, in_channels: int, config: MRCConfig, contexts: int, operations, dtype, device
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        embedding = 4 * config.hidden
        self.stem = operations.Conv2d(in_channels, config.hidden, 3, padding=1, **kw)
        self.blocks, self.sites, self.downsamples = (
            nn.ModuleList(),
            nn.ModuleDict(),
            nn.ModuleList(),
        )
        width = config.hidden
        self.skip_widths = [width]
        for level, multiplier in enumerate(config.multipliers):
            out = config.hidden * multiplier
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

    def project(self, contexts: list[tuple[Tensor, Tensor | None]]) -> SiteContexts:
        """Keys and values of every site."""
        return [site.project(contexts) for site in self.sites.values()]

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        contexts: SiteContexts,
        stem: nn.Module | None = None,
        envelope: Tensor | None = None,
    ) -> list[Tensor]:
        x = (stem or self.stem)(x)
        x = x if envelope is None else x + envelope
        skips = [x]
        contexts = iter(contexts)
        for i, block in enumerate(self.blocks):
            x = block(x, embedding)
            if str(i) in self.sites:
                x = self.sites[str(i)](x, next(contexts))
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
        args = (4 * config.hidden, config.groups, operations, dtype, device)
        self.block1 = ResBlock(in_channels, channels, *args)
        self.site = _site(channels, contexts, config, operations, dtype, device)
        self.block2 = ResBlock(channels, channels, *args)

    def forward(self, x: Tensor, embedding: Tensor, contexts: list[KeysValues]) -> Tensor:
        return self.block2(self.site(self.block1(x, embedding), contexts), embedding)


class Decoder(nn.Module):
    """Expanding path over the joined skips; one more residual block a level than the encoders have."""

    def __init__(self, skip_widths: list[int], config: MRCConfig, operations, dtype, device):
        super().__init__()
        embedding = 4 * config.hidden
        widths = list(skip_widths)
        self.blocks, self.sites, self.upsamples = nn.ModuleList(), nn.ModuleDict(), nn.ModuleList()
        width = config.hidden * config.multipliers[-1]
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            out = config.hidden * multiplier
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

    def project(self, contexts: list[tuple[Tensor, Tensor | None]]) -> SiteContexts:
        """Keys and values of every site."""
        return [site.project(contexts) for site in self.sites.values()]

    def forward(
        self, x: Tensor, skips: list[Tensor], embedding: Tensor, contexts: SiteContexts
    ) -> Tensor:
        skips = list(skips)
        contexts: Iterator[list[KeysValues]] = iter(contexts)
        for i, block in enumerate(self.blocks):
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            if str(i) in self.sites:
                x = self.sites[str(i)](x, next(contexts))
            level, last = divmod(i + 1, self.per_level)
            if last == 0 and level <= len(self.upsamples):
                x = self.upsamples[level - 1](x)
        return self.out(F.silu(self.norm(x)))


def _site(
    channels: int, contexts: int, config: MRCConfig, operations, dtype, device
) -> AttentionSite:
    dims = [config.text_dim] * contexts
    return AttentionSite(channels, dims, config.head_dim, config.groups, operations, dtype, device)


class MRCUNet(nn.Module):
    """The network mu(z, R, lam, E, C) of the paper's equation for the flow loss, in all its
    variants.

    Parameters
    ----------
    config
        Architecture, sizes and fusion of references; see `MRCConfig`.
    operations
        Namespace that provides the layers.

    Notes ----- Shapes: z [B, C, T, F]; prompt [B, L, D] with mask [B, L]; captions [B, K, L, D]
    with mask [B, K, L]; references [B, K, C, T, F] for the concatenating fusion, [B, K, C + 2, T,
    F] for the placed one (latent, presence, placed flag); `reference_mask` [B, K] tells which slots
    hold a reference. T and F must be multiples of 2 ** (levels - 1).
    """

    def __init__(self, config: MRCConfig, operations=nn, dtype=None, device=None):
        super().__init__()
        if config.architecture not in ("mrc", "unet", "shared"):
            raise CheckpointError(
                f"mrc.architecture: expected mrc, unet or shared, found {config.architecture!r}"
            )
        if config.reference_fusion not in ("concat", "placed"):
            raise CheckpointError(
                f"mrc.reference_fusion: expected concat or placed, found {config.reference_fusion!r}"
            )
        if config.reference_fusion == "placed" and config.architecture != "mrc":
            raise CheckpointError("mrc.reference_fusion: placed references need architecture mrc")
        self.config = config
        args = (operations, dtype, device)
        c = config.latent_channels
        placed = config.reference_fusion == "placed"
        reference_channels = c + 2 if placed else c * config.num_references
        unet = config.architecture == "unet"
        self.time_embedding = TimeEmbedding(config.hidden, config.time_scale, *args)
        self.prompt_embedding = None
        if config.pooled_prompt:
            self.prompt_embedding = PromptEmbedding(config.text_dim, 4 * config.hidden, *args)
        self.prompt_envelope = None
        if config.envelope_bands:
            self.prompt_envelope = PromptEnvelope(
                config.text_dim, c, config.envelope_bands, config.hidden, *args
            )
        self.noise_encoder = Encoder(
            c + reference_channels if unet else c, config, 2 if unet else 1, *args
        )
        self.reference_encoder = None
        if config.architecture == "mrc":
            self.reference_encoder = Encoder(reference_channels, config, 1, *args)
        elif config.architecture == "shared":
            self.reference_encoder = operations.Conv2d(
                reference_channels, config.hidden, 3, padding=1, dtype=dtype, device=device
            )
        self.alignment = None
        if config.aligned_references is not None and not placed:
            self.alignment = operations.Conv2d(
                c * config.aligned_references,
                reference_channels,
                3,
                padding=1,
                dtype=dtype,
                device=device,
            )
            self._align_identity()
        width = self.noise_encoder.width
        self.middle = Middle(width if unet else 2 * width, width, 2 if unet else 1, config, *args)
        branches = 1 if unet else 2
        self.decoder = Decoder(
            [w * branches for w in self.noise_encoder.skip_widths], config, *args
        )

    @torch.no_grad()
    def _align_identity(self) -> None:
        # The first slots pass unchanged, so that three references give what they gave before
        # alignment was added.
        self.alignment.weight.zero_()
        self.alignment.bias.zero_()
        for channel in range(min(self.alignment.weight.shape[:2])):
            self.alignment.weight[channel, channel, 1, 1] = 1.0

    @property
    def slots(self) -> int:
        """How many references one call takes."""
        return self.config.aligned_references or self.config.num_references

    def _join(self, references: Tensor) -> Tensor:
        k = references.shape[1]
        if k == self.config.num_references:
            if self.alignment is None:
                return references.flatten(1, 2)
            missing = self.config.aligned_references - k
            references = (
                F.pad(references, (0, 0, 0, 0, 0, 0, 0, missing)) if missing > 0 else references
            )
        elif self.alignment is None or k != self.config.aligned_references:
            raise InputError(
                f"references: this network takes {self.slots}, found {k}; drop some, or use weights with an "
                "alignment layer for that many"
            )
        return self.alignment(references.flatten(1, 2))

    def encode_references(
        self,
        references: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        reference_mask: Tensor,
        joined: tuple[Tensor, Tensor],
        time: Tensor | None = None,
    ) -> list[Tensor]:
        """Reference features: one tensor a skip, [B, width, T_i, F_i].

        Without `time` the branch sees the time of clean data, a constant (the paper's equation
        gives it R and E alone).
        """
        if self.config.reference_fusion == "concat":
            x = self._join(references)
            time = torch.ones(x.shape[0], device=x.device) if time is None else time
            embedding = self.time_embedding(time, x.dtype)
            if self.config.architecture == "shared":
                encoder, stem = self.noise_encoder, self.reference_encoder
            else:
                encoder, stem = self.reference_encoder, None
            return encoder(x, embedding, encoder.project([joined]), stem)

        batch, k = references.shape[:2]
        row = reference_mask.nonzero()[:, 0]
        if len(row) == 0:
            return self._no_features(references)
        x = references[reference_mask]
        time = torch.ones(batch, device=x.device) if time is None else time
        encoder = self.reference_encoder
        contexts = encoder.project([(captions[reference_mask], caption_mask[reference_mask])])
        features = encoder(x, self.time_embedding(time, x.dtype)[row], contexts)
        return [f.new_zeros(batch, *f.shape[1:]).index_add(0, row, f) for f in features]

    def _no_features(self, references: Tensor) -> list[Tensor]:
        batch, _, _, frames, bands = references.shape
        features, encoder = [], self.reference_encoder
        widths = iter(encoder.skip_widths)
        features.append(references.new_zeros(batch, next(widths), frames, bands))
        for i in range(len(encoder.blocks)):
            features.append(references.new_zeros(batch, next(widths), frames, bands))
            level, last = divmod(i + 1, encoder.per_level)
            if last == 0 and level <= len(encoder.downsamples):
                frames, bands = -(-frames // 2), -(-bands // 2)
                features.append(references.new_zeros(batch, next(widths), frames, bands))
        return features

    def precompute(
        self,
        prompt: Tensor,
        prompt_mask: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        references: Tensor,
        reference_mask: Tensor | None = None,
    ) -> MRCContext:
        """Everything that does not change over the steps of one generation."""
        if reference_mask is None:
            reference_mask = torch.ones(
                references.shape[:2], dtype=torch.bool, device=references.device
            )
        joined_mask = caption_mask
        if self.config.reference_fusion == "placed":
            # Empty slots are hidden, so that an item's result does not depend on how many slots its
            # batch has; an item without any reference attends to the empty caption of its first
            # slot.
            visible = reference_mask.clone()
            visible[:, 0] |= ~reference_mask.any(dim=1)
            joined_mask = caption_mask & visible[..., None]
        c, e = (prompt, prompt_mask), (captions.flatten(1, 2), joined_mask.flatten(1, 2))
        decoder = self.decoder.project([c, e])
        mean = mean_token(*c)
        prompt_features = {
            "pooled": None if self.prompt_embedding is None else self.prompt_embedding(mean),
            "envelope": None if self.prompt_envelope is None else self.prompt_envelope(mean),
        }
        if self.config.architecture == "unet":
            both = [c, e]
            channels = self._join(references)
            return MRCContext(
                self.noise_encoder.project(both),
                [self.middle.site.project(both)],
                decoder,
                [],
                channels,
                **prompt_features,
            )
        encoder, middle = self.noise_encoder.project([c]), [self.middle.site.project([c])]

        def features(time: Tensor | None = None) -> list[Tensor]:
            return self.encode_references(
                references, captions, caption_mask, reference_mask, e, time
            )

        if self.config.reference_time_conditioning:
            return MRCContext(encoder, middle, decoder, [], refresh=features, **prompt_features)
        return MRCContext(encoder, middle, decoder, features(), **prompt_features)

    def denoise(self, z: Tensor, time: Tensor, context: MRCContext) -> Tensor:
        """One evaluation: velocity (or noise, for -DDPM) [B, C, T, F] at z [B, C, T, F] and time
        [B].
        """
        embedding = self.time_embedding(time, z.dtype)
        if context.pooled is not None:
            embedding = embedding + context.pooled
        x = z if context.channels is None else torch.cat([z, context.channels], dim=1)
        skips = self.noise_encoder(x, embedding, context.encoder, envelope=context.envelope)
        if self.config.architecture != "unet":
            features = context.features if context.refresh is None else context.refresh(time)
            skips = [torch.cat(pair, dim=1) for pair in zip(skips, features)]
        h = self.middle(skips[-1], embedding, context.middle[0])
        return self.decoder(h, skips, embedding, context.decoder)

    def envelope(self, prompt: Tensor, prompt_mask: Tensor) -> Tensor | None:
        """Estimated spectral envelope of the prompts [B, C, 1, F]; None for a network without an
        estimate.
        """
        return (
            None
            if self.prompt_envelope is None
            else self.prompt_envelope.estimate(mean_token(prompt, prompt_mask))
        )

    def forward(
        self,
        z: Tensor,
        time: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        references: Tensor,
        reference_mask: Tensor | None = None,
    ) -> Tensor:
        """`denoise` after `precompute`, for training."""
        context = self.precompute(
            prompt, prompt_mask, captions, caption_mask, references, reference_mask
        )
        return self.denoise(z, time, context)
