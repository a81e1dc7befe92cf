"""Make-an-Audio's weights as they are published, for diffusers' and transformers' networks.

A folder holds `maa1_full.ckpt` (UNet, VAE and text encoder in one, in the latent-diffusion layout)
and `bigvgan/` with `args.yml` and `best_netG.pt`. The text encoder is that of CLAP (Microsoft,
2022), a BERT; its `config.json` and tokenizer files have to be in `bert-base-uncased/`. Other sizes
than the published ones are read from `txt2audio_args.yaml`, where it is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...networks.bigvgan import BigVGAN
from ...networks.pretrained import read_pretrained
from ...weights.bigvgan import bigvgan_config, bigvgan_state
from ...weights.checkpoint import State, load_state, read_pickle, tensors_of
from ...weights.ldm_keys import fill, unet_key, vae_key

TEXT = "bert-base-uncased"
UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": 2,
    "channel_mult": [1, 2],
    "num_heads": 8,
    "context_dim": 1024,
}
VAE: dict[str, Any] = {
    "z_channels": 4,
    "resolution": 624,
    "in_channels": 1,
    "out_ch": 1,
    "ch": 128,
    "ch_mult": [1, 2, 2, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [78, 156],
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


class Parts(NamedTuple):
    """What a folder holds; `scale` multiplies the VAE's latents."""

    unet: Any
    vae: Any
    text_encoder: Any
    projection: Projection
    tokenizer: Any
    vocoder: Any
    scheduler: Any
    scale: float


class Projection(nn.Module):
    """From BERT's features [B, L, D] to those that the UNet attends to."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.linear1 = nn.Linear(width, out, bias=False)
        self.linear2 = nn.Linear(out, out, bias=False)
        self.layer_norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(nn.functional.gelu(first)))


def read_published(folder: Path) -> Parts:
    """The networks of a folder.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or its weights do not fit the sizes.
    """
    from diffusers import DDIMScheduler

    found = sorted(folder.glob("maa1*.ckpt"))
    if not found:
        raise CheckpointError(
            f"make-an-audio {str(folder)!r}: expected maa1_full.ckpt in it, found none"
        )
    content = read_pickle(found[-1])
    state = tensors_of(content.get("state_dict", content))
    sizes = _sizes(folder / "txt2audio_args.yaml")
    scale = state.get("scale_factor")
    if scale is None or scale.numel() != 1:
        raise CheckpointError(f"{found[-1]}: expected the number 'scale_factor', found none")
    text_encoder, projection, tokenizer = _text_encoder(folder, state, found[-1])
    return Parts(
        _unet(sizes["unet_config"], _below("model.diffusion_model.", state), found[-1]),
        _vae(sizes["first_stage_config"], _below("first_stage_model.", state), found[-1]),
        text_encoder,
        projection,
        tokenizer,
        _vocoder(folder / "bigvgan"),
        DDIMScheduler.from_config(SCHEDULER),
        float(scale),
    )


def _below(prefix: str, state: State) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _sizes(file: Path) -> dict[str, dict[str, Any]]:
    """Sizes of UNet and VAE, of the file or the published ones."""
    if not file.is_file():
        return {"unet_config": UNET, "first_stage_config": VAE}
    params = _read_yaml(file)
    try:
        found = params["model"]["params"]
        return {
            "unet_config": found["unet_config"]["params"],
            "first_stage_config": found["first_stage_config"]["params"]["ddconfig"],
        }
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file}: expected Make-an-Audio's configuration, {error} is missing"
        ) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{file}: not readable YAML ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: expected a table of settings, found something else")
    return values


def _unet(sizes: dict[str, Any], state: State, where: Path) -> Any:
    from diffusers import UNet2DConditionModel

    levels, blocks = len(sizes["channel_mult"]), sizes["num_res_blocks"]
    unet: Any = UNet2DConditionModel(
        in_channels=sizes["in_channels"],
        out_channels=sizes["out_channels"],
        block_out_channels=tuple(sizes["model_channels"] * m for m in sizes["channel_mult"]),
        layers_per_block=blocks,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        # By this name diffusers calls the number of heads.
        attention_head_dim=sizes["num_heads"],
        cross_attention_dim=sizes["context_dim"],
    )
    fill(unet, state, lambda key: unet_key(key, blocks), where)
    return unet


def _vae(sizes: dict[str, Any], state: State, where: Path) -> Any:
    from diffusers import AutoencoderKL

    levels = len(sizes["ch_mult"])
    attend = [
        sizes["resolution"] // 2**level in sizes["attn_resolutions"] for level in range(levels)
    ]
    down = ["AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in attend]
    up = ["AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in reversed(attend)]
    vae: Any = AutoencoderKL(
        in_channels=sizes["in_channels"],
        out_channels=sizes["out_ch"],
        block_out_channels=tuple(sizes["ch"] * m for m in sizes["ch_mult"]),
        layers_per_block=sizes["num_res_blocks"],
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        latent_channels=sizes["z_channels"],
    )
    fill(vae, state, lambda key: vae_key(key, levels), where)
    return vae


def _text_encoder(folder: Path, state: State, where: Path) -> tuple[Any, Projection, Any]:
    from transformers import AutoTokenizer, BertConfig, BertModel

    own, prefix = folder / TEXT, "cond_stage_model.caption_encoder."
    if not (own / "config.json").is_file():
        raise CheckpointError(
            f"make-an-audio {str(folder)!r}: expected the configuration and the tokenizer of its "
            f"text encoder in {own}, found none; copy config.json and the tokenizer's files of "
            f"{TEXT} there (its weights are not needed)"
        )
    expected = "config.json and tokenizer files in transformers' layout"
    config = read_pretrained(f"make-an-audio {own}", expected, BertConfig.from_pretrained, own)
    tokenizer = read_pretrained(
        f"make-an-audio {own}", expected, AutoTokenizer.from_pretrained, own
    )
    model = BertModel(config)
    fill(model, _below(f"{prefix}base.", state), lambda key: key, where)
    weights = _below(f"{prefix}projection.", state)
    out = len(weights.get("linear1.weight", torch.empty(1)))
    projection = Projection(config.hidden_size, out)
    load_state(projection, weights, where)
    return model, projection, tokenizer


def _vocoder(folder: Path) -> nn.Module:
    config = bigvgan_config(_read_yaml(folder / "args.yml"), folder / "args.yml")
    weights = folder / "best_netG.pt"
    vocoder = BigVGAN(config)
    load_state(vocoder, bigvgan_state(weights), weights)
    return vocoder
