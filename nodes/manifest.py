"""Batch from Manifest: many scenes from a table."""

from comfy_api.latest import io

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.scene.manifest import read_manifest
from ..dreamaudio_core.scene.reference import load_reference
from . import files
from .types import CATEGORY, References

ROWS_BELOW = "rows below"
SUFFIXES = {".csv", ".jsonl"}
DEFAULT_ROWS = """prompt,audio1,caption1,seed
a crow caws twice,dreamaudio_crow.flac,a crow caws,1
a cash register rings,dreamaudio_cash_register.flac,a cash register rings,2
"""


def _text(manifest: str, rows: str) -> str:
    if manifest == ROWS_BELOW:
        return rows
    path = files.input_file(manifest, "manifest")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"manifest: expected a .csv or .jsonl file, found {path.name!r}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"manifest: {path.name!r} is not UTF-8 text; save it as CSV UTF-8"
        ) from error


class BatchFromManifest(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioBatchFromManifest",
            display_name="DreamAudio Batch from Manifest",
            category=CATEGORY,
            description="Reads scenes from a table; what is connected runs once for each row.",
            inputs=[
                io.Combo.Input(
                    "manifest",
                    options=[ROWS_BELOW, *files.input_names(SUFFIXES)],
                    tooltip="A .csv or .jsonl file of the input folder, or the rows below.",
                ),
                io.String.Input(
                    "rows",
                    multiline=True,
                    default=DEFAULT_ROWS,
                    tooltip="CSV with the columns prompt, seed, audio1, caption1, start1, strength1, audio2, ...; or JSON "
                    "lines.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="prompt", is_output_list=True, tooltip="Prompt of each row."
                ),
                References.Output(
                    display_name="references",
                    is_output_list=True,
                    tooltip="All references of each row; one reference input takes them.",
                ),
                io.Int.Output(
                    display_name="seed", is_output_list=True, tooltip="Seed of each row."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, manifest, rows):
        text = _text(manifest, rows)
        used = [name for name in files.sound_names() if name in text]
        return [text, *(files.stamp(files.input_file(name, "audio")) for name in used)]

    @classmethod
    def execute(cls, manifest, rows) -> io.NodeOutput:
        def load(audio, caption, strength):
            return load_reference(files.input_file(audio, "audio"), caption, strength)

        scenes = read_manifest(_text(manifest, rows), load)
        return io.NodeOutput(
            [s.prompt for s in scenes], [s.references for s in scenes], [s.seed for s in scenes]
        )


NODES = [BatchFromManifest]
