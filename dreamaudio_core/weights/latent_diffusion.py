"""Public formats of the VAE: AudioLDM and FlowSep checkpoints, diffusers folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ..config import VAEConfig
from ..errors import CheckpointError
from .checkpoint import (
    FORMAT,
    PICKLED,
    State,
    load_weights,
    read_json,
    read_pickle,
    read_safetensors,
    require_pickle,
    tensors_of,
)
from .ldm_keys import vae_key


def _vae_config_from_keys(state: State, scale_factor: float, where: str | Path) -> VAEConfig:
    try:
        channels = state["encoder.conv_in.weight"].shape[0]
        levels = 1 + max(int(m[1]) for k in state if (m := re.match(r"encoder\.down\.(\d+)\.", k)))
        blocks = 1 + max(
            int(m[1]) for k in state if (m := re.match(r"encoder\.down\.0\.block\.(\d+)\.", k))
        )
        widths = [state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
        return VAEConfig(
            in_channels=state["encoder.conv_in.weight"].shape[1],
            channels=channels,
            multipliers=tuple(w // channels for w in widths),
            num_res_blocks=blocks,
            latent_channels=state["post_quant_conv.weight"].shape[0],
            middle_attention="encoder.mid.attn_1.q.weight" in state,
            scale_factor=scale_factor,
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{where}: no VAE of the latent-diffusion layout in it (missing {error})"
        ) from error


def vae_from_ldm(checkpoint: dict[str, Any], where: str | Path) -> tuple[VAEConfig, State]:
    """VAE of an AudioLDM `.ckpt` or a FlowSep-style Lightning checkpoint.

    Both keep it under `first_stage_model.`, and the scale factor as the tensor `scale_factor`.
    """
    state = tensors_of(checkpoint.get("state_dict", checkpoint))
    prefix = "first_stage_model."
    wanted = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")
    vae = {
        k[len(prefix) :]: v
        for k, v in state.items()
        if k.startswith(prefix) and wanted.match(k[len(prefix) :])
    }
    if not vae:
        raise CheckpointError(
            f"{where}: expected keys that begin with {prefix!r}, found none; this is not an "
            "AudioLDM or FlowSep checkpoint"
        )
    if state.get("scale_factor", torch.empty(0)).numel() != 1:
        raise CheckpointError(
            f"{where}: expected the number 'scale_factor', found none; latents cannot be scaled "
            "without it"
        )
    config = _vae_config_from_keys(vae, float(state["scale_factor"]), where)
    return config, vae


def vae_from_diffusers(folder: str | Path) -> tuple[VAEConfig, State]:
    """VAE of a diffusers folder: `config.json` and `diffusion_pytorch_model.safetensors` (also one
    level down, in `vae/`).
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "vae" / "config.json").is_file():
        folder = folder / "vae"
    config_file = folder / "config.json"
    found = read_json(config_file)
    try:
        widths = found["block_out_channels"]
        config = VAEConfig(
            in_channels=found["in_channels"],
            channels=widths[0],
            multipliers=tuple(w // widths[0] for w in widths),
            num_res_blocks=found["layers_per_block"],
            latent_channels=found["latent_channels"],
            groups=found.get("norm_num_groups", 32),
            middle_attention=found.get("mid_block_add_attention", True),
            scale_factor=found["scaling_factor"],
        )
    except KeyError as error:
        raise CheckpointError(
            f"{config_file}: field {error} is missing; expected the config.json of diffusers' "
            "AutoencoderKL"
        ) from error
    tensors, _ = read_safetensors(folder / "diffusion_pytorch_model.safetensors")
    state = {}
    for key, tensor in tensors.items():
        key = vae_key(key, len(widths))
        if ".attn_1." in key and key.endswith("weight") and tensor.dim() == 2:
            tensor = tensor[:, :, None, None]
        state[key] = tensor
    return config, state


def load_vae(path: str | Path, allow_pickle: bool = False) -> tuple[VAEConfig, State]:
    """VAE from any of the supported formats, told apart by what the path holds.

    Our safetensors; a diffusers folder; an AudioLDM or FlowSep checkpoint, pickled (with
    `allow_pickle`) or as safetensors.
    """
    path = Path(path)
    if path.is_dir():
        return vae_from_diffusers(path)
    if path.suffix.lower() in PICKLED:
        require_pickle(path, allow_pickle)
        return vae_from_ldm(read_pickle(path), path)
    state, metadata = read_safetensors(path)
    if metadata.get("format") == FORMAT:
        return load_weights(path, "vae", VAEConfig)
    return vae_from_ldm(state, path)
