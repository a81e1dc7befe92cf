"""What a model's codec leaves of a sound: mel, VAE and vocoder, without the flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .pipeline import DreamAudio


@dataclass(frozen=True)
class RoundTrip:
    """Result of `roundtrip`.

    Parameters
    ----------
    waveform
        [1, samples], as long as the input.
    decoded_l1
        Mean absolute difference of the log-mel (natural logarithm) after the VAE; None if it was
        left out.
    waveform_l1
        The same after the vocoder, measured on the waveform.
    """

    waveform: Tensor
    decoded_l1: float | None
    waveform_l1: float


@torch.inference_mode()
def roundtrip(
    model: DreamAudio, waveform: Tensor, through: str = "latent", noise: float = 0.0
) -> RoundTrip:
    """Analyse a sound and make it again.

    Parameters
    ----------
    waveform
        Mono samples [T] at the model's rate.
    through
        `"mel"` skips the VAE, `"latent"` does not.
    noise
        Standard deviation of noise added to the latent, from a fixed seed.
    """
    samples, audio = waveform.shape[-1], model.config.audio
    unit = audio.hop_length * model.config.vae.stride
    # A whole number of patches, and enough for the reflection at the ends.
    length = max(2 * audio.n_fft, samples) + unit - 1
    padded = F.pad(waveform, (0, length // unit * unit - samples)).to(model.device)
    mel = model.log_mel(padded[None])
    decoded, decoded_l1 = mel, None
    if through == "latent":
        latent = model.vae.encode(mel.to(next(model.vae.parameters())))
        if noise:
            generator = torch.Generator().manual_seed(0)
            latent = latent + noise * torch.randn(latent.shape, generator=generator).to(latent)
        decoded = model.decode(latent)
        decoded_l1 = _distance(decoded, mel, samples, audio.hop_length)
    result = model.vocode(decoded, len(padded) / audio.sample_rate)[0]
    waveform_l1 = _distance(model.log_mel(result), mel, samples, audio.hop_length)
    return RoundTrip(result[:, :samples], decoded_l1, waveform_l1)


def _distance(found: Tensor, wanted: Tensor, samples: int, hop: int) -> float:
    frames = max(1, samples // hop)
    return float((found.to(wanted) - wanted)[:, :, :frames].abs().mean())
