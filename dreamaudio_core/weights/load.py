"""Parts of a model from any format that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, NamedTuple

import torch
from torch import nn

from ..config import ArrangerConfig, MRCConfig, VocoderConfig
from ..networks.arranger import Arranger
from ..networks.bigvgan import BigVGAN
from ..networks.mrc import MRCUNet
from ..networks.operations import FAST
from ..networks.vae import AutoencoderKL
from ..networks.vocoder import build_vocoder
from .bigvgan import load_bigvgan
from .checkpoint import Uninitialized, load_state, load_weights, require_pickle
from .latent_diffusion import load_vae


class _Part(NamedTuple):
    build: Callable[..., nn.Module]
    config: type


# Parts that are stored in our own safetensors only, or in these among other formats.
_PARTS = {
    "flow": _Part(MRCUNet, MRCConfig),
    "arranger": _Part(Arranger, ArrangerConfig),
    "vocoder": _Part(build_vocoder, VocoderConfig),
}


def load_part(
    part: str,
    path: Path,
    *,
    operations=FAST,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    allow_pickle: bool = False,
) -> Any:
    """One part from a file or folder, ready for inference.

    Parameters
    ----------
    part
        `"flow"`, `"vae"`, `"vocoder"` or `"arranger"`.
    path
        Our safetensors; for the VAE also a diffusers folder; with `allow_pickle` also the public
        pickled checkpoints of VAE and BigVGAN.
    operations
        Namespace that provides the layers.
    allow_pickle
        Whether a pickled file may be opened.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds another part, or is pickled and that was not allowed.
    """
    path = Path(path)
    with Uninitialized():
        module, state = _built(part, path, (operations, dtype, torch.device("meta")), allow_pickle)
    return load_state(module, state, path).eval().requires_grad_(False).to(device)


def _built(
    part: str, path: Path, empty: tuple, allow_pickle: bool
) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A part without weights, and those of its file."""
    if part == "vae":
        vae_config, state = load_vae(path, allow_pickle)
        return AutoencoderKL(vae_config, *empty), state
    if part == "vocoder" and path.suffix.lower() != ".safetensors":
        require_pickle(path, allow_pickle)
        vocoder_config, state = load_bigvgan(path)
        return BigVGAN(vocoder_config, *empty), state
    build, config_class = _PARTS[part]
    config, state = load_weights(path, part, config_class)
    return build(config, *empty), state
