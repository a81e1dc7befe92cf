"""Test sets from files of scenarios: prompts with references that nobody has recorded together, so
without targets (Customized-Fantasy; paper, section IV-A).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from ..audio.decode import read_audio
from ..audio.edit import normalize_reference, trim_silence
from ..audio.write import write_audio
from ..config import AudioConfig
from ..errors import InputError
from ..files import file_digest
from ..scene.scene_files import SCENES, decode_scenes, parse_scenes, write_scenes
from ..scene.scenes import Scene, SceneReference
from .datasets import SECONDS
from .export import begin_folder


def read_scenarios(file: Path, sounds: Path | None = None) -> list[Scene]:
    """Scenes of a file whose sounds lie in the folder `sounds`, or next to the file.

    Raises
    ------
    InputError
        If the file is not one of scenes, or a sound is missing; names each.
    """
    folder = file.parent if sounds is None else sounds

    def resolve(name: str, label: str) -> Path:
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"{label}: expected the sound {name} in {folder}, found none; name their folder "
                "with --sounds"
            )
        return path

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    return parse_scenes(decode_scenes(data, str(file)), resolve, str(file))


def write_scenarios(
    scenes: list[Scene], folder: Path, each: Callable[[int], Any] | None = None
) -> int:
    """Write scenarios as a test set, references as the other test sets have them: mono at the
    front-end's rate, without silence around them, peak 0.5, at most 10 s. Returns their number.

    Parameters
    ----------
    each
        Called with 1 after each scenario.

    Raises
    ------
    InputError, AudioError
        If the folder was begun with other scenarios, or a sound cannot be used.
    """
    rate = AudioConfig.sample_rate
    begin_folder(folder, {"dataset": "fantasy", "scenarios": _digest(scenes)})
    written = []
    for index, scene in enumerate(scenes):
        name = f"{index:05d}"
        references = []
        for number, reference in enumerate(scene.references, 1):
            path = folder / "references" / f"{name}_{number}.wav"
            if not path.exists():
                where = f"scenario {index + 1}: reference {number}"
                sound = trim_silence(read_audio(reference.file(where), rate), rate)
                write_audio(path, normalize_reference(sound)[: round(SECONDS * rate)], rate)
            references.append(SceneReference(path, reference.caption))
        written.append(
            replace(scene, references=tuple(references), name=name, seconds=SECONDS, seed=index)
        )
        if each is not None:
            each(1)
    write_scenes(folder / SCENES, written)
    return len(written)


def _digest(scenes: list[Scene]) -> str:
    content = [
        [scene.prompt, [[file_digest(r.file()), r.caption] for r in scene.references]]
        for scene in scenes
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
