"""The stages that draw latents: references onto slots, and the sampling under guidance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Sequence

import torch
from torch import Tensor

from .config import MAX_SEED, SamplingConfig
from .device import with_less_memory
from .errors import InputError
from .networks.fusion import Fusion
from .networks.mrc import MRCUNet
from .rendering.events import render_events
from .rendering.placing import free_canvas, placed_canvas, quiet_frames
from .rendering.slots import ReferenceSlots, plan_slots
from .sampling.guidance import Branch, Guidance, branches, reference_sets
from .sampling.noise import initial_noise
from .sampling.objectives import Objective, objective_of
from .sampling.row_by_row import Rows
from .sampling.solvers import StepCallback
from .scene.reference import Reference
from .scene.timeline import Arrangement
from .sound_stages import SoundStages, check_finite, check_variation
from .text_stages import Conditioning


@dataclass(kw_only=True)
class LatentStages(SoundStages):
    """Parts of a model that draw latents, with one method a stage."""

    flow: MRCUNet

    @property
    def fusion(self) -> Fusion:
        """How references enter the network."""
        return self.flow.fusion

    @cached_property
    def objective(self) -> Objective:
        """What the network predicts."""
        return objective_of(self.flow.config.objective)

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
        # A reference is rendered at its place before it is encoded, so that gains, fades and cuts
        # of the timeline are in the latent and the network need not know of them.
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
        # The paper's network has a fixed number of slots; those that hold nothing have no members.
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
        check_seeds(seeds)
        if not 0.0 < denoise <= 1.0:
            raise InputError(f"denoise: expected a share above 0 and up to 1, found {denoise}")
        check_variation(variation)
        # Each seed has its own variants of the references, so that no two of them can share a
        # batch.
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
        # Drawn on the CPU, one generator for each seed: an item is the same on every device and in
        # every batch.
        noise = initial_noise(shape, [int(s) for s in seeds]).to(self.device)
        start = 0.0
        if start_latent is not None and denoise < 1.0:
            start = 1.0 - denoise
            start_latent = _fit_start(start_latent, noise, arrangement.seconds)

        if reference_slots is None:
            reference_slots = self.encode_references(conditioning.references, arrangement)
        # What does not depend on the time, which is the reference branch and all keys and values,
        # is computed once here and repeated for each seed.
        conditions = self._conditions(conditioning, arrangement, reference_slots, plan)
        context = with_less_memory(
            lambda: self.flow.precompute(**conditions).repeat(len(noise)),
            None,
            "preparing the references for sampling",
        )
        evaluate = Rows(self.flow, context)
        dtype = next(self.flow.parameters()).dtype
        # A start latent brings sound of its own to the gaps, which must not be led to silence.
        quiet = self._quiet(conditioning, arrangement) if start == 0.0 else None
        # From the noise straight to silence: with this velocity every solver ends there exactly.
        to_silence = None if quiet is None else self.silence.to(noise) - noise

        def predict(z: Tensor, time: float) -> Tensor:
            # All branches of all items in one batch, branch by branch.
            out = evaluate(z.to(dtype).repeat(len(plan), 1, 1, 1), time)
            parts = out.float().chunk(len(plan))
            # Guidance is linear in its branches: their weights add up to 1.
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
        return check_finite(latents, "sampled latents")

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
            # `empty` is the row after the last caption: no text, for slots that this branch leaves
            # out.
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


def check_seeds(seeds: Sequence[int]) -> None:
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
