"""`dreamaudio convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_dtype, add_overwrite, check_free


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "convert", help="convert a public VAE or BigVGAN checkpoint to safetensors"
    )
    parser.add_argument(
        "source", help="AudioLDM or FlowSep .ckpt, diffusers folder, BigVGAN file or folder"
    )
    parser.add_argument("--out", required=True, help="NAME.safetensors")
    parser.add_argument(
        "--part", choices=("vae", "vocoder"), help="which part it is, where the name does not tell"
    )
    add_dtype(parser)
    add_overwrite(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert one checkpoint."""
    import torch

    from ..weights.convert import convert

    check_free([Path(args.out).expanduser()], args.overwrite)
    part = convert(args.source, args.out, args.part, getattr(torch, args.dtype))
    print(f"{args.out}: {part}")
    return 0
