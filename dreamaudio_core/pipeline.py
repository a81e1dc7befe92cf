"""The whole system, stage by stage (paper, figure 2):

    condition -> arrange -> sample -> decode -> vocode -> render

`DreamAudio.generate` runs them all. The stages are in `text_stages`, `latent_stages` and
`sound_stages`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from torch import Tensor

from .arranging import check_arrangement
from .config import SamplingConfig
from .latent_stages import LatentStages, check_seeds
from .rendering.detail import Detail, parse_rate
from .sampling.solvers import StepCallback
from .scene.reference import Reference
from .scene.timeline import Arrangement, Placements
from .sound_stages import check_variation


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
class DreamAudio(LatentStages):
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

    def weak_warnings(self, arrangement: Arrangement) -> tuple[str, ...]:
        """A word where the network is left alone by a model that is weak at that."""
        alone = not any(r.used and r.placements != () for r in arrangement.references)
        if not (alone and self.config.sampling.library):
            return ()
        return (
            "no reference sounds here, and what this model makes from text alone is weak; give it "
            "references",
        )

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
        check_seeds(seeds)
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
