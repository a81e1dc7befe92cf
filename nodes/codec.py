"""Between sounds, mel spectrograms and latents: VAE and vocoder."""

import comfy.model_management
import torch
from comfy_api.latest import io

from ..dreamaudio_core.audio.downmix import downmix
from ..dreamaudio_core.audio.levels import keep_headroom
from ..dreamaudio_core.audio.resample import to_mono
from .audio import GAINS, SEEDS, sounds
from .latents import Notes, check_latent, latent_notes, latent_of
from .parts import vae_memory, vocoder_memory
from .types import CATEGORY, Mel, Model, aliases, seconds_input
from .watching import Bar, layers_watched


class VAEEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioVAEEncode",
            display_name="DreamAudio VAE Encode",
            category=CATEGORY,
            description="Encodes sounds to latents, to begin from them in the sampler (audio to "
            "audio).",
            inputs=[
                Model.Input("model", tooltip="Its VAE is used."),
                io.Audio.Input(
                    "audio", tooltip="One sound or a batch, mono or stereo, at any sample rate."
                ),
                seconds_input(
                    "Length of the latent in seconds; sounds are trimmed or padded with silence. "
                    "Use the same length in Arrange References."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Start latent for the sampler.")
            ],
        )

    @classmethod
    def execute(cls, model, audio, seconds) -> io.NodeOutput:
        batch, rate = sounds(audio, "audio")
        mono = [
            to_mono(downmix(sound), rate, model.config.audio.sample_rate, label="audio")
            for sound in batch
        ]
        core = model.load("vae", memory_required=vae_memory(model, seconds, 1))
        return io.NodeOutput(
            latent_of(torch.cat([core.encode(sound, seconds) for sound in mono]), Notes(seconds))
        )


class VAEDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioVAEDecode",
            display_name="DreamAudio VAE Decode",
            category=CATEGORY,
            description="Decodes latents to mel spectrograms.",
            inputs=[
                Model.Input("model", tooltip="Its VAE is used."),
                io.Latent.Input("latent", tooltip="Latents of the DreamAudio sampler."),
            ],
            outputs=[
                Mel.Output(
                    display_name="mel", tooltip="Mel spectrograms, for the vocoder and the preview."
                )
            ],
        )

    @classmethod
    def execute(cls, model, latent) -> io.NodeOutput:
        samples = check_latent(latent, model.config, "latent")
        notes = latent_notes(latent, model.config)
        core = model.load("vae", memory_required=vae_memory(model, notes.seconds, len(samples)))
        with layers_watched(core.vae, Bar()):
            mel = core.decode(samples).to(comfy.model_management.intermediate_device())
        return io.NodeOutput({"mel": mel, "notes": notes, "audio": model.config.audio})


class BigVGANVocode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioBigVGANVocode",
            display_name="DreamAudio BigVGAN Vocode",
            category=CATEGORY,
            description="Turns mel spectrograms into sound.",
            **aliases("vocoder", "mel to audio", "spectrogram to audio"),
            inputs=[
                Model.Input("model", tooltip="Its vocoder is used."),
                Mel.Input("mel", tooltip="Mel spectrograms of DreamAudio VAE Decode."),
            ],
            outputs=[
                io.Audio.Output(
                    display_name="audio", tooltip="Mono sound, one for each item of the batch."
                )
            ],
        )

    @classmethod
    def execute(cls, model, mel) -> io.NodeOutput:
        core = model.load("vocoder", memory_required=vocoder_memory(model, len(mel["mel"])))
        rate = model.config.audio.sample_rate
        # The vocoder may go beyond full scale; a sound is scaled down as a whole, never cut off.
        bar = Bar()
        with layers_watched(core.vocoder, bar):
            waveforms = core.vocode(mel["mel"], mel["notes"].seconds, bar).cpu()
        items, gains = zip(*(keep_headroom(item, rate) for item in waveforms))
        waveform = torch.stack(items).to(comfy.model_management.intermediate_device())
        seeds = mel["notes"].seeds
        return io.NodeOutput(
            {"waveform": waveform, "sample_rate": rate, GAINS: gains, SEEDS: seeds}
        )


NODES = [VAEEncode, VAEDecode, BigVGANVocode]
