"""Weight files: our safetensors, and readers for the public formats of the VAE and the vocoder.

Only safetensors are read unless `allow_pickle` is set; pickled files then go through
`weights_only=True`.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..config import VAEConfig, from_dict, to_dict
from ..errors import CheckpointError

State = dict[str, Tensor]
FORMAT = "dreamaudio"
PICKLED = (".ckpt", ".pt", ".pth", ".bin")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: expected a weight file, found a folder")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty; copy or download it again")
    return path


def read_safetensors(path: str | Path) -> tuple[State, dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, cut short or of another format.
    """
    path = _checked(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a complete safetensors file ({error}); copy or download it again"
        ) from error


def read_pickle(path: str | Path) -> dict[str, Any]:
    """Contents of a pickled checkpoint, restricted to tensors and plain containers
    (`weights_only=True`).
    """
    path = _checked(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a readable weights-only checkpoint ({reason}); the file is cut short, foreign, "
            "or holds objects other than tensors"
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors, found {type(found).__name__}"
        )
    return found


def save_weights(
    path: str | Path, state: State, part: str, config: Any, dtype: torch.dtype | None = None
) -> None:
    """Write one part's weights as safetensors, its configuration in the metadata; beside first,
    then renamed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        k: (v.to(dtype) if dtype is not None and v.is_floating_point() else v).contiguous()
        for k, v in state.items()
    }
    metadata = {"format": FORMAT, "part": part, "config": json.dumps(to_dict(config))}
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        save_file(state, beside, metadata=metadata)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


# Names in the embedded weights until they are replaced.
_RENAMED = {
    "flow": {
        "hidden": "model_channels",
        "reference_fusion": "fusion",
        "reference_time_conditioning": None,
        "time_scale": None,
    },
    "arranger": {"completeness": "predicts_missing"},
}


def load_weights(path: str | Path, part: str, config_class: type) -> tuple[Any, State]:
    """Configuration and tensors of a file that `save_weights` wrote for `part`."""
    state, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected DreamAudio weights (format {FORMAT!r} in the metadata), found another "
            "safetensors file; convert it with: python -m dreamaudio_core convert"
        )
    if metadata.get("part") != part:
        raise CheckpointError(
            f"{path}: expected the weights of part {part!r}, found {metadata.get('part')!r}"
        )
    try:
        values = json.loads(metadata["config"])
    except (KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: its metadata holds no readable config") from error
    for old, new in _RENAMED.get(part, {}).items():
        if old in values:
            value = values.pop(old)
            if new:
                values[new] = value
    return from_dict(config_class, values, f"{path}: config"), state


def load_state(module: nn.Module, state: State, where: str | Path) -> nn.Module:
    """Give `module` exactly the tensors of `state`, cast to its own dtypes.

    Raises
    ------
    CheckpointError
        Names the file, the key, and what was expected and found.
    """
    expected = module.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            raise CheckpointError(
                f"{where}: key {key!r} is missing (expected shape {list(tensor.shape)})"
            )
        if state[key].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: key {key!r} has the wrong shape: expected {list(tensor.shape)}, found "
                f"{list(state[key].shape)}"
            )
    unexpected = sorted(set(state) - set(expected))
    if unexpected:
        raise CheckpointError(
            f"{where}: unexpected key {unexpected[0]!r} (and {len(unexpected) - 1} more); these are the "
            "weights of another architecture"
        )
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{where}: key {key!r} holds NaN or infinite values; the file is damaged"
            )
    if any(t.is_meta for t in expected.values()):
        cast = {k: v.to(expected[k].dtype) for k, v in state.items()}
        module.load_state_dict(cast, assign=True)
    else:
        module.load_state_dict(state)
    return module


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
    state = checkpoint.get("state_dict", checkpoint)
    prefix = "first_stage_model."
    wanted = re.compile(r"(encoder|decoder|quant_conv|post_quant_conv)\.")
    vae = {
        k[len(prefix) :]: v
        for k, v in state.items()
        if k.startswith(prefix) and wanted.match(k[len(prefix) :])
    }
    if not vae:
        raise CheckpointError(
            f"{where}: expected keys that begin with {prefix!r}, found none; this is no AudioLDM or "
            "FlowSep checkpoint"
        )
    if "scale_factor" not in state:
        raise CheckpointError(
            f"{where}: expected the tensor 'scale_factor' beside the VAE, found none; latents cannot be "
            "scaled without it"
        )
    config = _vae_config_from_keys(vae, float(state["scale_factor"]), where)
    return config, vae


def _diffusers_key(key: str, levels: int) -> str:
    key = key.replace("mid_block.resnets.0", "mid.block_1").replace(
        "mid_block.resnets.1", "mid.block_2"
    )
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", key)
    key = re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key
    )
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if ".attn_1." in key:
        for theirs, ours in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            key = key.replace(f".attn_1.{theirs}.", f".attn_1.{ours}.")
    return key


def vae_from_diffusers(folder: str | Path) -> tuple[VAEConfig, State]:
    """VAE of a diffusers folder: `config.json` and `diffusion_pytorch_model.safetensors` (also one
    level down, in `vae/`).
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "vae" / "config.json").is_file():
        folder = folder / "vae"
    config_file = _checked(folder / "config.json")
    try:
        found = json.loads(config_file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{config_file}: not readable JSON ({error})") from error
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
            f"{config_file}: field {error} is missing; expected that of a diffusers AutoencoderKL"
        ) from error
    tensors, _ = read_safetensors(folder / "diffusion_pytorch_model.safetensors")
    state = {}
    for key, tensor in tensors.items():
        key = _diffusers_key(key, len(widths))
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


def require_pickle(path: Path, allow_pickle: bool) -> None:
    """Refuse a pickled file unless it was asked for, and name the cure."""
    if not allow_pickle:
        raise CheckpointError(
            f"{path}: a pickled checkpoint is not loaded directly; convert it once with: python -m "
            f"dreamaudio_core convert {path} --out NAME.safetensors"
        )
