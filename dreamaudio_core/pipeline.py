"""The whole system, stage by stage (paper, figure 2):

    condition -> arrange -> sample -> decode -> vocode -> render

`DreamAudio.generate` runs them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Sequence

import torch
from torch import Tensor, nn

from .arranging import check_arrangement
from .audio.griffin_lim import GriffinLim
from .audio.levels import check_output, keep_headroom
from .audio.mel import LogMel
from .config import MAX_SEED, SamplingConfig
from .device import with_less_memory
from .errors import InputError
from .networks.fusion import Fusion
from .networks.mrc import MRCUNet
from .networks.vae import AutoencoderKL
from .networks.vocoder import Vocoder
from .progress import Progress, part_of
from .rendering.detail import Detail, find_placement, output_rate, parse_rate, render_detail
from .rendering.events import Event, render_events
from .rendering.placing import free_canvas, placed_canvas, quiet_frames, silence_latent
from .rendering.slots import ReferenceSlots, plan_slots
from .sampling.guidance import Branch, Guidance, branches, reference_sets
from .sampling.noise import initial_noise
from .sampling.objectives import Objective, objective_of
from .sampling.row_by_row import Rows
from .sampling.solvers import StepCallback
from .scene.reference import Reference
from .scene.timeline import Arrangement, Placements
from .text_stages import Conditioning, TextStages

# A reference that the network placed is found again where its alignment scores below this.
FOUND = 1.0


@dataclass
class Generation:
    """What `DreamAudio.generate` gives, one item for each seed.

    Parameters
    ----------
    waveforms
        [B, channels, samples], full scale at 1.
    sample_rate
        In Hz.
    arrangement
        Where each reference sounds.
    mel
        Log-mel spectrograms [B, 1, frames, bands].
    latents
        Scaled latents [B, C, T, F].
    seeds
        One for each item.
    settings
        How it was sampled.
    warnings
        What was left out, cut or not understood, one sentence each.
    references
        Those given, and after them those taken from the starter library.
    """

    waveforms: Tensor
    sample_rate: int
    arrangement: Arrangement
    mel: Tensor
    latents: Tensor
    seeds: tuple[int, ...]
    settings: SamplingConfig
    warnings: tuple[str, ...]
    references: tuple[Reference, ...] = ()

    @property
    def timeline(self) -> tuple[Placements, ...]:
        """Placements of each reference."""
        return self.arrangement.timeline


@dataclass(kw_only=True)
class DreamAudio(TextStages):
    """All parts of a model, with one method a stage.

    Parameters
    ----------
    config
        Sizes, objective and recommended sampling.
    flow, vae, vocoder, text_encoder, arranger
        The parts; each may be exchanged for another of the same configuration.
    device
        Where the stages compute; parts are expected there.
    """

    flow: MRCUNet
    vae: AutoencoderKL
    vocoder: Vocoder

    @property
    def fusion(self) -> Fusion:
        """How references enter the network."""
        return self.flow.fusion

    @cached_property
    def objective(self) -> Objective:
        """What the network predicts."""
        return objective_of(self.flow.config.objective)

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

    def weak_warnings(self, arrangement: Arrangement) -> tuple[str, ...]:
        """A word where the network is left alone by a model that is weak at that."""
        alone = not any(r.used and r.placements != () for r in arrangement.references)
        if not (alone and self.config.sampling.library):
            return ()
        return (
            "no reference sounds here, and what this model makes from text alone is weak; give it "
            "references",
        )

    @torch.inference_mode()
    def encode_references(
        self,
        references: Sequence[Reference],
        arrangement: Arrangement,
        variation: float = 0.0,
        seed: int = 0,
    ) -> ReferenceSlots:
        """Latents R of the references where they sound, as the network's fusion takes them; placed
        ones that overlap share a slot.

        Parameters
        ----------
        variation, seed
            See `rendering.events.render_events`; give `render` the same.
        """
        _, frames, _ = self.config.latent_shape(arrangement.seconds)
        own = (self.vae, self.log_mel, self.silence)
        events = [
            None if places is None else render_events(reference, places, variation, seed)
            for reference, places in zip(references, arrangement.timeline)
        ]
        slots, choices = plan_slots(
            events,
            reference_sets([reference.strength for reference in references]),
            self.config.frame_seconds,
            mix=self.fusion.uses_timeline,
        )
        canvases = []
        for slot in slots:
            if slot.events is None:
                (k,) = slot.members
                waveform = references[k].waveform.to(self.device)
                canvases.append(free_canvas(*own, waveform, frames))
            else:
                canvases.append(placed_canvas(*own, slot.events, frames))
        latents = self.fusion.stack(canvases, self.silence, self.max_references, frames)
        empty = [()] * (len(latents) - len(slots))
        return ReferenceSlots(latents, (*(slot.members for slot in slots), *empty), choices)

    @torch.inference_mode()
    def sample(
        self,
        conditioning: Conditioning,
        arrangement: Arrangement,
        seeds: Sequence[int] = (0,),
        settings: SamplingConfig | None = None,
        *,
        reference_slots: ReferenceSlots | None = None,
        start_latent: Tensor | None = None,
        denoise: float = 1.0,
        variation: float = 0.0,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Draw one latent for each seed.

        Parameters
        ----------
        seeds
            One per item; an item depends on its own seed alone.
        settings
            The model's own by default.
        reference_slots
            Result of `encode_references`, if it is at hand.
        start_latent
            Scaled latent [1 or B, C, T, F] to begin from (audio to audio).
        denoise
            Denoising strength above 0 and up to 1; 1 ignores the start latent.
        variation
            See `encode_references`. Above 0 each seed has references of its own: they are encoded
            here, and the seeds drawn one after the other.
        callback
            Called after each step with (step, steps, z); may raise to cancel.

        Returns
        -------
        Tensor
            Scaled latents [B, C, T, F], float32.
        """
        settings = self.config.sampling if settings is None else settings
        settings, _ = self.limit_guidance(settings)
        most = self.config.sampling.max_guidance
        _check_seeds(seeds)
        if not 0.0 < denoise <= 1.0:
            raise InputError(f"denoise: expected a share above 0 and up to 1, found {denoise}")
        check_variation(variation)
        if variation > 0.0:
            starts = [start_latent] * len(seeds)
            if start_latent is not None and 1 < len(start_latent) == len(seeds):
                starts = list(start_latent[:, None])
            drawn = [
                self.sample(
                    conditioning,
                    arrangement,
                    (seed,),
                    settings,
                    reference_slots=self.encode_references(
                        conditioning.references, arrangement, variation, seed
                    ),
                    start_latent=start,
                    denoise=denoise,
                    callback=callback,
                )
                for seed, start in zip(seeds, starts)
            ]
            return torch.cat(drawn)
        guidance = Guidance(settings.guidance, settings.reference_guidance)
        plan = branches(guidance, [min(r.strength, most) for r in conditioning.references])
        shape = self.config.latent_shape(arrangement.seconds)
        noise = initial_noise(shape, [int(s) for s in seeds]).to(self.device)
        start = 0.0
        if start_latent is not None and denoise < 1.0:
            start = 1.0 - denoise
            start_latent = _fit_start(start_latent, noise, arrangement.seconds)

        if reference_slots is None:
            reference_slots = self.encode_references(conditioning.references, arrangement)
        conditions = self._conditions(conditioning, arrangement, reference_slots, plan)
        evaluate = Rows(self.flow, self.flow.precompute(**conditions).repeat(len(noise)))
        dtype = next(self.flow.parameters()).dtype
        quiet = self._quiet(conditioning, arrangement) if start == 0.0 else None
        # From the noise straight to silence: with this velocity every solver ends there exactly.
        to_silence = None if quiet is None else self.silence.to(noise) - noise

        def predict(z: Tensor, time: float) -> Tensor:
            # All branches of all items in one batch, branch by branch.
            out = evaluate(z.to(dtype).repeat(len(plan), 1, 1, 1), time)
            parts = out.float().chunk(len(plan))
            guided = torch.stack([b.weight * part for b, part in zip(plan, parts)]).sum(0)
            if quiet is None or to_silence is None:
                return guided
            return torch.where(quiet, to_silence, guided)

        latents = self.objective.sample(
            predict,
            noise,
            steps=settings.steps,
            solver=settings.solver,
            shift=settings.shift,
            ease=settings.ease,
            start_latent=start_latent,
            start=start,
            callback=callback,
        )
        return _finite(latents, "sampled latents")

    def _conditions(
        self,
        conditioning: Conditioning,
        arrangement: Arrangement,
        slots: ReferenceSlots,
        plan: Sequence[Branch],
    ) -> dict[str, Tensor]:
        """Inputs of `MRCUNet.precompute`, one row for each branch of guidance."""
        captions = conditioning.joined_captions(slots.members)
        empty = len(slots.members)
        rows: list[dict[str, Tensor]] = []
        for branch in plan:
            # A reference that the timeline leaves out does not sound, so its caption must not reach
            # the network either.
            used = tuple(k for k in branch.references if arrangement.timeline[k] != ())
            kept = slots.choices[used]
            text = (
                conditioning.prompt_tokens if branch.with_prompt else conditioning.negative_tokens
            )
            shown = [i if i in kept else empty for i in range(empty)]
            rows.append(
                {
                    "prompt": text.features,
                    "prompt_mask": text.mask,
                    "captions": captions.features[shown],
                    "caption_mask": captions.mask[shown],
                    "references": self.fusion.keep(slots.latents, kept, self.silence),
                    "reference_mask": torch.tensor([i in kept for i in range(empty)]),
                }
            )
        dtype = next(self.flow.parameters()).dtype
        stacked = {
            name: torch.stack([row[name] for row in rows]).to(self.device) for name in rows[0]
        }
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in stacked.items()}

    def _quiet(self, conditioning: Conditioning, arrangement: Arrangement) -> Tensor | None:
        """Frames [T, 1] that are led to silence; None where the network decides."""
        active = [k for k, reference in enumerate(conditioning.references) if reference.active]
        timeline = [arrangement.timeline[k] for k in active]
        wanted = arrangement.missing == "silence" and self.objective.can_steer
        if not (wanted and any(timeline)) or None in timeline:
            return None
        _, frames, _ = self.config.latent_shape(arrangement.seconds)
        return quiet_frames(timeline, frames, self.config.frame_seconds)[:, None].to(self.device)

    @torch.inference_mode()
    def encode(self, waveform: Tensor, seconds: float) -> Tensor:
        """Scaled latent [1, C, T, F] of a mono sound [T] at the model's rate, cut or padded with
        silence to `seconds`.
        """
        _, frames, _ = self.config.latent_shape(seconds)
        samples = frames * self.config.vae.stride * self.config.audio.hop_length
        waveform = waveform[: round(seconds * self.config.audio.sample_rate)]
        padded = nn.functional.pad(waveform, (0, samples - len(waveform))).to(self.device)
        mel = self.log_mel(padded[None])
        return self.vae.encode(mel.to(next(self.vae.parameters()).dtype)).float()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Log-mels [B, 1, frames, bands] of scaled latents [B, C, T, F], float32."""
        dtype = next(self.vae.parameters()).dtype
        latents = latents.to(self.device, dtype)
        mel = with_less_memory(
            lambda: self.vae.decode(latents),
            lambda: torch.cat([self.vae.decode(latent) for latent in latents.split(1)]),
            "decoding",
        )
        return _finite(mel.float(), "decoded mel")

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
        return _finite(waveform, "waveform of the vocoder")

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

    def limit_guidance(self, settings: SamplingConfig) -> tuple[SamplingConfig, tuple[str, ...]]:
        """Settings with guidance limited to what the model bears, and a word for each scale that
        was cut.
        """
        Guidance(settings.guidance, settings.reference_guidance)  # Refuses what is no scale.
        most, warnings = self.config.sampling.max_guidance, []
        scales = {
            "guidance": settings.guidance,
            "reference_guidance": settings.reference_guidance,
        }
        for name, scale in scales.items():
            if scale is not None and scale > most:
                scales[name] = most
                warnings.append(
                    f"{name.replace('_', ' ')}: {scale:g} is more than this model bears; {most:g} "
                    "is used"
                )
        return settings.override(**scales), tuple(warnings)

    def generate(
        self,
        prompt: str,
        references: Sequence[Reference] = (),
        *,
        seeds: Sequence[int] = (0,),
        seconds: float | None = None,
        negative_prompt: str = "",
        missing: str = "auto",
        free: bool = False,
        arrangement: Arrangement | None = None,
        steps: int | None = None,
        solver: str | None = None,
        guidance: float | None = None,
        reference_guidance: float | None = None,
        shift: float | None = None,
        start_latent: Tensor | None = None,
        denoise: float = 1.0,
        detail: float | None = None,
        sample_rate: int | str = "auto",
        variation: float = 0.0,
        callback: StepCallback | None = None,
    ) -> Generation:
        """Prompt and references to sound, one for each seed; what is None is the model's own.

        Parameters
        ----------
        prompt
            Text description of the audio.
        references
            Sounds with a caption each.
        seeds
            One for each waveform.
        seconds, free
            See `arrange`.
        missing
            What becomes of parts of the prompt that no reference stands for, one of
            `scene.timeline.MISSING_CHOICES`.
        negative_prompt
            What to avoid.
        arrangement
            Result of `arrange`, edited or not, instead of a reading of the prompt; its length
            counts.
        steps, solver, guidance, reference_guidance, shift
            See `config.SamplingConfig`.
        start_latent, denoise, callback
            See `sample`.
        detail
            How much of the references' own waveforms the result has, from 0 (the network's output)
            to 1.
        sample_rate
            Rate of the result in Hz: 16000, 24000, 44100, 48000, or `auto` for the highest of the
            references.
        variation
            How far each placed event differs from its reference, from 0 to 1; drawn by the seed.

        Raises
        ------
        InputError
            If a value is out of range.
        """
        check_variation(variation)
        amount = self.config.sampling.detail if detail is None else detail
        rendering = Detail(amount, parse_rate(sample_rate))
        settings = self.config.sampling.override(
            steps=steps,
            solver=solver,
            guidance=guidance,
            reference_guidance=reference_guidance,
            shift=shift,
        )
        _check_seeds(seeds)
        if arrangement is None:
            references, missing = self.add_library_sounds(prompt, references, missing)
        conditioning = self.condition(prompt, references, negative_prompt)
        if arrangement is None:
            arrangement = self.arrange(conditioning, seconds, missing=missing, free=free)
        else:
            arrangement = check_arrangement(arrangement, conditioning.references)
        settings, cut = self.limit_guidance(settings)
        latents = self.sample(
            conditioning,
            arrangement,
            seeds,
            settings,
            start_latent=start_latent,
            denoise=denoise,
            variation=variation,
            callback=callback,
        )
        mel = self.decode(latents)
        waveforms, rate, scaled = self.render(
            self.vocode(mel, arrangement.seconds),
            mel,
            conditioning.references,
            arrangement,
            seeds,
            rendering,
            variation,
        )
        return Generation(
            waveforms=waveforms,
            sample_rate=rate,
            arrangement=arrangement,
            mel=mel,
            latents=latents,
            seeds=tuple(seeds),
            settings=settings,
            warnings=conditioning.warnings
            + arrangement.warnings
            + self.weak_warnings(arrangement)
            + cut
            + scaled,
            references=conditioning.references,
        )


def check_variation(variation: float) -> None:
    """Refuse anything but a number from 0 to 1."""
    if not 0.0 <= variation <= 1.0:
        raise InputError(f"variation: expected a number from 0 to 1, found {variation}")


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise InputError("seeds: expected at least one, found none")
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"seed: expected a whole number from 0 to 2**64 - 1, found {seed}")


def _fit_start(start_latent: Tensor, noise: Tensor, seconds: float) -> Tensor:
    """Start latent for each item of `noise` [B, C, T, F]."""
    if start_latent.shape[1:] != noise.shape[1:] or len(start_latent) not in (1, len(noise)):
        raise InputError(
            f"start latent: expected [1 or {len(noise)}, {', '.join(map(str, noise.shape[1:]))}], "
            f"found {list(start_latent.shape)}; encode a sound of {seconds:g} s"
        )
    return start_latent.to(noise).expand_as(noise)


def _finite(values: Tensor, what: str) -> Tensor:
    """The values, unless one is NaN or infinite: a silent file must not pass as a result."""
    if not torch.isfinite(values).all():
        raise InputError(
            f"{what}: NaN or infinite values; either what went in has them already, or the weights "
            "do not bear the precision: use float32, or other weights"
        )
    return values
