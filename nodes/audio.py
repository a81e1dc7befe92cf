"""ComfyUI's AUDIO at the boundary of the core."""

import torch

from ..dreamaudio_core.errors import AudioError


def sounds(audio, what: str) -> tuple[torch.Tensor, int]:
    """Waveforms [B, 1 or 2, T] and rate of an AUDIO.

    Raises
    ------
    AudioError
        If it is missing or has another shape.
    """
    if audio is None:
        raise AudioError(
            f"{what}: there is no sound in it (a video without an audio track, say); connect "
            "another source"
        )
    waveform = audio.get("waveform") if isinstance(audio, dict) else None
    if not isinstance(waveform, torch.Tensor) or "sample_rate" not in audio:
        raise AudioError(
            f"{what}: expected ComfyUI's AUDIO with a waveform and a sample rate; connect "
            "another source"
        )
    if waveform.dim() != 3:
        raise AudioError(
            f"{what}: expected a waveform [batch, channels, samples], found "
            f"{list(waveform.shape)}; repair the "
            "node that made it"
        )
    if waveform.shape[0] == 0 or waveform.shape[1] not in (1, 2):
        raise AudioError(
            f"{what}: expected mono or stereo, found {waveform.shape[1]} channels in a batch of "
            f"{waveform.shape[0]}; mix it down first"
        )
    return waveform.detach().cpu(), int(audio["sample_rate"])


def one_sound(audio, what: str) -> tuple[torch.Tensor, int]:
    """Waveform [1 or 2, T] and rate of an AUDIO that holds one sound."""
    waveform, rate = sounds(audio, what)
    if len(waveform) != 1:
        raise AudioError(
            f"{what}: expected one sound, found a batch of {len(waveform)}; make one with batch "
            "size 1"
        )
    return waveform[0], rate
