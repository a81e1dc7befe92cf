"""References: a sound with a caption, from a file or from any AUDIO."""

from comfy_api.latest import io, ui

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.scene.reference import (
    Reference,
    chosen_part,
    load_reference,
    prepare_reference,
)
from ..dreamaudio_core.scene.timeline import parse_starts
from . import files
from .audio import one_sound
from .types import CATEGORY, References, aliases

TRIM = ("silence", "keep tail", "off")
MAX_PART = 3600.0


def _seconds_input(name: str, most: float, tooltip: str):
    """Seconds from 0, which changes nothing."""
    return io.Float.Input(name, default=0.0, min=0.0, max=most, step=0.01, tooltip=tooltip)


def _describing_inputs() -> list:
    return [
        io.String.Input(
            "caption",
            default="",
            tooltip="What the sound is, in a few words; use the same words in the prompt.",
        ),
        io.Float.Input(
            "strength",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            tooltip="Weight of this reference: 0 leaves it out, 1 is normal, higher values "
            "insist on it.",
        ),
        io.String.Input(
            "start",
            default="auto",
            tooltip="When it plays. auto reads it from the prompt; a number is the start in "
            "seconds; several numbers, such as '0.5, 3.2', play it more than once.",
        ),
        io.Float.Input(
            "gain",
            default=0.0,
            min=-60.0,
            max=24.0,
            step=0.5,
            tooltip="Gain in dB relative to the sound's own level.",
        ),
        io.Float.Input(
            "pan",
            default=0.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            tooltip="-1 is left, 1 is right, 0 keeps the sound's own image.",
        ),
        _seconds_input(
            "fade_in",
            60.0,
            "Fade-in in seconds, applied each time it plays.",
        ),
        _seconds_input(
            "fade_out",
            60.0,
            "Fade-out in seconds, applied each time it plays.",
        ),
        io.Combo.Input(
            "trim",
            options=list(TRIM),
            default=TRIM[0],
            tooltip="Which part of the sound is used. silence: without the silence or room tone "
            "around it; keep tail: from where it begins to the end of the file; off: the whole "
            "file.",
        ),
        _seconds_input(
            "begin",
            MAX_PART,
            "Second of the file from which it is used, in place of trim. With 0 and an end "
            "of 0 trim decides.",
        ),
        _seconds_input(
            "end",
            MAX_PART,
            "Second of the file up to which it is used, in place of trim. 0: its end.",
        ),
    ]


def part_options(trim: str, begin: float, end: float) -> dict:
    """Keywords of `prepare_reference` for a choice of `TRIM` and a part set by hand."""
    if trim not in TRIM:
        raise InputError(f"trim: expected one of {', '.join(TRIM)}, found {trim!r}")
    return {
        "trim_silence": trim != "off",
        "keep_tail": trim == "keep tail",
        "part": chosen_part(begin, end),
    }


def _options(
    gain: float,
    pan: float,
    fade_in: float,
    fade_out: float,
    trim: str,
    begin: float = 0.0,
    end: float = 0.0,
) -> dict:
    return {
        "gain": gain,
        "pan": pan,
        "fade_in": fade_in,
        "fade_out": fade_out,
        **part_options(trim, begin, end),
    }


def _outputs() -> list:
    return [
        References.Output(
            display_name="reference", tooltip="The sound, prepared for the model, and its caption."
        ),
        io.Float.Output(
            display_name="seconds",
            tooltip="Length in seconds of a scene that holds this sound alone, for variations of "
            "it.",
        ),
    ]


def _result(reference: Reference) -> io.NodeOutput:
    used = reference.source
    text = f"{used.total:.2f} s, used {used.begin:.2f} to {used.end:.2f} s"
    return io.NodeOutput((reference,), reference.scene_seconds, ui=ui.PreviewText(text))


class LoadReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioLoadReference",
            display_name="DreamAudio Load Reference",
            category=CATEGORY,
            description="Loads a sound file as a reference, with its caption.",
            **aliases("load sound", "load audio", "sample", "sfx", "recording"),
            inputs=[
                io.Combo.Input(
                    "audio",
                    options=files.sound_names(),
                    upload=io.UploadType.audio,
                    tooltip="A file in the input folder; dreamaudio_... are this pack's examples.",
                ),
                *_describing_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def validate_inputs(cls, audio):
        try:
            files.input_file(audio, "audio")
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, audio, **others):
        return files.digest(files.input_file(audio, "audio"))

    @classmethod
    def execute(cls, audio, caption, strength, start, **options) -> io.NodeOutput:
        starts = parse_starts(start)
        path = files.input_file(audio, "audio")
        return _result(load_reference(path, caption, strength, starts, **_options(**options)))


class ReferenceFromAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioReferenceFromAudio",
            display_name="DreamAudio Reference from Audio",
            category=CATEGORY,
            description="Turns any AUDIO into a reference, with its caption.",
            **aliases("sample", "recording", "microphone"),
            inputs=[
                io.Audio.Input("audio", tooltip="One sound, mono or stereo, at any sample rate."),
                *_describing_inputs(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, audio, caption, strength, start, **options) -> io.NodeOutput:
        starts = parse_starts(start)
        waveform, rate = one_sound(audio, "audio")
        return _result(
            prepare_reference(
                waveform, rate, caption, strength, starts, label="audio", **_options(**options)
            )
        )


NODES = [LoadReference, ReferenceFromAudio]
