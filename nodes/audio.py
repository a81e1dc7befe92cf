"""ComfyUI's AUDIO at the boundary of the core."""

from collections.abc import Mapping

import torch

from ..dreamaudio_core.audio.checks import MAX_CHANNELS, check_rate
from ..dreamaudio_core.audio.levels import check_output
from ..dreamaudio_core.errors import AudioError

GAINS = "dreamaudio_gains"
"""Field of the vocoder's AUDIO: by how many dB each item was scaled to keep headroom."""

SEEDS = "dreamaudio_seeds"
"""Field of generated AUDIO: the seed of each item."""


def seeds_of(audio) -> list[str]:
    """Seeds of the items, as text, since they exceed what JavaScript's numbers hold; empty where
    they are not known.
    """
    seeds, waveform = audio.get(SEEDS, ()), audio["waveform"]
    return [str(seed) for seed in seeds] if len(seeds) == len(waveform) else []


def sounds(audio, label: str, *, channels: int = MAX_CHANNELS) -> tuple[torch.Tensor, int]:
    """Waveforms [B, C, T] and rate in Hz of an AUDIO.

    Parameters
    ----------
    audio
        Any mapping with `waveform` and `sample_rate`, lazy ones included.
    what
        How messages call it.
    channels
        The most that the caller can use.

    Raises
    ------
    AudioError
        If it is missing, has another type or shape, is empty, or holds NaN or infinite samples.
    """
    waveform, rate = _fields(audio, label)
    if waveform.dim() != 3 or waveform.shape[0] == 0:
        raise AudioError(
            f"{label}: expected a waveform [batch, channels, samples], found "
            f"{list(waveform.shape)}; repair the node that made it"
        )
    if not 1 <= waveform.shape[1] <= channels:
        expected = "mono or stereo" if channels == 2 else f"1 to {channels} channels"
        raise AudioError(
            f"{label}: expected {expected}, found {waveform.shape[1]} channels; mix it down first"
        )
    if waveform.shape[2] == 0:
        raise AudioError(f"{label} holds no samples: connect another source")
    check_output(waveform, label)
    return waveform.detach().cpu().float(), rate


def _fields(audio, label: str) -> tuple[torch.Tensor, int]:
    """Waveform and rate as the mapping gives them, of the right types."""
    if audio is None:
        raise AudioError(
            f"{label}: there is no sound in it (a video without an audio track, say); connect "
            "another source"
        )
    wrong = (
        f"{label}: expected ComfyUI's AUDIO with a waveform and a sample rate; connect another "
        "source"
    )
    if not isinstance(audio, Mapping):
        raise AudioError(wrong)
    try:
        waveform, rate = audio["waveform"], audio["sample_rate"]
    except KeyError as error:
        raise AudioError(wrong) from error
    except Exception as error:  # A lazy mapping decodes its file here, by another pack's code.
        raise AudioError(
            f"{label}: there is no sound in it that can be read ({error}); connect another source"
        ) from error
    if not isinstance(waveform, torch.Tensor):
        raise AudioError(wrong)
    try:
        return waveform, check_rate(rate, label)
    except (TypeError, ValueError, OverflowError) as error:
        raise AudioError(f"{label}: expected a sample rate in Hz, found {rate!r}") from error


def one_sound(audio, label: str) -> tuple[torch.Tensor, int]:
    """Waveform [C, T] and rate of an AUDIO that holds one sound."""
    waveform, rate = sounds(audio, label)
    if len(waveform) != 1:
        raise AudioError(
            f"{label}: expected one sound, found a batch of {len(waveform)}; make one with batch "
            "size 1"
        )
    return waveform[0], rate


def network_level(audio, label: str) -> tuple[torch.Tensor, int]:
    """Waveforms [B, 1, T] of the vocoder's AUDIO at the level that the network gave them, and their
    rate.
    """
    waveform, rate = sounds(audio, label, channels=1)
    gains = audio[GAINS] if GAINS in audio else ()
    if len(gains) == len(waveform):
        waveform = waveform / 10 ** (torch.tensor(gains)[:, None, None] / 20)
    return waveform, rate
