"""Tango's weights as they are published, such as declare-lab/tango, for diffusers' networks.

A folder holds `pytorch_model_main.bin` (UNet and text encoder), `pytorch_model_vae.bin` (AudioLDM's
VAE and vocoder in one), `vae_config.json` and `main_config.json`, which names the text encoder
(`google/flan-t5-large`), the scheduler (that of Stable Diffusion 2.1) and a file with the UNet's
sizes that only Tango's program has. What is missing is filled in here; the text encoder's
configuration and tokenizer have to be in a folder of its name inside this one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import CheckpointError
from ...networks.pretrained import read_pretrained
from ...weights.bigvgan import fold_weight_norm
from ...weights.checkpoint import State, load_state, read_json, read_pickle, tensors_of
from ...weights.ldm_keys import fill, vae_key

MAIN, VAE = "pytorch_model_main.bin", "pytorch_model_vae.bin"
# As published with Tango's program: Stable Diffusion 2.1 with the channels of AudioLDM's latents.
UNET: dict[str, Any] = {
    "sample_size": (32, 2),
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
    "upcast_attention": True,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "steps_offset": 1,
}
# HiFi-GAN V1 at 160 samples a frame; the widths are those of the weights.
_RATES, _KERNELS = [5, 4, 2, 2, 2], [16, 16, 8, 4, 4]
_UNET_FILE = "diffusion_model_config.json"


def read_published(folder: Path) -> dict[str, Any]:
    """UNet, VAE, text encoder, vocoder, tokenizer and scheduler of a folder.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or its weights do not fit the sizes.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel

    main = tensors_of(read_pickle(folder / MAIN))
    unet = UNet2DConditionModel.from_config(_sizes(folder))
    load_state(unet, _below("unet.", main), folder / MAIN)
    text_encoder, tokenizer = _text_encoder(folder, _below("text_encoder.", main))
    del main
    stored = tensors_of(read_pickle(folder / VAE))
    found = folder / "scheduler" / "scheduler_config.json"
    scheduler = read_json(found) if found.is_file() else SCHEDULER
    return {
        "unet": unet,
        "vae": _vae(folder, stored),
        "text_encoder": text_encoder,
        "vocoder": _vocoder(folder, _below("vocoder.", stored)),
        "tokenizer": tokenizer,
        "scheduler": DDPMScheduler.from_config(scheduler),
    }


def _below(prefix: str, state: State) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _sizes(folder: Path) -> dict[str, Any]:
    """The UNet's sizes, of the folder or the published ones."""
    for path in (folder / _UNET_FILE, folder / "configs" / _UNET_FILE):
        if path.is_file():
            return read_json(path)
    return UNET


def _text_encoder(folder: Path, state: State) -> tuple[nn.Module, Any]:
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    name = str(read_json(folder / "main_config.json").get("text_encoder_name", ""))
    own = folder / Path(name).name
    if not name or not (own / "config.json").is_file():
        raise CheckpointError(
            f"tango {str(folder)!r}: expected the configuration and the tokenizer of its text "
            f"encoder in {own}, found none; copy config.json and the tokenizer's files of "
            f"{name or 'google/flan-t5-large'} there (its weights are not needed)"
        )
    expected = "config.json and tokenizer files in transformers' layout"
    config = read_pretrained(f"tango {own}", expected, T5Config.from_pretrained, own)
    tokenizer = read_pretrained(f"tango {own}", expected, AutoTokenizer.from_pretrained, own)
    model = T5EncoderModel(config)
    # The embedding is stored once or twice, by the version of transformers that saved it.
    shared = state.get("shared.weight", state.get("encoder.embed_tokens.weight"))
    wanted = model.state_dict()
    if shared is not None:
        state = {
            **{k: v for k, v in state.items() if k in wanted},
            **{k: shared for k in ("shared.weight", "encoder.embed_tokens.weight") if k in wanted},
        }
    load_state(model, state, folder / MAIN)
    return model, tokenizer


def _vae(folder: Path, state: State) -> Any:
    from diffusers import AutoencoderKL

    config = read_json(folder / "vae_config.json")
    try:
        sizes = config["ddconfig"]
        widths = [sizes["ch"] * m for m in sizes["ch_mult"]]
        vae: Any = AutoencoderKL(
            in_channels=sizes["in_channels"],
            out_channels=sizes["out_ch"],
            block_out_channels=tuple(widths),
            layers_per_block=sizes["num_res_blocks"],
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            latent_channels=sizes["z_channels"],
            norm_num_groups=min(32, sizes["ch"]),
            scaling_factor=config["scale_factor"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / 'vae_config.json'}: expected the configuration of AudioLDM's VAE, found "
            f"another one ({error})"
        ) from error
    fill(vae, state, lambda key: vae_key(key, len(widths)), folder / VAE)
    return vae


def _vocoder(folder: Path, state: State) -> nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    state = fold_weight_norm(state)
    try:
        bands, width = state["conv_pre.weight"].shape[1], state["conv_pre.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(
            f"{folder / VAE}: expected the vocoder beside the VAE (keys that begin with "
            "'vocoder.'), found none"
        ) from error
    config = SpeechT5HifiGanConfig(
        model_in_dim=bands,
        sampling_rate=16_000,
        upsample_initial_channel=width,
        upsample_rates=_RATES,
        upsample_kernel_sizes=_KERNELS,
        resblock_kernel_sizes=[3, 7, 11],
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        normalize_before=False,
    )
    vocoder = SpeechT5HifiGan(config)
    named = {re.sub(r"^ups\.", "upsampler.", key): tensor for key, tensor in state.items()}
    # Normalization, which transformers has and HiFi-GAN has not.
    own = {key: vocoder.state_dict()[key] for key in ("mean", "scale")}
    load_state(vocoder, {**named, **own}, folder / VAE)
    return vocoder
