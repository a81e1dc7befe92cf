"""MRC UNet: the denoising network with multi-reference customization (paper, section III-B).

A noise encoder reads z and the prompt C; a reference encoder of the same shape reads the references
R and their captions E; a middle block joins both; the decoder takes the skips of both and attends
to C and E. What does not depend on the time (the reference branch, all keys and values of C and E)
is computed once, by `MRCUNet.precompute`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import MRCConfig
from ..errors import CheckpointError
from .fusion import fusion_of
from .layers import (
    KeysValues,
    PromptEmbedding,
    PromptEnvelope,
    TimeEmbedding,
    mean_token,
    without_padding,
)
from .unet_paths import Decoder, Encoder, Middle, SiteContexts, TextContexts


@dataclass
class MRCContext:
    """All that the network needs besides z and the time; computed once a generation.

    Parameters
    ----------
    encoder, middle, decoder
        Keys and values of each attention site, in order.
    features
        Skips of the reference encoder, its output last; empty where no reference is given, and for
        the -UNet variant.
    channels
        The -UNet variant's references, joined to z.
    pooled
        Summand [B, 4 * model_channels] of the time embedding, where the network pools the prompt.
    envelope
        Summand [B, model_channels, 1, F] after the noise encoder's first convolution, where the
        network estimates the prompt's spectral envelope.
    """

    encoder: SiteContexts
    middle: SiteContexts
    decoder: SiteContexts
    features: list[Tensor]
    channels: Tensor | None = None
    pooled: Tensor | None = None
    envelope: Tensor | None = None

    def repeat(self, times: int) -> MRCContext:
        """Context for `times` items of each row: rows a, b become a, a, .., b, b, .."""
        return self._each(lambda x: x.repeat_interleave(times, dim=0))

    def row(self, index: int) -> MRCContext:
        """Context of one row alone."""
        return self._each(lambda x: x[index : index + 1])

    def _each(self, change: Callable[[Tensor], Tensor]) -> MRCContext:
        def maybe(x: Tensor | None) -> Tensor | None:
            return None if x is None else change(x)

        def sites(given: SiteContexts) -> SiteContexts:
            return [
                [KeysValues(change(kv.keys), change(kv.values), maybe(kv.mask)) for kv in site]
                for site in given
            ]

        return MRCContext(
            sites(self.encoder),
            sites(self.middle),
            sites(self.decoder),
            [change(f) for f in self.features],
            maybe(self.channels),
            maybe(self.pooled),
            maybe(self.envelope),
        )


@torch.no_grad()
def _start_as_identity(alignment: nn.Conv2d) -> None:
    # The first slots pass unchanged, so that three references give what they gave before alignment
    # was added.
    alignment.weight.zero_()
    if alignment.bias is not None:
        alignment.bias.zero_()
    for channel in range(min(alignment.weight.shape[:2])):
        alignment.weight[channel, channel, 1, 1] = 1.0


class MRCUNet(nn.Module):
    """The network mu(z, R, lam, E, C) of the paper's equation for the flow loss, in all its
    variants.

    Parameters
    ----------
    config
        Architecture, sizes, fusion of the references and objective; see `MRCConfig`.
    operations
        Namespace that provides the layers (`torch.nn`, or a host's own).

    Notes
    -----
    Shapes: z [B, C, T, F]; prompt [B, L, D] with mask [B, L]; captions [B, K, L, D] with mask
    [B, K, L]; references [B, K, C, T, F], or [B, K, C + 2, T, F] for a fusion that takes markers
    (see `fusion`); `reference_mask` [B, K] tells which slots hold a reference. T and F must be
    multiples of 2 ** (levels - 1).
    """

    def __init__(self, config: MRCConfig, operations=nn, dtype=None, device=None):
        super().__init__()
        if config.architecture not in ("mrc", "unet", "shared"):
            raise CheckpointError(
                f"mrc.architecture: expected mrc, unet or shared, found {config.architecture!r}"
            )
        self.config, self.fusion = config, fusion_of(config)
        kw = {"dtype": dtype, "device": device}
        args = (operations, dtype, device)
        c, channels = config.latent_channels, config.model_channels
        reference_channels = self.fusion.input_channels(config)
        # The -UNet variant has one encoder, which reads the references with z and both texts.
        unet = config.architecture == "unet"
        contexts, encoders = (2, 1) if unet else (1, 2)
        self.time_embedding = TimeEmbedding(channels, *args)
        self.prompt_embedding = None
        if config.pooled_prompt:
            self.prompt_embedding = PromptEmbedding(config.text_dim, 4 * channels, *args)
        self.prompt_envelope = None
        if config.envelope_bands:
            self.prompt_envelope = PromptEnvelope(
                config.text_dim, c, config.envelope_bands, channels, *args
            )
        self.noise_encoder = Encoder(c + reference_channels if unet else c, config, contexts, *args)
        self.reference_encoder = None
        if config.architecture == "mrc":
            self.reference_encoder = Encoder(reference_channels, config, 1, *args)
        elif config.architecture == "shared":
            # The -SEncoder variant shares all but the first convolution.
            self.reference_encoder = operations.Conv2d(
                reference_channels, channels, 3, padding=1, **kw
            )
        self.alignment = None
        if config.aligned_references is not None:
            self.alignment = operations.Conv2d(
                c * config.aligned_references, reference_channels, 3, padding=1, **kw
            )
            _start_as_identity(self.alignment)
        width = self.noise_encoder.width
        self.middle = Middle(encoders * width, width, contexts, config, *args)
        self.decoder = Decoder(
            [encoders * w for w in self.noise_encoder.skip_widths], config, *args
        )

    def run_reference_encoder(
        self, x: Tensor, captions: Tensor, caption_mask: Tensor
    ) -> list[Tensor]:
        """Skips of the reference encoder for maps [N, C', T, F] and captions [N, L, D].

        The branch sees the time of clean data, a constant: the paper's equation gives it R and E
        alone, so that it runs once a generation.
        """
        shared = self.config.architecture == "shared"
        encoder = cast(Encoder, self.noise_encoder if shared else self.reference_encoder)
        stem = self.reference_encoder if shared else None
        embedding = self.time_embedding(torch.ones(len(x), device=x.device), x.dtype)
        captions, caption_mask = without_padding(captions, caption_mask)
        return encoder(x, embedding, encoder.project([(captions, caption_mask)]), stem)

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
        # A slot without a reference must not be attended to: even a caption of padding takes a
        # share of the softmax.
        visible = self.fusion.visible_captions(caption_mask, reference_mask)
        c = (prompt, prompt_mask)
        e = (rearrange(captions, "b k l d -> b (k l) d"), rearrange(visible, "b k l -> b (k l)"))
        # Before padding is dropped, as the mean goes by the mask.
        mean = mean_token(*c)
        pooled = None if self.prompt_embedding is None else self.prompt_embedding(mean)
        envelope = None if self.prompt_envelope is None else self.prompt_envelope(mean)
        # The -UNet variant has no reference branch: the references join the noise on channels, and
        # one encoder attends to both texts.
        unet = self.config.architecture == "unet"
        c, e = without_padding(*c), without_padding(*e)
        texts: TextContexts = [c, e] if unet else [c]
        features: list[Tensor] = []
        if not unet:
            features = self.fusion.encode(self, references, captions, caption_mask, reference_mask)
        return MRCContext(
            # Keys and values of the texts for every attention site: the same at all steps.
            encoder=self.noise_encoder.project(texts),
            middle=[self.middle.site.project(texts)],
            decoder=self.decoder.project([c, e]),
            features=features,
            channels=self.fusion.join(self, references) if unet else None,
            pooled=pooled,
            envelope=envelope,
        )

    def denoise(self, z: Tensor, time: Tensor, context: MRCContext) -> Tensor:
        """One evaluation: what the objective predicts, [B, C, T, F], at z [B, C, T, F] and time
        [B].
        """
        embedding = self.time_embedding(time, z.dtype)
        if context.pooled is not None:
            embedding = embedding + context.pooled
        x = z if context.channels is None else torch.cat([z, context.channels], dim=1)
        skips = self.noise_encoder(x, embedding, context.encoder, envelope=context.envelope)
        if self.config.architecture != "unet":
            # Without references the decoder still expects both halves of each skip; zeros are what
            # the reference branch was trained to add for none.
            features = context.features or [torch.zeros_like(skip) for skip in skips]
            skips = [torch.cat(pair, dim=1) for pair in zip(skips, features)]
        h = self.middle(skips[-1], embedding, context.middle[0])
        return self.decoder(h, skips, embedding, context.decoder)

    def envelope(self, prompt: Tensor, prompt_mask: Tensor) -> Tensor | None:
        """Estimated spectral envelope of the prompts [B, C, 1, F]; None for a network without."""
        if self.prompt_envelope is None:
            return None
        return self.prompt_envelope.estimate(mean_token(prompt, prompt_mask))

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
