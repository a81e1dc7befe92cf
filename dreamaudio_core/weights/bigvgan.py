"""Official BigVGAN checkpoints: weight norm folded, constant low-pass filters left out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import VocoderConfig
from ..config_values import from_dict
from ..errors import CheckpointError
from ..networks.bigvgan import check_config
from .checkpoint import State, read_json, read_pickle, tensors_of

# Fields of ours, and those that version 1 of BigVGAN does not have.
_OPTIONAL = {
    "kind",
    "refinement_iterations",
    "sampling_rate",
    "use_bias_at_final",
    "use_tanh_at_final",
}
_MAGNITUDE_SUFFIXES = {
    ".weight_g": ".weight_v",
    ".parametrizations.weight.original0": ".parametrizations.weight.original1",
}


def fold_weight_norm(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the magnitudes of weight norm into the directions, under the plain name `weight`.

    Parameters
    ----------
    state_dict : dict
        With pairs `weight_g`/`weight_v` or `parametrizations.weight.original0`/`original1`, or
        without any.

    Returns
    -------
    dict
        A new dictionary; entries without weight norm are the same tensors as before.

    Raises
    ------
    CheckpointError
        If one half of a pair is missing.
    """
    folded = {}
    directions = set()
    for key, value in state_dict.items():
        for suffix, other in _MAGNITUDE_SUFFIXES.items():
            if not key.endswith(suffix):
                continue
            base = key[: -len(suffix)]
            if base + other not in state_dict:
                raise CheckpointError(
                    f"{key}: expected {base + other} with it; the checkpoint is incomplete"
                )
            direction = state_dict[base + other]
            directions.add(base + other)
            norm = direction.flatten(1).norm(dim=1).view(-1, *[1] * (direction.ndim - 1))
            folded[base + ".weight"] = direction * (value / norm)
            break
        else:
            folded[key] = value
    for key in directions:
        folded.pop(key)
    for key in folded:
        if key.endswith(tuple(_MAGNITUDE_SUFFIXES.values())):
            raise CheckpointError(
                f"{key}: expected its magnitude with it; the checkpoint is incomplete"
            )
    return folded


def load_bigvgan(path: str | Path) -> tuple[VocoderConfig, State]:
    """Configuration and tensors of an official BigVGAN checkpoint.

    Parameters
    ----------
    path : str or Path
        `bigvgan_generator.pt` or `g_XXXXXXXX` with `config.json` in the same folder, or that folder
        (the highest number is taken). The file is unpickled with `weights_only=True`.

    Returns
    -------
    VocoderConfig
        Read from `config.json`, whose training settings are skipped.
    dict
        State dict for `BigVGAN`; `load_state` compares it with the network.

    Raises
    ------
    CheckpointError
        If a file is missing, truncated or from another program.
    """
    weights, config_file = _find_files(Path(path))
    return bigvgan_config(read_json(config_file), config_file), bigvgan_state(weights)


def bigvgan_state(weights: Path) -> State:
    """State dict for `BigVGAN` of a weight file alone.

    Raises
    ------
    CheckpointError
        As `load_bigvgan`.
    """
    content = read_pickle(weights)
    if not isinstance(content.get("generator"), dict):
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"{weights}: expected the key 'generator' with a state dict, found {found}"
        )
    try:
        state = fold_weight_norm(tensors_of(content["generator"]))
    except CheckpointError as error:
        raise CheckpointError(f"{weights}: {error}") from error
    return {key: value for key, value in state.items() if not key.endswith(".filter")}


def _find_files(path: Path) -> tuple[Path, Path]:
    """Weight file and `config.json` of a checkpoint given as either a file or its folder."""
    weights = path
    if path.is_dir():
        weights = path / "bigvgan_generator.pt"
        numbered = [p for p in path.iterdir() if re.fullmatch(r"g_\d+", p.name)]
        if not weights.is_file() and numbered:
            weights = max(numbered, key=lambda p: int(p.name[2:]))
        if not weights.is_file():
            raise CheckpointError(
                f"{path}: expected bigvgan_generator.pt or g_XXXXXXXX in it, found neither"
            )
    elif not path.is_file():
        raise CheckpointError(f"{path}: expected a BigVGAN checkpoint or its folder, found nothing")
    config = weights.parent / "config.json"
    if not config.is_file():
        raise CheckpointError(
            f"{config}: expected the vocoder's config.json in the folder of {weights.name}, found "
            "none; copy it there"
        )
    return weights, config


def bigvgan_config(values: dict[str, Any], path: Path) -> VocoderConfig:
    """Configuration of the fields of an official file at `path`, training settings left aside.

    Raises
    ------
    CheckpointError
        If a field is missing or has no meaning.
    """
    names = {field.name for field in dataclasses.fields(VocoderConfig)}
    missing = sorted(names - _OPTIONAL - values.keys())
    if missing:
        raise CheckpointError(
            f"{path}: expected the field {missing[0]!r}, found none; use the official config.json"
        )
    taken = {name: values[name] for name in names if name in values}
    # Some configs hold the number 1 in place of the text "1".
    config = from_dict(VocoderConfig, {**taken, "resblock": str(taken["resblock"])}, str(path))
    check_config(config, str(path))
    hop = values.get("hop_size", config.hop_length)
    if hop != config.hop_length:
        raise CheckpointError(
            f"{path}: hop_size must be the product of upsample_rates, {config.hop_length}, found "
            f"{hop!r}"
        )
    return config
