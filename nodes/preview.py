"""Preview Audio: every sound of a batch to hear, and to keep those that are worth it."""

from comfy_api.latest import io, ui

from ..dreamaudio_core.audio.resample import resample
from ..dreamaudio_core.errors import InputError
from . import files
from .audio import seeds_of, sounds
from .output import FLAC_MAX_RATE, write_output
from .types import CATEGORY, aliases

KEPT = "audio/DreamAudio"


class PreviewAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioPreviewAudio",
            display_name="DreamAudio Preview Audio",
            category=CATEGORY,
            description="Lets you hear each sound of a batch, and keep those that you choose.",
            **aliases("play audio", "listen", "variations", "takes"),
            inputs=[io.Audio.Input("audio", tooltip="The sounds; each of a batch gets a row.")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, audio) -> io.NodeOutput:
        waveform, rate = sounds(audio, "audio", channels=2)
        if rate > FLAC_MAX_RATE:
            waveform, rate = resample(waveform, rate, FLAC_MAX_RATE), FLAC_MAX_RATE
        shown = ui.PreviewAudio({"waveform": waveform, "sample_rate": rate}, cls=cls).as_dict()
        return io.NodeOutput(ui={**shown, "seeds": seeds_of(audio)})


def keep(name: str) -> dict:
    """Copy a previewed file to the output folder under a free name; as ComfyUI describes files.

    Raises
    ------
    InputError
        If it is none, or cannot be written.
    """
    source = files.input_file(name, "audio")
    if not name.endswith("[temp]"):
        raise InputError(f"audio: {name!r} is no preview: it is kept already")
    try:
        kept = write_output(source.read_bytes(), KEPT, source.suffix.lstrip("."))
    except OSError as error:
        raise InputError(
            f"audio: {KEPT} cannot be written ({error.strerror or error}); check space and "
            "permissions of the output folder"
        ) from error
    return {"filename": kept.filename, "subfolder": kept.subfolder, "type": "output"}


NODES = [PreviewAudio]
