"""`dreamaudio assemble`."""

from __future__ import annotations

import argparse

from .options import add_dtype


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "assemble",
        help="put trained parts together as a model folder",
        description="Makes a model folder that generate, evaluate and the nodes open, from the "
        "weights that `dreamaudio train` and `dreamaudio convert` wrote.",
    )
    parser.add_argument(
        "preset",
        help="what the parts were trained as, such as dreamaudio, or a folder with its config.json",
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="to be made")
    for part in ("flow", "vae", "vocoder"):
        parser.add_argument(f"--{part}", required=True, metavar="FILE")
    parser.add_argument("--arranger", metavar="FILE", help="only for placed references")
    parser.add_argument(
        "--text-encoder", metavar="FOLDER", help="copied (default: the preset's hub id stays)"
    )
    parser.add_argument("--name", help="of the model (default: the folder's)")
    add_dtype(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make one folder."""
    import torch

    from ..assembling import assemble_folder

    folder = assemble_folder(
        args.preset,
        args.out,
        flow=args.flow,
        vae=args.vae,
        vocoder=args.vocoder,
        arranger=args.arranger,
        text_encoder=args.text_encoder,
        name=args.name,
        dtype=getattr(torch, args.dtype),
    )
    print(f"{folder}: try it with: dreamaudio generate --model {folder} --prompt ... --out out.wav")
    return 0
