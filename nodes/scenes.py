"""Load Scenes: many scenes from a table."""

import logging

from comfy_api.latest import io, ui

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.scene.scene_files import decode_scenes, parse_scenes
from . import files
from .types import CATEGORY, References, aliases

log = logging.getLogger(__name__)
ROWS_BELOW = "rows below"
SUFFIXES = {".csv", ".json", ".jsonl", ".tsv"}
DEFAULT_ROWS = """prompt,audio1,caption1,seed
a crow caws twice,dreamaudio_crow.flac,a crow caws,1
a cash register rings,dreamaudio_cash_register.flac,a cash register rings,2
"""


def _text(file: str, rows: str) -> str:
    if file == ROWS_BELOW:
        return rows
    path = files.input_file(file, "file")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"file: expected a .csv or .jsonl file, found {path.name!r}")
    return decode_scenes(path.read_bytes(), f"file: {path.name!r}")


class LoadScenes(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioLoadScenes",
            display_name="DreamAudio Load Scenes",
            category=CATEGORY,
            description="Reads scenes from a table; connected nodes run once for each row.",
            **aliases("batch", "csv", "jsonl", "manifest", "table"),
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[ROWS_BELOW, *files.input_names(SUFFIXES)],
                    tooltip="A .csv or .jsonl file in the input folder, or the rows below.",
                ),
                io.String.Input(
                    "rows",
                    multiline=True,
                    default=DEFAULT_ROWS,
                    tooltip="CSV with the columns prompt, seed, name, audio1, caption1, start1, "
                    "gain1, strength1, begin1, end1, audio2, ...; or JSON lines.",
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
                io.String.Output(
                    display_name="name",
                    is_output_list=True,
                    tooltip="Name of each row, for the names of saved files.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file, rows):
        text = _text(file, rows)
        used = [name for name in files.sound_names() if name in text]
        return [text, *(files.stamp(files.input_file(name, "audio")) for name in used)]

    @classmethod
    def execute(cls, file, rows) -> io.NodeOutput:
        scenes = parse_scenes(_text(file, rows), files.input_file)
        unused = sorted({name for scene in scenes for name in scene.settings()} - {"seed"})
        told = {}
        if unused:
            text = f"{', '.join(unused)}: has no output here; set it on the node that takes it"
            log.warning("DreamAudio Load Scenes: %s", text)
            told = {"ui": ui.PreviewText(text)}
        return io.NodeOutput(
            [s.prompt for s in scenes],
            [s.load() for s in scenes],
            [s.seed for s in scenes],
            [s.name for s in scenes],
            **told,
        )


NODES = [LoadScenes]
