"""The sampler: conditioning and arranged references to latents."""

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.sampling.guidance import Guidance, branches
from ..dreamaudio_core.sampling.solvers import SOLVERS
from .arranging import check_conditioning
from .latents import check_latent, latent_of
from .parts import flow_memory
from .types import CATEGORY, Arrangement, Conditioning, Model, aliases

OWN = "model's own"


class MRCFlowSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioMRCFlowSampler",
            display_name="DreamAudio MRC Flow Sampler",
            category=CATEGORY,
            description="Generates the latent of a scene: prompt and references, each at its time, "
            "become one sound.",
            **aliases("sound effect", "sfx", "foley", "text to audio", "sampler"),
            inputs=[
                Model.Input("model", tooltip="Its network samples."),
                Conditioning.Input(
                    "conditioning", tooltip="Prompt and captions, from DreamAudio Encode Caption."
                ),
                Arrangement.Input(
                    "arrangement",
                    tooltip="Where each reference sounds, from DreamAudio Arrange References.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Random seed. Items of a batch use seed, seed + 1, ...",
                ),
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
                    tooltip="midpoint and heun take two evaluations a step, euler and ab2 one.",
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
        denoise,
        start_latent=None,
    ) -> io.NodeOutput:
        check_conditioning(conditioning, model)
        arranged = arrangement.arrangement
        if len(arranged.references) != len(conditioning.references):
            raise InputError(
                f"arrangement: holds {len(arranged.references)} references, the conditioning "
                f"{len(conditioning.references)}; connect both to the same DreamAudio Encode "
                "Caption"
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
        rows = batch_size * len(plan)
        core = model.load("flow", "vae", memory_required=flow_memory(model, arranged.seconds, rows))
        progress = comfy.utils.ProgressBar(settings.steps)

        def after_step(step, total, _z):
            comfy.model_management.throw_exception_if_processing_interrupted()
            progress.update_absolute(step, total)

        latent = core.sample(
            conditioning.to(core.device),
            arranged,
            [(seed + i) % 2**64 for i in range(batch_size)],
            settings,
            reference_latents=arrangement.latents.to(core.device),
            start_latent=start,
            denoise=denoise,
            callback=after_step,
        )
        timeline = tuple((r.caption, r.placements) for r in arranged.references)
        return io.NodeOutput(latent_of(latent, arranged.seconds, timeline))


NODES = [MRCFlowSampler]
