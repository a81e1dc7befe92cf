"""Names of the latent-diffusion layout (AudioLDM, Make-an-Audio, Tango's VAE) for diffusers' keys.

Both name the same tensors, so that a network of diffusers can be filled from such a checkpoint, and
the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from .checkpoint import State, load_state

_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def vae_key(key: str, levels: int) -> str:
    """Name of a tensor of diffusers' `AutoencoderKL` with so many levels."""
    key = key.replace("mid_block.resnets.0", "mid.block_1")
    key = key.replace("mid_block.resnets.1", "mid.block_2")
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    for theirs, ours in (
        ("resnets", "block"),
        ("attentions", "attn"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
    ):
        key = re.sub(rf"down_blocks\.(\d+)\.{theirs}", rf"down.\1.{ours}", key)
        key = re.sub(
            rf"up_blocks\.(\d+)\.{theirs}",
            lambda m, ours=ours: f"up.{levels - 1 - int(m[1])}.{ours}",  # type: ignore[misc]
            key,
        )
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.match(r"(.*\.attn(?:_1|\.\d+)\.)(.*)\.(weight|bias)$", key):
        key = f"{found[1]}{_ATTENTION.get(found[2], found[2])}.{found[3]}"
    return key


def unet_key(key: str, blocks: int) -> str:
    """Name of a tensor of diffusers' `UNet2DConditionModel` with so many residual blocks a level,
    attention in all levels.
    """
    name, _, kind = key.rpartition(".")
    if name in _ENDS:
        return f"{_ENDS[name]}.{kind}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_residual(found[1], found[3])}.{kind}"
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if found is None:
        return key
    way, level, part, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if part == "downsamplers":
        return f"input_blocks.{(level + 1) * (blocks + 1)}.0.op.{kind}"
    if part == "upsamplers":
        # Behind the last block's residual and attention layers.
        return f"output_blocks.{level * (blocks + 1) + blocks}.2.conv.{kind}"
    stack = "input_blocks" if way == "down" else "output_blocks"
    place = level * (blocks + 1) + number + (1 if way == "down" else 0)
    return f"{stack}.{place}.{int(part == 'attentions')}.{_residual(part, rest)}.{kind}"


def _residual(part: str, rest: str) -> str:
    return _RESIDUAL[rest] if part == "resnets" else rest


def fill(module: nn.Module, state: State, name_of: Callable[[str], str], where: str | Path) -> None:
    """Give `module` the tensors of `state`, which are called `name_of(key)` there.

    Linear layers may be stored as convolutions over one point.

    Raises
    ------
    CheckpointError
        If a tensor is missing, has another shape or is not finite.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in module.state_dict().items():
        stored = state.get(name_of(key))
        if stored is not None:
            same = stored.numel() == tensor.numel() and stored.dim() != tensor.dim()
            found[key] = stored.reshape(tensor.shape) if same else stored
    load_state(module, found, where)
