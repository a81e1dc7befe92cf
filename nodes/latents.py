"""The latents and mels on the wires: tensors with notes on how they were made."""

from dataclasses import dataclass

import comfy.model_management
import torch

from ..dreamaudio_core.config import ModelConfig
from ..dreamaudio_core.errors import InputError

KEY = "dreamaudio"


@dataclass(frozen=True)
class Notes:
    """What later nodes have to know about a latent or mel.

    Parameters
    ----------
    seconds
        Its length.
    timeline
        (caption, placements) of each reference.
    seeds
        One for each item of the batch.
    variation
        That of the references' latents.
    """

    seconds: float
    timeline: tuple = ()
    seeds: tuple[int, ...] = ()
    variation: float = 0.0


def latent_of(samples: torch.Tensor, notes: Notes) -> dict:
    """ComfyUI's LATENT of scaled latents [B, C, T, F]."""
    samples = samples.to(comfy.model_management.intermediate_device())
    return {"samples": samples, "type": "audio", KEY: notes}


def check_latent(latent: dict, config: ModelConfig, label: str) -> torch.Tensor:
    """Scaled latents [B, C, T, F] of a LATENT.

    Raises
    ------
    InputError
        If it is of another kind than the model's.
    """
    samples = latent.get("samples") if isinstance(latent, dict) else None
    channels, _, bands = config.latent_shape()
    if (
        not isinstance(samples, torch.Tensor)
        or samples.dim() != 4
        or samples.shape[1::2] != (channels, bands)
    ):
        found = list(samples.shape) if isinstance(samples, torch.Tensor) else type(samples).__name__
        raise InputError(
            f"{label}: expected a DreamAudio latent [batch, {channels}, frames, {bands}], found "
            f"{found}; connect "
            "the DreamAudio sampler or DreamAudio VAE Encode of the same model"
        )
    return samples


def latent_notes(latent: dict, config: ModelConfig) -> Notes:
    """Notes of a latent; one that lost them has the length of its frames and no timeline."""
    notes = latent.get(KEY)
    if notes is not None:
        return notes
    frames = latent["samples"].shape[2] * config.vae.stride
    return Notes(frames * config.audio.hop_length / config.audio.sample_rate)
