"""Decoding with the paper's VAE against diffusers' `AutoencoderKL` on the same random weights
(10.24 s: a latent of 256 x 16, whose attention has 4,096 positions).

    python benchmarks/vae_decode.py [--json] [--threads N] [--device cuda]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from harness import Result, Stopwatch, parser, report, require_equal
from torch import nn

from dreamaudio_core.config import PRESETS
from dreamaudio_core.networks.operations import arrange_weights
from dreamaudio_core.weights.load import load_part


def both(device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Our VAE and diffusers', by the file that diffusers writes."""
    torch.manual_seed(0)
    config = PRESETS["dreamaudio"].vae
    levels = len(config.multipliers)
    theirs = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels * m for m in config.multipliers),
        layers_per_block=config.num_res_blocks,
        latent_channels=config.latent_channels,
        norm_num_groups=config.groups,
        scaling_factor=config.scale_factor,
    )
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = arrange_weights(load_part("vae", Path(folder)), device)
    return ours.to(device), theirs.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    args = parser(__doc__).parse_args()
    watch = Stopwatch(args)
    ours, theirs = both(watch.device)
    config = PRESETS["dreamaudio"]
    latent = torch.randn(1, *config.latent_shape()).to(watch.device)

    def decode():
        return ours.decode(latent)

    def reference():
        return theirs.decode(latent / config.vae.scale_factor).sample

    difference = require_equal(decode(), reference())
    our_time, their_time = watch.medians(decode, reference)
    details = {
        "ours_s": round(our_time, 3),
        "theirs_s": round(their_time, 3),
        "difference": f"{difference:.0e}",
    }
    name = "VAE decode against diffusers' AutoencoderKL"
    report(args, Result(name, our_time / their_time, 0.7, "", details))


if __name__ == "__main__":
    main()
