"""Retrieve References: sounds for a prompt, found in a library."""

import hashlib
import logging
import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.retrieval import SoundLibrary
from ..dreamaudio_core.scene.reference import load_reference
from . import files
from .conditioning import MAX_REFERENCES
from .types import CATEGORY, References, aliases

log = logging.getLogger(__name__)
EXAMPLES = "examples"
SUFFIX = ".sqlite"


def libraries() -> dict[str, Path]:
    """What can be searched, by name: the example sounds, libraries in the model folders, and
    folders of the input folder.
    """
    found = {EXAMPLES: files.EXAMPLES}
    for base in folder_paths.get_folder_paths(files.FOLDER):
        for library in sorted(Path(base).glob(f"*{SUFFIX}")):
            found.setdefault(library.stem, library)
    inputs = Path(folder_paths.get_input_directory())
    for folder in sorted(
        p for p in inputs.glob("*") if os.path.isdir(p) and p.name != files.FOLDER
    ):
        try:
            sounds = any(p.suffix.lower() in files.AUDIO_SUFFIXES for p in folder.iterdir())
        except OSError:  # lost+found, for example
            continue
        if sounds:
            found[f"input/{folder.name}"] = folder
    return found


def _chosen(name: str) -> Path:
    found = libraries()
    if name not in found:
        raise InputError(
            f"library: {name!r} was not found; put sounds into a folder of ComfyUI's input folder, "
            f"or create a library NAME{SUFFIX} in models/dreamaudio, and refresh the page"
        )
    return found[name]


def _library_folder() -> Path:
    """Where libraries of plain folders are kept; while the user folder cannot be written to, they
    last until ComfyUI starts again.
    """
    inside = Path(files.FOLDER) / "libraries"
    folder = Path(folder_paths.get_user_directory()) / inside
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    log.warning(
        "DreamAudio: %s cannot be written to; sounds are indexed again after a restart", folder
    )
    return Path(folder_paths.get_temp_directory()) / inside


def _opened(source: Path) -> SoundLibrary:
    """A library, or that of a plain folder of sounds, brought up to date."""
    if source.is_file():
        return SoundLibrary(source)
    digest = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    library = SoundLibrary(_library_folder() / f"{digest}{SUFFIX}")
    report = library.add(source)
    for problem in report.problems:
        log.warning("DreamAudio: %s", problem)
    return library


class RetrieveReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioRetrieveReferences",
            display_name="DreamAudio Retrieve References",
            category=CATEGORY,
            description="Finds references for a prompt in a sound library, one for each event.",
            **aliases("sound library", "search sounds", "sfx"),
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="Description of the scene; each event in it ('..., then ... while "
                    "...') gets its own sound.",
                ),
                io.Combo.Input(
                    "library",
                    options=list(libraries()),
                    tooltip="This pack's examples, a library in models/dreamaudio, or a folder "
                    "of sounds in the input folder, which is indexed on first use.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=MAX_REFERENCES,
                    tooltip="How many references; 0 means one for each event.",
                ),
                io.Float.Input(
                    "min_score",
                    default=0.4,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Minimum similarity between an event and a sound's caption; an event "
                    "without such a sound gets none.",
                ),
            ],
            outputs=[
                References.Output(
                    display_name="references",
                    tooltip="The sounds that were found, in the order of the events.",
                ),
                io.String.Output(
                    display_name="found",
                    tooltip="Event, caption, score and file of each reference, one per line.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, library, prompt=None, count=0, min_score=0.0):
        return files.stamp(libraries().get(library))

    @classmethod
    def execute(cls, prompt, library, count, min_score) -> io.NodeOutput:
        opened = _opened(_chosen(library))
        hits = opened.search(prompt, count or None, min_score=min_score)[:MAX_REFERENCES]
        told = {}
        if not hits:
            text = f"nothing in the library {library!r} is near enough to the prompt"
            log.warning("DreamAudio: %s", text)
            told = {"ui": ui.PreviewText(text)}
        lines = [f"{hit.event}: {hit.caption} ({hit.score:.2f}, {hit.path.name})" for hit in hits]
        references = tuple(
            load_reference(hit.path, hit.caption, label=hit.path.name) for hit in hits
        )
        return io.NodeOutput(references, "\n".join(lines), **told)


NODES = [RetrieveReferences]
