"""The sampler: conditioning and arranged references to latents."""

import logging
from dataclasses import replace

import comfy.utils
from comfy_api.latest import io, ui

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.sampling.guidance import Guidance, branches
from ..dreamaudio_core.sampling.solvers import SOLVERS
from ..dreamaudio_core.sound_stages import check_variation
from .arranging import check_conditioning
from .latents import Notes, check_latent, latent_of
from .parts import flow_memory
from .types import CATEGORY, Arrangement, Conditioning, Model, aliases, seed_input
from .watching import Forming, check_cancel, layers_watched

log = logging.getLogger(__name__)
OWN = "model's own"


class MRCFlowSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioMRCFlowSampler",
            display_name="DreamAudio MRC Flow Sampler",
            category=CATEGORY,
            description="Generates the latent of a scene from the prompt and the references, "
            "each at its time.",
            **aliases("sound effect", "sfx", "foley", "ambience", "text to audio", "variations"),
            inputs=[
                Model.Input("model", tooltip="The model that generates."),
                Conditioning.Input(
                    "conditioning", tooltip="Prompt and captions, from DreamAudio Encode Caption."
                ),
                Arrangement.Input(
                    "arrangement",
                    tooltip="Where each reference sounds, from DreamAudio Arrange References.",
                ),
                seed_input("Random seed. Items of a batch use seed, seed + 1, ..."),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Solver steps. 0: the model's own number.",
                ),
                io.Float.Input(
                    "guidance",
                    default=-1.0,
                    min=-1.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Guidance scale of the prompt; 1 is no guidance. -1: the model's own.",
                ),
                io.Float.Input(
                    "reference_guidance",
                    default=-1.0,
                    min=-1.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Guidance scale of the references: higher copies them more closely, "
                    "lower varies more. -1: the model's own.",
                ),
                io.Combo.Input(
                    "solver",
                    options=[OWN, *SOLVERS],
                    default=OWN,
                    tooltip="midpoint and heun take two evaluations a step, the others one.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Time shift: above 1 spends more of the steps near the noise. 0: the "
                    "model's own.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many variations to generate at once.",
                ),
                io.Float.Input(
                    "variation",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far each event differs from its reference in pitch, length, level "
                    "and timbre, drawn by the seed: 0 leaves it as recorded, 0.5 is another take.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Denoising strength with a start latent; 1 ignores the start latent.",
                ),
                io.Latent.Input(
                    "start_latent",
                    optional=True,
                    tooltip="A sound to begin from, encoded with the same length in seconds.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="Latent of the sound, with the timeline of the references.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        conditioning,
        arrangement,
        seed,
        steps,
        guidance,
        reference_guidance,
        solver,
        shift,
        batch_size,
        variation,
        denoise,
        start_latent=None,
    ) -> io.NodeOutput:
        check_conditioning(conditioning, model)
        arranged = arrangement.arrangement
        if arrangement.given != len(conditioning.references):
            raise InputError(
                f"arrangement: holds {arrangement.given} references, the conditioning "
                f"{len(conditioning.references)}; connect both to the same DreamAudio Encode "
                "Caption"
            )
        # With those that the starter library gave.
        conditioning = replace(
            conditioning,
            references=arrangement.conditioning.references,
            caption_tokens=arrangement.conditioning.caption_tokens,
        )
        settings = model.config.sampling.override(
            steps=steps or None,
            guidance=None if guidance < 0 else guidance,
            reference_guidance=None if reference_guidance < 0 else reference_guidance,
            solver=None if solver == OWN else solver,
            shift=shift or None,
        )
        start = None
        if start_latent is not None:
            start = check_latent(start_latent, model.config, "start_latent")
        scales = Guidance(settings.guidance, settings.reference_guidance)
        plan = branches(scales, [r.strength for r in conditioning.references])
        check_variation(variation)
        rounds = batch_size if variation else 1
        rows = batch_size // rounds * len(plan)
        core = model.load("flow", "vae", memory_required=flow_memory(model, arranged.seconds, rows))
        progress = comfy.utils.ProgressBar(settings.steps * rounds)
        done = 0

        forming = Forming(core, arranged.seconds)

        def after_step(step, total, estimate):
            nonlocal done
            check_cancel()
            picture = forming.at(step, total, estimate)
            progress.update_absolute(done + step, total * rounds, picture)
            done += total if step == total else 0

        seeds = tuple((seed + i) % 2**64 for i in range(batch_size))
        with layers_watched(core.flow):
            latent = core.sample(
                conditioning.to(core.device),
                arranged,
                seeds,
                settings,
                reference_slots=arrangement.slots.to(core.device),
                start_latent=start,
                denoise=denoise,
                variation=variation,
                callback=after_step,
            )
        timeline = tuple((r.caption, r.placements) for r in arranged.references)
        notes = Notes(arranged.seconds, timeline, seeds, variation)
        warnings = core.limit_guidance(settings)[1]
        for warning in warnings:
            log.warning("DreamAudio: %s", warning)
        told = {"ui": ui.PreviewText("\n".join(warnings))} if warnings else {}
        return io.NodeOutput(latent_of(latent, notes), **told)


NODES = [MRCFlowSampler]
