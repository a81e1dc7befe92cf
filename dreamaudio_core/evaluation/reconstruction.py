"""How well the VAE reconstructs log-mels, and vocoders waveforms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..data.bank import Bank
from ..pipeline import DreamAudio

SECONDS = (1.0, 5.0)
RESOLUTIONS = (512, 1024, 2048)

Vocode = Callable[[Tensor], Tensor]
"""From a log-mel [frames, bands] to a waveform [T]."""


def stft_distance(a: Tensor, b: Tensor) -> float:
    """L1 distance of the log magnitudes (floor 1e-5) of waveforms [T] plus the spectral
    convergence, a mean over three resolutions.
    """
    parts = []
    for size in RESOLUTIONS:
        window = torch.hann_window(size)
        x, y = (
            torch.stft(w, size, size // 4, window=window, return_complex=True).abs() for w in (a, b)
        )
        logs = (x.clamp(min=1e-5).log() - y.clamp(min=1e-5).log()).abs().mean()
        parts.append(logs + torch.linalg.norm(x - y) / torch.linalg.norm(y))
    return float(sum(parts) / len(parts))


@torch.inference_mode()
def measure_reconstruction(
    model: DreamAudio,
    bank: Bank,
    clips: int,
    others: dict[str, Vocode] | None = None,
) -> dict[str, float]:
    """Reconstruction of test clips of 1 to 5 s of a bank.

    Parameters
    ----------
    others
        Further vocoders to compare with, by name.

    Returns
    -------
    dict[str, float]
        `clips`; `vae_log_mel_l1`; and on true mels for the vocoder as the model uses it
        (`vocoder`), alone (`bare_vocoder`) and each of `others`: `NAME_log_mel_l1` and `NAME_stft`.
    """
    shortest, longest = SECONDS
    rate, config = model.config.audio.sample_rate, model.config
    whole = [i for i, e in enumerate(bank.entries) if e.split == "test" and e.seconds >= shortest]
    chosen = [whole[int(k)] for k in np.random.default_rng(3).permutation(len(whole))[:clips]]
    vocoders: dict[str, Vocode] = {
        "vocoder": lambda mel: model.vocode(mel[None, None])[0, 0],
        "bare_vocoder": lambda mel: model.vocoder.vocode(mel[None, None])[0, 0].clamp(-1.0, 1.0),
        **(others or {}),
    }
    found: dict[str, list[float]] = {"vae_log_mel_l1": []}
    frame = config.audio.hop_length * config.vae.stride
    for index in chosen:
        wave = bank.waveform(index)[: round(longest * rate)]
        wave = wave[: len(wave) // frame * frame]
        mel = model.log_mel(wave[None])
        reconstructed = model.decode(model.vae.encode(mel))
        found["vae_log_mel_l1"].append(float((reconstructed - mel).abs().mean()))
        for name, vocode in vocoders.items():
            generated = vocode(mel[0, 0])
            error = (model.log_mel(generated[None]) - mel).abs().mean()
            found.setdefault(f"{name}_log_mel_l1", []).append(float(error))
            found.setdefault(f"{name}_stft", []).append(stft_distance(generated, wave))
    return {"clips": len(chosen), **{name: float(np.mean(v)) for name, v in found.items()}}
