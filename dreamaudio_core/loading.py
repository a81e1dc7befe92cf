"""Whole models: `load_model`, and what makes parts fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .config import ModelConfig
from .errors import CheckpointError
from .networks.operations import FAST, arrange_weights
from .networks.text_encoder import TextEncoder, load_text_encoder
from .text_stages import TextStages
from .weights.folder import find_config, model_folder, read_config, require_parts
from .weights.load import load_part

if TYPE_CHECKING:
    from .pipeline import DreamAudio


def load_model(
    name: str | Path = "mini",
    *,
    flow: str | Path | None = None,
    vae: str | Path | None = None,
    vocoder: str | Path | None = None,
    text_encoder: str | Path | None = None,
    arranger: str | Path | None = None,
    operations=FAST,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> DreamAudio:
    """Load a model folder, or the embedded model by its name; any part may come from elsewhere.

    A preset, which has no weights, takes all its parts from elsewhere.

    Raises
    ------
    CheckpointError
        If a part is missing, damaged, or does not fit the others.
    """
    config, folder = find_config(name)
    options: dict[str, Any] = {"operations": operations, "dtype": dtype, "device": device}
    given = {"flow": flow, "vae": vae, "vocoder": vocoder, "arranger": arranger}
    if folder is None:
        require_parts(name, _not_given(config, {**given, "text_encoder": text_encoder}))
    modules: dict[str, Any] = {}
    for part, path in given.items():
        if part == "arranger":
            # Small and sensitive to rounding.
            options = {**options, "dtype": torch.float32}
            if path is None and config.arranger is None:
                continue
        modules[part] = arrange_weights(
            load_part(part, _part_path(part, path, folder), **options), device
        )
    options["dtype"] = dtype
    text = _text_encoder(folder, config, text_encoder, options)
    return assemble(config, device=device, text_encoder=text, **modules)


def load_text_stages(
    name: str | Path = "mini", *, device: torch.device | str = "cpu"
) -> TextStages:
    """The parts of a model that read texts, without the large ones: enough to arrange.

    Raises
    ------
    CheckpointError
        If a part is missing or damaged.
    """
    folder = model_folder(name)
    config = read_config(folder)
    arranger = None
    if config.arranger is not None:
        path = _part_path("arranger", None, folder)
        arranger = load_part("arranger", path, device=device)
    text = _text_encoder(folder, config, None, {"device": device})
    return TextStages(config, text, arranger, device)


def _not_given(config: ModelConfig, parts: dict[str, str | Path | None]) -> list[str]:
    """Parts that a preset needs and that are not among `parts`."""
    there = {"arranger"} if config.arranger is None else set()
    # A local folder; what a hub id names is downloaded only if the user says so.
    if Path(config.text.source).is_dir():
        there.add("text_encoder")
    return [part for part, path in parts.items() if path is None and part not in there]


def _text_encoder(
    folder: Path | None, config: ModelConfig, given: str | Path | None, options: dict[str, Any]
) -> TextEncoder:
    own = folder / config.text.source if folder is not None else None
    source = given or (own if own is not None and own.is_dir() else config.text.source)
    return load_text_encoder(source, config.text, allow_download=given is not None, **options)


def _part_path(part: str, given: str | Path | None, folder: Path | None) -> Path:
    if given is not None or folder is None:
        path, where = Path(str(given)).expanduser(), f"given as the {part}"
    else:
        path, where = folder / f"{part}.safetensors", f"of the model folder {folder}"
    if not path.exists():
        option = "" if part == "arranger" else f" with --{part}"
        raise CheckpointError(f"{path}: no such file ({where}); add it, or name another{option}")
    return path


def assemble(
    config: ModelConfig, *, device: torch.device | str = "cpu", **modules: Any
) -> DreamAudio:
    """A model of loaded parts, named as the fields of `DreamAudio`; their own configurations
    replace those of `config`.

    Raises
    ------
    CheckpointError
        If the parts do not fit each other or the model.
    """
    from .pipeline import DreamAudio

    loaded = replace(
        config,
        vae=modules["vae"].config,
        mrc=modules["flow"].config,
        vocoder=modules["vocoder"].config,
    )
    check_parts(loaded, config)
    return DreamAudio(loaded, device=device, **modules)


def check_parts(config: ModelConfig, expected: ModelConfig | None = None) -> None:
    """Refuse parts that cannot work together, or a network of another kind than `expected`."""
    if config.vae.latent_channels != config.mrc.latent_channels:
        raise CheckpointError(
            f"vae: its latents have {config.vae.latent_channels} channels, the flow network "
            "expects "
            f"{config.mrc.latent_channels}; use the VAE that it was trained with"
        )
    if config.vocoder.num_mels != config.audio.n_mels:
        raise CheckpointError(
            f"vocoder: expects {config.vocoder.num_mels} mel bands, the model has "
            f"{config.audio.n_mels}"
        )
    if config.vocoder.hop_length != config.audio.hop_length:
        raise CheckpointError(
            f"vocoder: makes {config.vocoder.hop_length} samples a frame, the model has "
            f"{config.audio.hop_length}"
        )
    if config.vocoder.sampling_rate != config.audio.sample_rate:
        raise CheckpointError(
            f"vocoder: works at {config.vocoder.sampling_rate} Hz, the model at "
            f"{config.audio.sample_rate}"
        )
    if expected is None:
        return
    for name in ("objective", "fusion", "text_dim"):
        found, wanted = getattr(config.mrc, name), getattr(expected.mrc, name)
        if found != wanted:
            raise CheckpointError(
                f"flow: its {name} is {found}, the model's is {wanted}; use weights that were "
                "trained for this model"
            )
