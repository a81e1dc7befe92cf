"""What a preset, a model folder or a weight file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import PRESETS, ModelConfig, MRCConfig, to_dict
from ..errors import CheckpointError
from ..networks.arranger import Arranger
from ..networks.mrc import MRCUNet
from ..networks.vae import AutoencoderKL
from ..networks.vocoder import build_vocoder
from .checkpoint import FORMAT, PICKLED, read_pickle, read_safetensors, tensors_of
from .folder import MODELS, model_folder, read_config


def _count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def flow_parameters(config: MRCConfig) -> dict[str, int]:
    """Parameter counts of the MRC UNet's parts, taken on the meta device."""
    network = MRCUNet(config, device=torch.device("meta"))
    parts = {
        name: getattr(network, name)
        for name in ("noise_encoder", "reference_encoder", "middle", "decoder")
    }
    counts = {name: _count(module) for name, module in parts.items()}
    counts["time_embedding"] = _count(network.time_embedding)
    for name in ("prompt_embedding", "prompt_envelope"):
        if getattr(network, name) is not None:
            counts[name] = _count(getattr(network, name))
    counts["alignment"] = _count(network.alignment)
    counts["total"] = _count(network)
    return counts


def describe_config(config: ModelConfig) -> dict[str, Any]:
    """Configuration and parameter counts."""
    meta = torch.device("meta")
    other = {
        "vae": _count(AutoencoderKL(config.vae, device=meta)),
        "vocoder": _count(build_vocoder(config.vocoder, device=meta)),
    }
    if config.arranger is not None:
        other["arranger"] = _count(Arranger(config.arranger, device=meta))
    return {
        "name": config.name,
        "parameters": flow_parameters(config.mrc),
        "other_parameters": other,
        "config": to_dict(config),
    }


def describe_file(path: Path) -> dict[str, Any]:
    """Format, part, configuration and tensor statistics of a weight file."""
    metadata: dict[str, str] = {}
    if path.suffix.lower() in PICKLED:
        content = read_pickle(path)
        content = content.get("state_dict", content.get("generator", content))
        state = tensors_of(content)
    else:
        state, metadata = read_safetensors(path)
    prefixes: dict[str, int] = {}
    for key, tensor in state.items():
        head = key.split(".")[0]
        prefixes[head] = prefixes.get(head, 0) + tensor.numel()
    out: dict[str, Any] = {
        "file": str(path),
        "format": metadata.get(
            "format", "pickle" if path.suffix.lower() in PICKLED else "safetensors"
        ),
        "tensors": len(state),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in state.values()}),
        "parameters": {**prefixes, "total": sum(prefixes.values())},
    }
    if metadata.get("format") == FORMAT:
        out["part"] = metadata.get("part")
        out["config"] = metadata.get("config")
    return out


def missing_parts(folder: Path, config: ModelConfig) -> list[str]:
    """What a model folder lacks of what `load_model` opens without further options."""
    parts = ["flow", "vae", "vocoder"] + (["arranger"] if config.arranger is not None else [])
    missing = [f"{p}.safetensors" for p in parts if not (folder / f"{p}.safetensors").is_file()]
    if not (folder / config.text.source).is_dir():
        missing.append(f"text encoder (give it with --text-encoder, such as {config.text.source})")
    return missing


def describe(name: str) -> dict[str, Any]:
    """What `name` is: a weight file, a model folder, an embedded model or a preset.

    Raises
    ------
    CheckpointError
        If it is none of these.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return describe_file(path)
    if path.is_dir() or (MODELS / name / "config.json").is_file():
        folder = model_folder(name)
        config = read_config(folder)
        out = describe_config(config)
        out["folder"] = str(folder)
        out["missing"] = missing_parts(folder, config)
        out["files"] = {
            p.relative_to(folder).as_posix(): p.stat().st_size
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }
        return out
    if name in PRESETS:
        return describe_config(PRESETS[name])
    raise CheckpointError(
        f"{name}: no such file, model folder or preset; presets are {', '.join(PRESETS)}"
    )
