"""Public checkpoint formats to our safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..config import VAEConfig, VocoderConfig
from ..errors import CheckpointError
from ..networks.bigvgan import BigVGAN
from ..networks.vae import AutoencoderKL
from .bigvgan import load_bigvgan
from .checkpoint import load_state, read_json, save_weights
from .latent_diffusion import load_vae


def detect_part(source: Path) -> str:
    """`"vae"` or `"vocoder"`, from the layout of a file or folder."""
    if source.is_dir():
        config = source / "config.json"
        if (source / "vae" / "config.json").is_file():
            return "vae"
        if config.is_file():
            return "vae" if "block_out_channels" in read_json(config) else "vocoder"
        raise CheckpointError(
            f"{source}: expected config.json in it, found none; name the checkpoint file itself"
        )
    if not source.is_file():
        raise CheckpointError(f"{source}: no such file or folder")
    generator = source.name.startswith("g_") or "generator" in source.name
    return "vocoder" if generator else "vae"


def convert(
    source: str | Path, out: str | Path, part: str | None = None, dtype: torch.dtype | None = None
) -> str:
    """Write the VAE or vocoder of a public checkpoint as our safetensors.

    Returns
    -------
    str
        The part that was written.

    Raises
    ------
    CheckpointError
        If the source is not readable, or does not hold a complete part.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if out.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{out}: expected a name that ends in .safetensors")
    part = part or detect_part(source)
    config: VAEConfig | VocoderConfig
    network: nn.Module
    if part == "vae":
        config, state = vae, _ = load_vae(source, allow_pickle=True)
        network = AutoencoderKL(vae, device=torch.device("meta"))
    else:
        config, state = vocoder, _ = load_bigvgan(source)
        network = BigVGAN(vocoder, device=torch.device("meta"))
    load_state(network, state, source)
    try:
        save_weights(out, state, part, config, dtype)
    except OSError as error:
        raise CheckpointError(
            f"{out}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from error
    return part
