"""Model folders: finding them by name, and their `config.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from ..config import PRESETS, ModelConfig, to_dict
from ..config_values import from_dict
from ..errors import CheckpointError
from ..files import content_digest
from .checkpoint import FORMAT, read_json

MODELS = Path(__file__).parents[1] / "models"


def model_folder(name: str | Path) -> Path:
    """Folder of a model given as a folder, or as the name of one inside the package."""
    given = Path(name).expanduser()
    for folder in (given, MODELS / str(name)):
        if (folder / "config.json").is_file():
            return folder
    if given.is_dir():
        raise CheckpointError(
            f"{name}: the folder has no config.json; expected a DreamAudio model folder"
        )
    if str(name) in PRESETS:
        raise CheckpointError(
            f"model {str(name)!r}: a preset has no weights of its own (the paper's authors "
            "released none), and here whole models are opened; put its parts together once with: "
            f"{_assembling(name)}"
        )
    known = ", ".join(sorted(p.parent.name for p in MODELS.glob("*/config.json"))) or "none"
    raise CheckpointError(
        f"model {str(name)!r}: no such folder, and no embedded model of that name; embedded: "
        f"{known}"
    )


def _assembling(name: str | Path) -> str:
    return (
        f"dreamaudio assemble {name} --flow FILE --vae FILE --vocoder FILE --text-encoder FOLDER "
        "--out FOLDER"
    )


def require_parts(name: str | Path, missing: Sequence[str]) -> None:
    """Refuse a preset of which parts are neither there nor given.

    Raises
    ------
    CheckpointError
        Names the missing parts, as the options of the command line are called.
    """
    if not missing:
        return
    options = [f"--{part.replace('_', '-')}" for part in missing]
    listed = " and ".join([*filter(None, [", ".join(options[:-1])]), options[-1]])
    raise CheckpointError(
        f"model {str(name)!r}: a preset has no weights of its own (the paper's authors released "
        f"none); give {listed}, or put the parts together once with: {_assembling(name)}"
    )


def read_config(folder: Path) -> ModelConfig:
    """`config.json` of a model folder."""
    file = folder / "config.json"
    values = read_json(file)
    if values.pop("format", None) != FORMAT:
        raise CheckpointError(
            f'{file}: expected "format": "{FORMAT}"; this is another program\'s model folder'
        )
    values.pop("version", None)
    return from_dict(ModelConfig, values, str(file))


def write_config(folder: Path, config: ModelConfig) -> None:
    """Write `config.json` of a model folder."""
    values = {"format": FORMAT, "version": 1, **to_dict(config)}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def find_config(name: str | Path) -> tuple[ModelConfig, Path | None]:
    """Configuration and folder of a model; the folder is None for a preset that has none.

    Raises
    ------
    CheckpointError
        If there is neither a folder nor a preset of that name.
    """
    try:
        folder = model_folder(name)
    except CheckpointError as error:
        if str(name) in PRESETS:
            return PRESETS[str(name)], None
        raise CheckpointError(f"{error}; presets: {', '.join(PRESETS)}") from error
    return read_config(folder), folder


def model_digest(name: str | Path) -> str:
    """Changes with any file of a model folder, or with the configuration of a preset.

    Raises
    ------
    CheckpointError
        As `find_config`.
    """
    config, folder = find_config(name)
    if folder is not None:
        return content_digest(folder)
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
