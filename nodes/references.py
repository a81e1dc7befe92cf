"""References: a sound with a caption, from a file or from any AUDIO."""

from comfy_api.latest import io

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.scene.reference import load_reference, prepare_reference
from ..dreamaudio_core.scene.timeline import parse_starts
from . import files
from .audio import one_sound
from .types import CATEGORY, References


def _describing_inputs() -> list:
    return [
        io.String.Input(
            "caption",
            default="",
            tooltip="What is heard in the sound, in a few words; the prompt should use them.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="How much this reference counts: 1 as trained, 0 leaves it out, above 1 "
            "insists on it.",
        ),
        io.String.Input(
            "start",
            default="auto",
            tooltip="When it sounds: auto reads it from the prompt; a number is the start in "
            "seconds; several, as in "
            "'0.5, 3.2', make it sound again.",
        ),
    ]


_OUTPUT_TOOLTIP = "The prepared reference: mono, 16 kHz, trimmed of silence."


class LoadReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioLoadReference",
            display_name="DreamAudio Load Reference",
            category=CATEGORY,
            description="Loads a sound that the generated scene shall contain, with the caption "
            "that names it.",
            inputs=[
                io.Combo.Input(
                    "audio",
                    options=files.sound_names(),
                    upload=io.UploadType.audio,
                    tooltip="A sound of the input folder; dreamaudio_... are the examples of "
                    "this pack.",
                ),
                *_describing_inputs(),
            ],
            outputs=[References.Output(display_name="reference", tooltip=_OUTPUT_TOOLTIP)],
        )

    @classmethod
    def validate_inputs(cls, audio):
        try:
            files.input_file(audio, "audio")
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, audio, caption, strength, start):
        return files.digest(files.input_file(audio, "audio"))

    @classmethod
    def execute(cls, audio, caption, strength, start) -> io.NodeOutput:
        starts = parse_starts(start)
        reference = load_reference(files.input_file(audio, "audio"), caption, strength, starts)
        return io.NodeOutput((reference,))


class ReferenceFromAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioReferenceFromAudio",
            display_name="DreamAudio Reference from Audio",
            category=CATEGORY,
            description="Makes a reference of any AUDIO, with the caption that names it.",
            inputs=[
                io.Audio.Input("audio", tooltip="One sound, mono or stereo, at any sample rate."),
                *_describing_inputs(),
            ],
            outputs=[References.Output(display_name="reference", tooltip=_OUTPUT_TOOLTIP)],
        )

    @classmethod
    def execute(cls, audio, caption, strength, start) -> io.NodeOutput:
        starts = parse_starts(start)
        waveform, rate = one_sound(audio, "audio")
        return io.NodeOutput(
            (prepare_reference(waveform, rate, caption, strength, starts, label="audio"),)
        )


NODES = [LoadReference, ReferenceFromAudio]
