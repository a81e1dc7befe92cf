"""Model folders from trained parts: what `load_model` and the nodes open."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from .config import PRESETS
from .errors import CheckpointError, InputError
from .loading import check_parts
from .networks.fusion import fusion_of
from .weights.checkpoint import save_weights
from .weights.folder import find_config, write_config
from .weights.load import load_part

TEXT_ENCODER = "text_encoder"
_TEXT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")


def assemble_folder(
    preset: str | Path,
    folder: str | Path,
    *,
    flow: str | Path,
    vae: str | Path,
    vocoder: str | Path,
    arranger: str | Path | None = None,
    text_encoder: str | Path | None = None,
    name: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a model folder, whole or not at all.

    Sizes come from the parts' own configurations; the front-end, the text encoder and how to sample
    from the preset.

    Parameters
    ----------
    preset
        A name of `config.PRESETS`, or a folder whose `config.json` stands for one.
    folder
        To be made; an existing one is refused, unless it is empty.
    flow, vae, vocoder, arranger
        Weight files, in the formats that `load_part` reads without pickles.
    text_encoder
        A local folder, which is copied; the preset's hub id stays its source without one, and has
        to be given whenever the model is loaded.
    name
        In `config.json`; the folder's by default.
    dtype
        To store the weights in.

    Raises
    ------
    CheckpointError
        If a part is missing or damaged, or the parts do not fit each other or the preset.
    InputError
        If the preset is unknown, or the folder holds something.
    """
    try:
        base, _ = find_config(preset)
    except CheckpointError as error:
        raise InputError(
            f"preset: expected one of {', '.join(PRESETS)}, or a folder with config.json, found "
            f"{str(preset)!r}"
        ) from error
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a new folder, found something there; name another")
    given = {"flow": flow, "vae": vae, "vocoder": vocoder, "arranger": arranger}
    parts = {part: load_part(part, Path(path)) for part, path in given.items() if path is not None}
    config = replace(
        base,
        name=name or folder.name,
        mrc=parts["flow"].config,
        vae=parts["vae"].config,
        vocoder=parts["vocoder"].config,
        arranger=parts["arranger"].config if "arranger" in parts else None,
    )
    check_parts(config, base)
    if fusion_of(config.mrc).uses_timeline and config.arranger is None:
        raise CheckpointError(
            f"{flow}: places its references by a timeline; name the arranger that reads it from "
            "the prompt"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / folder.name
        new.mkdir()
        for part, module in parts.items():
            save_weights(
                new / f"{part}.safetensors", module.state_dict(), part, module.config, dtype
            )
        if text_encoder is not None:
            _copy_text_encoder(Path(text_encoder).expanduser(), new / TEXT_ENCODER)
            config = replace(config, text=replace(config.text, source=TEXT_ENCODER))
        write_config(new, config)
        if folder.is_dir():
            folder.rmdir()
        new.rename(folder)
    return folder


def _copy_text_encoder(source: Path, target: Path) -> None:
    if not (source / "config.json").is_file():
        raise CheckpointError(
            f"{source}: expected a text encoder's folder with config.json; a hub id is downloaded "
            "when the model is loaded: leave it out here"
        )
    target.mkdir()
    for pattern in _TEXT_FILES:
        for file in source.glob(pattern):
            shutil.copy(file, target)
