"""Placed references: each reference's latent put at its place on the target's time axis, with two
marker channels.
"""

from __future__ import annotations

import math
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.edit import fade_edges, loudest_stretch
from ..audio.mel import LogMel, silence_log_mel
from ..config import AudioConfig, VAEConfig
from ..networks.vae import AutoencoderKL
from ..scene.timeline import Placement, Placements
from .events import CUT_SECONDS, Event, network_mix
from .stretches import encode_mel

# Latent frames of silence on both sides of a sound while it is encoded: convolutions pad with 0,
# which is loud in log-mel.
MARGIN = 4
# Latent frames around a placed sound that it may still colour.
REACH = 2
FADE_SECONDS = 0.005


def latent_frames(samples: int, vae: VAEConfig, audio: AudioConfig) -> int:
    """Latent frames of a sound of so many samples."""
    return max(1, -(-samples // (audio.hop_length * vae.stride)))


def encode_sound(vae: AutoencoderKL, log_mel: LogMel, waveform: Tensor) -> Tensor:
    """Scaled latent [C, frames, bands] of a sound [T] alone, without the influence of padding at
    its edges.
    """
    return encode_sounds(vae, log_mel, [waveform])[0]


def encode_sounds(
    vae: AutoencoderKL, log_mel: LogMel, waveforms: Sequence[Tensor], batch: int = 16
) -> list[Tensor]:
    """`encode_sound` of each; those of one length in frames go through the VAE together."""
    unit = log_mel.config.hop_length * vae.config.stride
    counts = [latent_frames(len(w), vae.config, log_mel.config) for w in waveforms]
    found: list[Tensor] = [torch.empty(0)] * len(waveforms)
    for frames in sorted(set(counts)):
        same = [i for i, count in enumerate(counts) if count == frames]
        total = (frames + 2 * MARGIN) * unit
        for begin in range(0, len(same), batch):
            chosen = same[begin : begin + batch]
            padded = torch.stack(
                [
                    F.pad(w, (MARGIN * unit, total - MARGIN * unit - len(w)))
                    for w in (waveforms[i] for i in chosen)
                ]
            )
            mel = log_mel(padded).to(next(vae.parameters()))
            latents = encode_mel(vae, mel, "encoding a reference")
            for i, latent in zip(chosen, latents[:, :, MARGIN : MARGIN + frames]):
                found[i] = latent
    return found


def silence_latent(vae: AutoencoderKL, audio: AudioConfig) -> Tensor:
    """Scaled latent [C, 1, bands] of one frame amid silence."""
    frames = (2 * MARGIN + 1) * vae.config.stride
    parameter = next(vae.parameters())
    mel = silence_log_mel(frames, audio).to(parameter)
    return vae.encode(mel)[0, :, MARGIN : MARGIN + 1]


def cut_part(waveform: Tensor, placement: Placement, sample_rate: int) -> Tensor:
    """The stretch of a prepared reference [T] that a training item's placement uses, at its gain,
    with short ramps where it was cut; `events.cut_event` does it for the result.
    """
    length = min(len(waveform), max(1, round(placement.duration * sample_rate)))
    if placement.offset is None:
        begin = loudest_stretch(waveform, length)
    else:
        begin = min(round(placement.offset * sample_rate), len(waveform) - length)
    part = waveform[begin : begin + length]
    if length < len(waveform):
        part = fade_edges(part, min(round(FADE_SECONDS * sample_rate), length // 2))
    return part * 10 ** (placement.gain / 20)


def canvas(
    parts: Sequence[tuple[int, Tensor]], silence: Tensor, frames: int, placed: bool
) -> Tensor:
    """One reference as the network sees it.

    Parameters
    ----------
    parts
        Start frames and latents [C, t, F]; where two overlap, the later one stands.
    silence
        Latent of silence [C, 1, F].
    frames
        Latent frames of the target.
    placed
        Whether the starts are those of the target; otherwise the network has to find the place.

    Returns
    -------
    Tensor
        [C + 2, frames, F]: latent, presence, placed flag.
    """
    channels, _, bands = silence.shape
    out = silence.new_zeros(channels + 2, frames, bands)
    out[:channels] = silence
    for start, latent in parts:
        latent = latent[:, : max(0, frames - start)]
        out[:channels, start : start + latent.shape[1]] = latent
        out[channels, start : start + latent.shape[1]] = 1.0
    if placed:
        out[channels + 1] = 1.0
    return out


def quiet_frames(timeline: Sequence[Placements], frames: int, frame_seconds: float) -> Tensor:
    """Frames [T] that lie more than `REACH` away from every placement."""
    busy = torch.zeros(1, 1, frames)
    for place in (place for places in timeline for place in places or ()):
        # A hair of tolerance, so that rounding adds no frame.
        start = math.floor(place.start / frame_seconds + 1e-6)
        end = math.ceil((place.start + place.duration) / frame_seconds - 1e-6)
        busy[..., start : max(start + 1, end)] = 1.0
    return F.max_pool1d(busy, 2 * REACH + 1, 1, REACH)[0, 0] == 0


def placed_canvas(
    vae: AutoencoderKL, log_mel: LogMel, silence: Tensor, events: Sequence[Event], frames: int
) -> Tensor:
    """Canvas [C + 2, frames, F] of one reference's events.

    Each event is shifted inside its first latent frame before it is encoded, so that its start is
    exact to the sample; events that share a frame are mixed first.
    """
    audio = log_mel.config
    rate, unit = audio.sample_rate, audio.hop_length * vae.config.stride
    groups: list[tuple[int, int, list[Event]]] = []
    for event in sorted(events, key=lambda event: event.start):
        begin = round(event.start * rate)
        first, last = begin // unit, -(-(begin + round(event.seconds * rate)) // unit)
        if groups and first < groups[-1][1]:
            start, end, members = groups[-1]
            groups[-1] = (start, max(end, last), [*members, event])
        else:
            groups.append((first, max(last, first + 1), [event]))
    parts = []
    for first, last, members in groups:
        if first < frames:
            last = min(last, frames)
            mix = network_mix(members, (last - first) * unit, rate, first * unit)
            parts.append((first, encode_sound(vae, log_mel, mix.to(silence.device))))
    return canvas(parts, silence, frames, placed=True)


def free_canvas(
    vae: AutoencoderKL, log_mel: LogMel, silence: Tensor, waveform: Tensor, frames: int
) -> Tensor:
    """Canvas [C + 2, frames, F] of a prepared reference [T] that the network places: its loudest
    stretch, at time 0.
    """
    unit = log_mel.config.hop_length * vae.config.stride
    length = min(len(waveform), frames * unit)
    begin = loudest_stretch(waveform, length)
    part = waveform[begin : begin + length]
    if length < len(waveform):
        part = fade_edges(part, round(CUT_SECONDS * log_mel.config.sample_rate))
    return canvas([(0, encode_sound(vae, log_mel, part))], silence, frames, placed=False)
