"""Fit the linear transform of log-mel patches that the VAE starts from, and write these weights.

    python recipes/mini/fit_transform.py BANK/manifest.jsonl RUNS/transform/vae.safetensors

The Karhunen-Loeve transform of 8x8 patches (frames x bands) over random crops of the training
sounds. Each coefficient is scaled to a power of its standard deviation: with 1 (no scaling) the
fine ones would drown in the flow's errors, with 0 (whitening) an error in the level of a patch,
which is audible 40 times as much, would count no more than one in the last. 0.5 lies between.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.config import PRESETS, VAEConfig
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.networks.patches import set_transform
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.training.dataset import CropDataset
from dreamaudio_core.weights.checkpoint import save_weights

FRAMES = 64


def patches(mel: torch.Tensor, size: int) -> torch.Tensor:
    """Patches [N, size * size] of log-mels [B, 1, frames, bands], frames first."""
    cut = mel[:, 0].unfold(1, size, size).unfold(2, size, size)
    return cut.reshape(-1, size * size)


def fit(mel: torch.Tensor, config: VAEConfig, power: float = 0.5) -> tuple[torch.Tensor, ...]:
    """Mean, basis and scale for `set_transform`, and all variances in falling order."""
    found = patches(mel, config.patch_size)
    mean = found.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((found - mean).T).double())
    values, vectors = values.flip(0).float(), vectors.flip(1).float()
    deviation = values[: config.latent_channels].sqrt()
    wanted = deviation**power
    wanted = wanted / wanted.square().mean().sqrt()
    return mean, vectors[:, : config.latent_channels], wanted / deviation, values


def transform_vae(mel: torch.Tensor, config: VAEConfig, power: float = 0.5) -> AutoencoderKL:
    """VAE whose networks add nothing yet to the transform fitted on log-mels [B, 1, frames,
    bands].
    """
    vae = AutoencoderKL(config)
    mean, basis, scale, _ = fit(mel, config, power)
    set_transform(vae.encoder, vae.decoder, mean, basis, scale)
    return vae


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--crops", type=int, default=2560)
    parser.add_argument("--power", type=float, default=0.5, help="of the standard deviations")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = PRESETS["mini"]
    crops = CropDataset(Bank(args.manifest, "train"), FRAMES * model.audio.hop_length)
    generator = torch.Generator().manual_seed(args.seed)
    chosen = torch.randint(crops.group_sizes()[0], (args.crops,), generator=generator).tolist()
    log_mel = LogMel(model.audio)
    mel = torch.cat([log_mel(crops.example(i, generator)[None]) for i in chosen])
    vae = transform_vae(mel, model.vae, args.power)
    values = fit(mel, model.vae, args.power)[3]
    with torch.inference_mode():
        latent = torch.cat([vae.posterior(part).mean for part in mel.split(64)])
        l1 = torch.cat(
            [(vae.reconstruct(z) - m).abs() for z, m in zip(latent.split(64), mel.split(64))]
        ).mean()
    config = replace(model.vae, scale_factor=float(latent.square().mean().rsqrt()))
    save_weights(args.out, vae.state_dict(), "vae", config)
    kept = [round(float(v), 2) for v in values[: model.vae.latent_channels + 1]]
    print(f"variances {kept}; log-mel L1 of the fitted crops {float(l1):.3f}")


if __name__ == "__main__":
    main()
