"""Finding a configuration by name: a preset, an embedded model or a model folder."""

from __future__ import annotations

from pathlib import Path

from ..config import PRESETS, ModelConfig
from ..errors import CheckpointError
from ..pipeline import model_folder, read_config


def find_model(name: str | Path) -> tuple[ModelConfig, Path | None]:
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
