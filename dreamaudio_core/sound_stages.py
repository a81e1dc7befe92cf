"""The stages between sound and latents: the codec both ways, and rendering with the references.

They need a model's VAE and vocoder; nothing is drawn here but the variation of events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Sequence

import torch
from torch import Tensor, nn

from .audio.griffin_lim import GriffinLim
from .audio.levels import check_output, keep_headroom
from .audio.mel import LogMel
from .device import with_less_memory
from .errors import InputError
from .networks.vae import AutoencoderKL
from .networks.vocoder import Vocoder
from .progress import Progress, part_of
from .rendering.detail import Detail, find_placement, output_rate, render_detail
from .rendering.events import Event, render_events
from .rendering.placing import silence_latent
from .rendering.stretches import decode_latents, encode_mel
from .scene.reference import Reference
from .scene.timeline import Arrangement
from .text_stages import TextStages

# A reference that the network placed is found again where its alignment scores below this.
FOUND = 1.0


@dataclass(kw_only=True)
class SoundStages(TextStages):
    """Parts of a model that turn latents into sound, with one method a stage."""

    vae: AutoencoderKL
    vocoder: Vocoder

    @cached_property
    def log_mel(self) -> LogMel:
        """Mel front-end, shared by VAE and vocoder."""
        return LogMel(self.config.audio, device=self.device)

    @cached_property
    def griffin_lim(self) -> GriffinLim:
        """Refinement after the vocoder."""
        return GriffinLim(self.config.audio, self.device)

    @cached_property
    def silence(self) -> Tensor:
        """Scaled latent [C, 1, F] of one frame amid silence."""
        with torch.inference_mode():
            return silence_latent(self.vae, self.config.audio)

    @torch.inference_mode()
    def encode(self, waveform: Tensor, seconds: float) -> Tensor:
        """Scaled latent [1, C, T, F] of a mono sound [T] at the model's rate, cut or padded with
        silence to `seconds`.
        """
        _, frames, _ = self.config.latent_shape(seconds)
        samples = frames * self.config.vae.stride * self.config.audio.hop_length
        waveform = waveform[: round(seconds * self.config.audio.sample_rate)]
        padded = nn.functional.pad(waveform, (0, samples - len(waveform))).to(self.device)
        mel = self.log_mel(padded[None]).to(next(self.vae.parameters()).dtype)
        return encode_mel(self.vae, mel, "encoding a sound").float()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Log-mels [B, 1, frames, bands] of scaled latents [B, C, T, F], float32."""
        dtype = next(self.vae.parameters()).dtype
        latents = latents.to(self.device, dtype)
        return check_finite(decode_latents(self.vae, latents).float(), "decoded mel")

    @torch.inference_mode()
    def vocode(
        self, mel: Tensor, seconds: float | None = None, progress: Progress | None = None
    ) -> Tensor:
        """Waveforms [B, 1, samples] of log-mels [B, 1, frames, bands], refined as the vocoder asks
        for and cut to `seconds`; `progress` gets how many of how many refinements are done.
        """
        mel = mel.to(self.device)
        cast = mel.to(next(self.vocoder.parameters()).dtype)
        waveform = with_less_memory(
            lambda: self.vocoder.vocode(cast),
            lambda: torch.cat([self.vocoder.vocode(item, 128) for item in cast.split(1)]),
            "vocoding",
        ).float()
        iterations = self.config.vocoder.refinement_iterations
        if iterations:
            waveform = self.griffin_lim.refine(waveform[:, 0], mel.float(), iterations, progress)[
                :, None
            ]
        if seconds is not None:
            waveform = waveform[..., : round(seconds * self.config.audio.sample_rate)]
        return check_finite(waveform, "waveform of the vocoder")

    @torch.inference_mode()
    def codec(self, waveform: Tensor) -> Tensor:
        """Log-mel [frames, bands] that the VAE makes of a mono sound [T] at the model's rate."""
        seconds = len(waveform) / self.config.audio.sample_rate
        return self.decode(self.encode(waveform, seconds))[0, 0]

    @torch.inference_mode()
    def render(
        self,
        waveforms: Tensor,
        mel: Tensor,
        references: Sequence[Reference],
        arrangement: Arrangement,
        seeds: Sequence[int] = (0,),
        detail: Detail | None = None,
        variation: float = 0.0,
        progress: Progress | None = None,
    ) -> tuple[Tensor, int, tuple[str, ...]]:
        """Bring back what the latents cannot carry, from the references (`rendering.detail`), and
        keep headroom.

        References that the network placed itself are searched for in `mel`.

        Parameters
        ----------
        waveforms, mel
            Results of `vocode` [B, 1, samples] and `decode` [B, 1, frames, bands].
        seeds, variation
            Those of the references' latents.
        progress
            Gets how many of how many events are rendered.

        Returns
        -------
        tuple
            Waveforms [B, 1 or 2, samples], their rate in Hz, and warnings, such as that the sound
            was scaled down.
        """
        detail = Detail(self.config.sampling.detail) if detail is None else detail
        audio = self.config.audio
        check_output(waveforms, "waveform")
        check_variation(variation)
        if detail.sample_rate is None and detail.amount > 0.0:
            used = zip(references, arrangement.timeline)
            rates = [r.source.sample_rate for r, places in used if r.active and places != ()]
            detail = replace(detail, sample_rate=output_rate(rates, audio.sample_rate))
        items, rate = [], audio.sample_rate
        pairs = list(zip(waveforms[:, 0].cpu(), mel[:, 0], seeds))
        for index, (waveform, item_mel, seed) in enumerate(pairs):
            groups = self._events(references, arrangement, item_mel, variation, seed)
            item, rate = render_detail(
                waveform,
                item_mel,
                groups,
                self.codec,
                audio,
                detail,
                rest=arrangement.missing == "generate",
                progress=part_of(progress, index, len(pairs)),
            )
            items.append(item)
            if progress is not None:
                progress(index + 1, len(pairs))
        channels = max(len(item) for item in items)
        stacked = torch.stack([item.expand(channels, -1) for item in items])
        # All items alike, so that variations keep their levels among one another.
        scaled, gain = keep_headroom(stacked, rate)
        warnings = (f"scaled by {gain:.1f} dB to keep 1 dB of headroom",) if gain < 0.0 else ()
        return scaled, rate, warnings

    def _events(
        self,
        references: Sequence[Reference],
        arrangement: Arrangement,
        mel: Tensor,
        variation: float,
        seed: int,
    ) -> list[list[Event]]:
        groups = []
        for reference, arranged in zip(references, arrangement.references):
            places = arranged.placements
            if not reference.active or places == ():
                continue
            if places is None:
                samples = round(arrangement.seconds * reference.sample_rate)
                sound = self.codec(reference.waveform[:samples]).cpu()
                frames = round(reference.seconds * reference.sample_rate)
                sound = sound[: -(-frames // self.config.audio.hop_length)]
                place, score = find_placement(mel.cpu(), sound, self.config.audio)
                places = (place,) if score < FOUND else ()
            groups.append(render_events(reference, places, variation, seed))
        return groups


def check_variation(variation: float) -> None:
    """Refuse anything but a number from 0 to 1."""
    if not 0.0 <= variation <= 1.0:
        raise InputError(f"variation: expected a number from 0 to 1, found {variation}")


def check_finite(values: Tensor, label: str) -> Tensor:
    """The values, unless one is NaN or infinite: a silent file must not pass as a result."""
    if not torch.isfinite(values).all():
        raise InputError(
            f"{label}: NaN or infinite values; either what went in has them already, or the "
            "weights do not bear the precision: use float32, or other weights"
        )
    return values
