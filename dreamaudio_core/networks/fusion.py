"""How references enter the network: a new way is a class here, and a name in `FUSIONS`.

A reference reaches a fusion as a canvas [C + 2, T, F]: its latent on the target's time axis, a
channel that is 1 where it is present, and one that is 1 throughout if it was placed (see
`rendering.placing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import torch
from einops import rearrange
from torch import Tensor

from ..config import MRCConfig
from ..errors import CheckpointError, InputError

if TYPE_CHECKING:
    from .mrc import MRCUNet

MARKERS = 2


class ConcatFusion:
    """References joined on channels (paper, equation 4); the network finds their place itself.

    Slots without a reference hold the latent of silence.
    """

    name = "concat"
    architectures = ("mrc", "unet", "shared")
    uses_timeline = False
    # Every slot reaches the reference encoder, so no batch leaves it without a gradient.
    may_skip_encoder = False

    def input_channels(self, config: MRCConfig) -> int:
        """Channels of the reference encoder's input."""
        return config.latent_channels * config.num_references

    def stack(self, canvases: Sequence[Tensor], silence: Tensor, slots: int, frames: int) -> Tensor:
        """Latents [slots, C, T, F] of the canvases; `silence` is [C, 1, F]."""
        empty = silence.expand(-1, frames, -1)
        rows = [canvas[:-MARKERS] for canvas in canvases]
        return torch.stack(rows + [empty] * (slots - len(rows)))

    def keep(self, latents: Tensor, kept: Sequence[int], silence: Tensor) -> Tensor:
        """The latents [K, C, T, F] with all references but those of `kept` taken out."""
        out = silence.expand(latents.shape[1:]).expand_as(latents).clone()
        out[list(kept)] = latents[list(kept)]
        return out

    def visible_captions(self, caption_mask: Tensor, reference_mask: Tensor) -> Tensor:
        """Which caption tokens [B, K, L] the decoder attends to: all, as in the paper."""
        return caption_mask

    def encode(
        self,
        network: MRCUNet,
        references: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        reference_mask: Tensor,
    ) -> list[Tensor]:
        """Reference features: one tensor a skip, [B, width, T_i, F_i]."""
        joined = (
            rearrange(captions, "b k l d -> b (k l) d"),
            rearrange(caption_mask, "b k l -> b (k l)"),
        )
        x = self.join(network, references)
        return network.run_reference_encoder(x, *joined)

    def join(self, network: MRCUNet, references: Tensor) -> Tensor:
        """References [B, K, C, T, F] as channels of one map, aligned to the trained number."""
        slots = network.config.max_references
        if references.shape[1] != slots:
            raise InputError(
                f"references: this network takes {slots} slots, found {references.shape[1]}; use "
                "weights with an alignment layer for that many"
            )
        x = rearrange(references, "b k c t f -> b (k c) t f")
        return x if network.alignment is None else network.alignment(x)


class PlacedFusion:
    """Each reference at its own place on the target's time axis, encoded with shared weights;
    features are summed (our addition; the paper has no timeline).

    So any number of references works, overlaps work, and copying is local.
    """

    name = "placed"
    architectures = ("mrc",)
    uses_timeline = True
    # A batch without any reference leaves the reference encoder idle.
    may_skip_encoder = True

    def input_channels(self, config: MRCConfig) -> int:
        """Channels of the reference encoder's input."""
        return config.latent_channels + MARKERS

    def stack(self, canvases: Sequence[Tensor], silence: Tensor, slots: int, frames: int) -> Tensor:
        """Canvases [max(K, 1), C + 2, T, F]; without references, one blank that is masked."""
        if canvases:
            return torch.stack(list(canvases))
        channels, _, bands = silence.shape
        return silence.new_zeros(1, channels + MARKERS, frames, bands)

    def keep(self, latents: Tensor, kept: Sequence[int], silence: Tensor) -> Tensor:
        """All of them: the mask hides what is not kept."""
        return latents

    def visible_captions(self, caption_mask: Tensor, reference_mask: Tensor) -> Tensor:
        """Which caption tokens [B, K, L] the decoder attends to.

        Empty slots are hidden, so that an item's result does not depend on how many slots its batch
        has; an item without any reference attends to the empty caption of its first slot.
        """
        visible = reference_mask.clone()
        visible[:, 0] |= ~reference_mask.any(dim=1)
        return caption_mask & visible[..., None]

    def encode(
        self,
        network: MRCUNet,
        references: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        reference_mask: Tensor,
    ) -> list[Tensor]:
        """Reference features: one tensor a skip, [B, width, T_i, F_i], zero for an item without
        references; no tensors if the whole batch has none.
        """
        batch = len(references)
        row = reference_mask.nonzero()[:, 0]
        if len(row) == 0:
            return []
        # Only slots that hold a reference are encoded, as one batch; then each item sums its own.
        features = network.run_reference_encoder(
            references[reference_mask], captions[reference_mask], caption_mask[reference_mask]
        )
        return [f.new_zeros(batch, *f.shape[1:]).index_add(0, row, f) for f in features]

    def join(self, network: MRCUNet, references: Tensor) -> Tensor:
        """Not possible: only the -UNet variant joins references, and placed ones exclude it."""
        raise NotImplementedError("placed references have an encoder of their own")


Fusion = ConcatFusion | PlacedFusion
FUSIONS: dict[str, type[Fusion]] = {f.name: f for f in (ConcatFusion, PlacedFusion)}


def fusion_of(config: MRCConfig) -> Fusion:
    """The fusion that a configuration names.

    Raises
    ------
    CheckpointError
        If the name is unknown, or the architecture cannot use it.
    """
    if config.fusion not in FUSIONS:
        raise CheckpointError(
            f"mrc.fusion: expected {' or '.join(FUSIONS)}, found {config.fusion!r}"
        )
    fusion: Fusion = FUSIONS[config.fusion]()
    if config.architecture not in fusion.architectures:
        raise CheckpointError(
            f"mrc.architecture: expected {' or '.join(fusion.architectures)} with {fusion.name} "
            f"references, found {config.architecture!r}"
        )
    return fusion
