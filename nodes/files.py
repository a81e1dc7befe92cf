"""Names of models, weights and sounds as the nodes list them, and the files that they stand for."""

import hashlib
import logging
import math
import os
import shutil
from pathlib import Path

import folder_paths

from ..dreamaudio_core.audio.decode import SUFFIXES, open_sound
from ..dreamaudio_core.errors import CheckpointError, InputError
from ..dreamaudio_core.json_text import parse_json
from ..dreamaudio_core.retrieval.caption_sources import caption_of_file
from ..dreamaudio_core.scene.starter import starter_sounds
from ..dreamaudio_core.weights.folder import MODELS

log = logging.getLogger(__name__)
FOLDER = "dreamaudio"
EXTENSIONS = {".safetensors", ".json"}
EXAMPLES = Path(__file__).parent.parent / "dreamaudio_core" / "examples"
# Of the starter library, for the templates.
LIBRARY = EXAMPLES.parent / "library_sounds"
VIDEOS = EXAMPLES.parent / "example_videos"
FROM_LIBRARY = (
    "didgeridoo",
    "door_close",
    "footstep_snow",
    "footsteps_snow",
    "frog",
    "rain",
    "roar",
    "thud",
    "thunder",
)
AUDIO_SUFFIXES = set(SUFFIXES)


def register_model_folder() -> None:
    """Make `models/dreamaudio` known, beside the folders of the user's extra_model_paths.yaml."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)


def examples() -> dict[str, Path]:
    """The pack's example sounds by the names that they have in the input folder."""
    found = [*sorted(EXAMPLES.glob("*.flac")), *(LIBRARY / f"{n}.ogg" for n in FROM_LIBRARY)]
    return {f"dreamaudio_{path.name}": path for path in found}


def example_videos() -> dict[str, Path]:
    """The pack's example videos by the names that they have in the input folder."""
    return {f"dreamaudio_{path.name}": path for path in VIDEOS.glob("*.mp4")}


def offer_examples() -> None:
    """Copy the examples to the input folder, where the browser can play them and ComfyUI's
    nodes list them.
    """
    target = Path(folder_paths.get_input_directory())
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, file in (examples() | example_videos()).items():
            if not (target / name).exists():
                shutil.copyfile(file, target / name)
    except OSError as error:
        log.warning("DreamAudio: the example sounds cannot be copied to %s (%s)", target, error)


# Models


def _known_files() -> dict[str, Path]:
    """Files of the embedded models and of the model folders; where names are equal the user's file
    counts.
    """
    found = {
        p.relative_to(MODELS).as_posix(): p for p in MODELS.rglob("*") if p.suffix in EXTENSIONS
    }
    for name in folder_paths.get_filename_list(FOLDER):
        path = folder_paths.get_full_path(FOLDER, name)
        if path is not None:
            found[Path(name).as_posix()] = Path(path)
    return found


def _is_model_config(path: Path) -> bool:
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("format") == "dreamaudio"


def _folders(model: bool) -> dict[str, Path]:
    configs = {
        n: p
        for n, p in _known_files().items()
        if n.endswith("/config.json") and _is_model_config(p) == model
    }
    names = {name.rsplit("/", 1)[0]: path.parent for name, path in configs.items()}
    return dict(sorted(names.items(), key=lambda item: (item[0] != "mini", item[0])))


def models() -> dict[str, Path]:
    """Model folders by name, the embedded `mini` first."""
    return _folders(model=True)


def parts(part: str) -> dict[str, Path]:
    """Weights that may hold a part, by name; those whose file name says so come first."""
    if part == "text_encoder":
        found = _folders(model=False)
        return {
            name: folder
            for name, folder in found.items()
            if os.path.isfile(folder / "tokenizer_config.json")
        }
    encoders = tuple(f"{name}/" for name in parts("text_encoder"))
    found = {
        n: p
        for n, p in _known_files().items()
        if n.endswith(".safetensors") and not n.startswith(encoders)
    }
    return dict(
        sorted(found.items(), key=lambda item: (part not in item[0].rsplit("/", 1)[-1], item[0]))
    )


def chosen(found: dict[str, Path], name: str, label: str) -> Path:
    """The file behind a name from one of the lists above; any other name is refused."""
    if name not in found:
        raise CheckpointError(
            f"{label}: {name!r} was not found; choose one from the list, or "
            "put it into "
            f"{folder_paths.get_folder_paths(FOLDER)[0]} and refresh the page"
        )
    return found[name]


def stamp(path: Path | None) -> str:
    """Changes when a file, or a file of a folder, is exchanged."""
    if path is None:
        return ""
    entries = sorted(path.rglob("*")) if path.is_dir() else [path]
    lines = [f"{p}:{p.stat().st_mtime_ns}:{p.stat().st_size}" for p in entries if p.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# Input files


def input_names(suffixes: set[str]) -> list[str]:
    """Files of the input folder, newly uploaded ones included; none that cannot be looked at."""
    entries = Path(folder_paths.get_input_directory()).glob("*")
    return sorted(p.name for p in entries if p.suffix.lower() in suffixes and os.path.isfile(p))


def sound_names() -> list[str]:
    """Sounds to choose from, the examples first; the example videos have no sound."""
    first, silent = list(examples()), example_videos()
    others = [name for name in input_names(AUDIO_SUFFIXES) if name not in first]
    return first + [name for name in others if name not in silent]


def input_file(name: str, label: str) -> Path:
    """File of the input folder (or, marked with [output] or [temp], of those) by its name.

    Raises
    ------
    InputError
        If it lies elsewhere or does not exist.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{label}: no file is chosen; choose one from the list or upload one")
    plain, folder = folder_paths.annotated_filepath(name)
    folder = os.path.abspath(folder or folder_paths.get_input_directory())
    path = Path(os.path.abspath(os.path.join(folder, plain)))
    if not path.is_relative_to(folder):
        raise InputError(
            f"{label}: {name!r} lies outside ComfyUI's folders; choose a file from the list or "
            "upload one"
        )
    if not path.is_file() and name in examples():
        return examples()[name]
    if not path.is_file():
        raise InputError(
            f"{label}: {name!r} is not in {folder}; choose a file from the list or upload it again"
        )
    return path


def caption_of(name: str) -> str:
    """Caption of an input file by a file beside it, its tags or its name; empty where they say
    nothing.
    """
    path = examples().get(name) or input_file(name, "audio")
    if path.parent == LIBRARY:
        return next(sound.caption for sound in starter_sounds() if sound.path == path)
    with open_sound(path, label="audio", max_seconds=math.inf) as sound:
        return caption_of_file(path, sound.tags)


def digest(path: Path) -> str:
    """Hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
