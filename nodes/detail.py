"""Reference Detail: what the latents cannot carry comes back from the references."""

import comfy.model_management
from comfy_api.latest import io, ui

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.rendering.detail import RATE_CHOICES, Detail, parse_rate
from .audio import SEEDS, network_level
from .parts import vae_memory
from .types import CATEGORY, Arrangement, Mel, Model, aliases
from .watching import Bar, layers_watched


class ReferenceDetail(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioReferenceDetail",
            display_name="DreamAudio Reference Detail",
            category=CATEGORY,
            description="Restores what the references really sound like: full bandwidth, stereo, "
            "exact attacks and levels, shaped by what the network generated.",
            **aliases("hi-fi", "48 kHz", "stereo", "upsample audio", "super resolution", "enhance"),
            inputs=[
                Model.Input(
                    "model", tooltip="The model whose VAE compares the result with the references."
                ),
                io.Audio.Input("audio", tooltip="The sound of DreamAudio BigVGAN Vocode."),
                Mel.Input("mel", tooltip="The mel spectrogram from DreamAudio VAE Decode."),
                Arrangement.Input(
                    "arrangement", tooltip="The arrangement that the sampler was given."
                ),
                io.Float.Input(
                    "detail",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the references' own waveforms goes into the result; 0 "
                    "is the network's output alone. -1 uses the model's own setting (mini: 1).",
                ),
                io.Combo.Input(
                    "sample_rate",
                    options=list(RATE_CHOICES),
                    default="auto",
                    tooltip="Sample rate of the result in Hz. auto uses the highest rate of the "
                    "references, up to 48000.",
                ),
            ],
            outputs=[
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The sound with 1 dB of headroom; stereo if a reference is stereo or "
                    "panned.",
                )
            ],
        )

    @classmethod
    def execute(cls, model, audio, mel, arrangement, detail, sample_rate) -> io.NodeOutput:
        waveforms, rate = network_level(audio, "audio")
        notes, arranged = mel["notes"], arrangement.arrangement
        own_rate = model.config.audio.sample_rate
        if rate != own_rate or len(waveforms) != len(mel["mel"]):
            raise InputError(
                f"audio: expected {len(mel['mel'])} sounds at {own_rate} Hz, as DreamAudio BigVGAN "
                f"Vocode makes them of this mel, found {len(waveforms)} at {rate} Hz; connect its "
                "output"
            )
        frames = [model.config.latent_shape(x.seconds)[1] for x in (notes, arranged)]
        if frames[0] != frames[1]:
            raise InputError(
                f"arrangement: is {arranged.seconds:g} s long, the mel {notes.seconds:g} s; "
                "connect the one that the sampler was given"
            )
        if notes.variation and len(notes.seeds) != len(waveforms):
            raise InputError(
                f"mel: holds {len(waveforms)} of {len(notes.seeds)} sampled items, and which is "
                "not known; connect the whole batch"
            )
        amount = model.config.sampling.detail if detail < 0 else detail
        core = model.load("vae", memory_required=vae_memory(model, arranged.seconds, 1))
        with layers_watched(core.vae):
            waveform, rate, told = core.render(
                waveforms,
                mel["mel"],
                arrangement.conditioning.references,
                arranged,
                notes.seeds if notes.variation else (0,) * len(waveforms),
                Detail(amount, parse_rate(sample_rate)),
                notes.variation,
                Bar(),
            )
        waveform = waveform.to(comfy.model_management.intermediate_device())
        text = {"ui": ui.PreviewText("\n".join(told))} if told else {}
        return io.NodeOutput(
            {"waveform": waveform, "sample_rate": rate, SEEDS: notes.seeds}, **text
        )


NODES = [ReferenceDetail]
