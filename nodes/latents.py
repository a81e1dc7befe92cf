"""The latents and mels on the wires: tensors with their length and the timeline of the
references.
"""

import comfy.model_management
import torch

from ..dreamaudio_core.config import ModelConfig
from ..dreamaudio_core.errors import InputError

KEY = "dreamaudio"


def latent_of(samples: torch.Tensor, seconds: float, timeline: tuple = ()) -> dict:
    """ComfyUI's LATENT of scaled latents [B, C, T, F].

    `timeline` holds (caption, placements) of each reference.
    """
    samples = samples.to(comfy.model_management.intermediate_device())
    return {"samples": samples, "type": "audio", KEY: {"seconds": seconds, "timeline": timeline}}


def check_latent(latent: dict, config: ModelConfig, what: str) -> torch.Tensor:
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
            f"{what}: expected a DreamAudio latent [batch, {channels}, frames, {bands}], found "
            f"{found}; connect "
            "the DreamAudio sampler or DreamAudio VAE Encode of the same model"
        )
    return samples


def latent_notes(latent: dict, config: ModelConfig) -> tuple[float, tuple]:
    """Length in seconds and timeline; a latent that lost its notes has the length of its frames and
    no timeline.
    """
    notes = latent.get(KEY)
    if notes is not None:
        return notes["seconds"], notes["timeline"]
    frames = latent["samples"].shape[2] * config.vae.stride
    return frames * config.audio.hop_length / config.audio.sample_rate, ()
