"""What every vocoder shares: mels of any length, a chunk at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..config import VocoderConfig, VocosConfig
from ..errors import InputError

FLOOR = 1e-5
"""Magnitude of the mel that stands for silence."""


class MelVocoder(nn.Module):
    """Base of the vocoders: log-mel [B, num_mels, frames] to waveform [B, 1, frames * hop_length].

    Attributes
    ----------
    config
        Sizes, with `num_mels` and `hop_length`.
    least_frames
        Fewest frames that `forward` takes; `vocode` extends shorter mels by silence.
    """

    config: VocoderConfig | VocosConfig
    least_frames = 1

    def receptive_field(self) -> int:
        """Frames of mel on either side of a frame that its samples depend on."""
        raise NotImplementedError

    def chunk(self, mel: Tensor, first: int) -> Tensor:
        """Waveform of a stretch of a mel that begins at its frame number `first`."""
        return self(mel)

    @torch.no_grad()
    def vocode(self, mel: Tensor, chunk_frames: int = 256) -> Tensor:
        """Waveform of a mel of any length, `chunk_frames` frames at a time.

        Each chunk is computed with the whole receptive field as context, which is then cut off, so
        that the result is the same as `forward`'s and the working memory does not grow with the
        length.

        Parameters
        ----------
        mel : Tensor
            [B, 1, frames, num_mels], natural logarithm of the magnitude, as the VAE decodes it.
        chunk_frames : int
            Frames a chunk, without context.

        Returns
        -------
        Tensor
            [B, 1, frames * hop_length].

        Raises
        ------
        InputError
            If the shape of `mel` is not the one above.
        """
        bands, hop = self.config.num_mels, self.config.hop_length
        if mel.ndim != 4 or mel.shape[1] != 1 or mel.shape[2] == 0 or mel.shape[3] != bands:
            raise InputError(
                f"mel: expected [batch, 1, frames, {bands}], found {list(mel.shape)}; use the "
                "model's own mel front-end"
            )
        frames, context = mel.shape[2], self.receptive_field()
        mel = rearrange(mel, "b 1 t m -> b m t")
        mel = F.pad(mel, (0, max(0, self.least_frames - frames)), value=math.log(FLOOR))
        if frames <= chunk_frames + context:
            return self.chunk(mel, 0)[..., : frames * hop]
        parts = []
        for start in range(0, frames, chunk_frames):
            end, left = min(start + chunk_frames, frames), max(0, start - context)
            part = self.chunk(mel[..., left : end + context], left)
            # A copy, so that the context's samples are not kept.
            parts.append(part[..., (start - left) * hop : (end - left) * hop].clone())
        return torch.cat(parts, dim=-1)
