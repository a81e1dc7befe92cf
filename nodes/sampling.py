"""The sampler: conditioning to latents."""

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..dreamaudio_core.sampling.guidance import Guidance, branches
from ..dreamaudio_core.sampling.solvers import SOLVERS
from ..dreamaudio_core.scene.timeline import MISSING
from .latents import check_latent, latent_of
from .parts import flow_memory
from .types import CATEGORY, Conditioning, Model


class MRCFlowSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioMRCFlowSampler",
            display_name="DreamAudio MRC Flow Sampler",
            category=CATEGORY,
            description="Generates the latent of a scene: prompt and references, each at its time, become one sound.",
            inputs=[
                Model.Input(
                    "model", tooltip="Its network samples; its VAE encodes the references."
                ),
                Conditioning.Input(
                    "conditioning", tooltip="What shall be heard, from DreamAudio Encode Caption."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Start of the noise; the same seed gives the same sound. A batch counts up from it.",
                ),
                io.Int.Input(
                    "steps",
                    default=24,
                    min=1,
                    max=1000,
                    tooltip="Solver steps; models with the DDPM objective need about 200.",
                ),
                io.Float.Input(
                    "guidance",
                    default=2.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the prompt counts; 1 is no guidance, and halves the time.",
                ),
                io.Float.Input(
                    "reference_guidance",
                    default=-1.0,
                    min=-1.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How strongly the references count; below 0 as guidance, which is fastest.",
                ),
                io.Combo.Input(
                    "solver",
                    options=list(SOLVERS),
                    default="two-step",
                    tooltip="midpoint and heun take two evaluations a step; the DDPM objective always uses DDIM.",
                ),
                io.Float.Input(
                    "seconds",
                    default=10.24,
                    min=0.3,
                    max=120.0,
                    step=0.01,
                    tooltip="Length of the sound; a model is best at the length that it was trained on (mini: 10.24).",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many variations are made at once.",
                ),
                io.Float.Input(
                    "time_shift",
                    default=1.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    tooltip="Above 1, more of the steps are spent near the noise; 1 leaves them even.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="With a start latent: the share that is made anew; 1 ignores the start latent.",
                ),
                io.Latent.Input(
                    "start_latent",
                    optional=True,
                    tooltip="A sound to begin from, encoded with the same length in seconds.",
                ),
                io.Combo.Input(
                    "missing_sounds",
                    options=list(MISSING),
                    default="auto",
                    optional=True,
                    tooltip="Parts of the prompt without a reference: auto adds a sound only where the prompt asks for one.",
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
        seed,
        steps,
        guidance,
        reference_guidance,
        solver,
        seconds,
        batch_size,
        time_shift,
        denoise,
        start_latent=None,
        missing_sounds="auto",
    ) -> io.NodeOutput:
        scales = Guidance(guidance, reference_guidance if reference_guidance >= 0 else None)
        start = (
            None
            if start_latent is None
            else check_latent(start_latent, model.config, "start_latent")
        )
        references = conditioning.conditioning.references
        arrangement = conditioning.arrangement(model, seconds, missing_sounds)
        rows = batch_size * len(branches(scales, [r.strength for r in references]))
        core = model.load(
            "flow",
            memory_required=flow_memory(model, seconds, rows),
            cache=conditioning.cache(model),
        )
        progress = comfy.utils.ProgressBar(steps)

        def after_step(step, total, _z):
            comfy.model_management.throw_exception_if_processing_interrupted()
            progress.update_absolute(step, total)

        seeds = [(seed + i) % 2**64 for i in range(batch_size)]
        latent = core.sample(
            conditioning.conditioning,
            arrangement,
            seeds,
            steps,
            scales,
            solver,
            time_shift,
            start,
            denoise,
            after_step,
        )
        timeline = tuple((r.caption, places) for r, places in zip(references, arrangement.timeline))
        return io.NodeOutput(latent_of(latent, seconds, timeline))


NODES = [MRCFlowSampler]
