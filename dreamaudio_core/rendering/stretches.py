"""The VAE within the memory that there is: stretch by stretch where there is none for the whole."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..device import with_less_memory
from ..networks.vae import AutoencoderKL

log = logging.getLogger(__name__)
STRETCH = 32
"""Latent frames of a stretch."""
CONTEXT = 16
"""Latent frames on both sides of a stretch that are computed with it and left out."""


def encode_mel(vae: AutoencoderKL, mel: Tensor, stage: str) -> Tensor:
    """Scaled latents [B, C, T, F] of log-mels [B, 1, frames, bands]; where memory runs out, item by
    item, and a single item stretch by stretch.

    Stretches give what the whole gives for a VAE on patches. They only come near it, which is
    logged, for one of convolutions, whose normalisations and attention reach over all frames.

    Parameters
    ----------
    stage
        What is done, for the error.

    Raises
    ------
    torch.OutOfMemoryError
        If there is no memory for the smaller pieces either.
    """
    return with_less_memory(
        lambda: vae.encode(mel),
        lambda: _in_pieces(vae, vae.encode, mel, vae.config.stride, 1),
        stage,
    )


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Log-mels [B, 1, frames, bands] of scaled latents [B, C, T, F]; see `encode_mel`."""
    return with_less_memory(
        lambda: vae.decode(latents),
        lambda: _in_pieces(vae, vae.decode, latents, 1, vae.config.stride),
        "decoding",
    )


def _in_pieces(
    vae: AutoencoderKL,
    run: Callable[[Tensor], Tensor],
    given: Tensor,
    given_rows: int,
    made_rows: int,
) -> Tensor:
    """`run` on single items, or on stretches of dimension 2 of the only one, which has so many rows
    a latent frame before and after.
    """
    if len(given) > 1:
        return torch.cat([run(item) for item in given.split(1)])
    if vae.config.patch_size == 1:
        log.warning(
            "out of memory: the VAE works stretch by stretch, which changes the sound a bit"
        )
    frames, found = given.shape[2] // given_rows, []
    for begin in range(0, frames, STRETCH):
        end = min(frames, begin + STRETCH)
        first, last = max(0, begin - CONTEXT), min(frames, end + CONTEXT)
        made = run(given[:, :, first * given_rows : last * given_rows])
        found.append(made[:, :, (begin - first) * made_rows : (end - first) * made_rows])
    return torch.cat(found, dim=2)
