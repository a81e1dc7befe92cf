"""Give the VAE and the flow of a model folder more latent channels, keeping what they have learnt.

    python recipes/mini/widen_latents.py MODEL_FOLDER CHANNELS OUT_FOLDER

Writes OUT_FOLDER/vae.safetensors and OUT_FOLDER/flow.safetensors to start training from (`train ...
--initial`). The old channels keep their weights. The new ones start as noise that the VAE's decoder
hardly hears and that the flow ignores.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from dreamaudio_core.config import MRCConfig, VAEConfig
from dreamaudio_core.errors import InputError
from dreamaudio_core.networks.mrc import MRCUNet
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.weights.checkpoint import load_weights, save_weights

QUIET_LOGVAR = -2.0


def widen_vae(
    state: dict[str, torch.Tensor], config: VAEConfig, channels: int
) -> dict[str, torch.Tensor]:
    """State of a VAE with `channels` latent channels."""
    old, wide = config.latent_channels, replace(config, latent_channels=channels)
    rows = torch.cat([torch.arange(old), channels + torch.arange(old)])
    out = {name: value.clone() for name, value in AutoencoderKL(wide).state_dict().items()}
    for name, value in state.items():
        target = out[name]
        if name.startswith("encoder.conv_out"):
            target[rows] = value
            if name.endswith("bias"):
                target[channels + old :] = QUIET_LOGVAR
        elif name.startswith("quant_conv") or name.startswith("post_quant_conv"):
            both = rows if name.startswith("quant_conv") else torch.arange(old)
            target.zero_()
            if name.endswith("bias"):
                target[both] = value
            else:
                target[:, :, 0, 0] = torch.eye(len(target))
                target[both[:, None], both] = value
        elif name == "decoder.conv_in.weight":
            target *= 0.3
            target[:, :old] = value
        else:
            out[name] = value
    return out


def widen_flow(
    state: dict[str, torch.Tensor], config: MRCConfig, channels: int
) -> dict[str, torch.Tensor]:
    """State of an MRC UNet for latents of `channels`; its output on the old channels stays the
    same.
    """
    old = config.latent_channels
    out = {
        name: value.clone()
        for name, value in MRCUNet(replace(config, latent_channels=channels)).state_dict().items()
    }
    for name, value in state.items():
        target = out[name]
        if name.endswith("encoder.stem.weight"):
            target.zero_()
            target[:, :old] = value[:, :old]
            target[:, channels:] = value[:, old:]
        elif name.startswith("decoder.out."):
            target.zero_()
            target[:old] = value
        else:
            out[name] = value
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("channels", type=int)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    for part, config_class, widen in (
        ("vae", VAEConfig, widen_vae),
        ("flow", MRCConfig, widen_flow),
    ):
        path = args.folder / f"{part}.safetensors"
        config, state = load_weights(path, part, config_class)
        if args.channels <= config.latent_channels:
            raise InputError(
                f"{path}: has {config.latent_channels} latent channels, expected fewer than "
                f"{args.channels}"
            )
        wide = widen({k: v.float() for k, v in state.items()}, config, args.channels)
        args.out.mkdir(parents=True, exist_ok=True)
        save_weights(
            args.out / f"{part}.safetensors",
            wide,
            part,
            replace(config, latent_channels=args.channels),
        )


if __name__ == "__main__":
    main()
