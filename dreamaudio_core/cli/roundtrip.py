"""`dreamaudio roundtrip`: what a model's codec leaves of a sound."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .options import add_overwrite, check_free


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "roundtrip",
        help="pass a sound through a model's mel, VAE and vocoder",
        description="Write what a model's codec leaves of a sound, and print how far its log-mel "
        "moved. No generation and no reference detail: the vocoder alone, with the refinement that "
        "the model asks for.",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="a sound file")
    parser.add_argument("--out", required=True, type=Path, help=".wav, .flac or .ogg")
    parser.add_argument(
        "--through",
        choices=("mel", "latent"),
        default="latent",
        help="mel: analysis and vocoder only; latent: the VAE as well (default)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="standard deviation of noise on the latent, as a flow's error would be (default 0)",
    )
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_overwrite(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the sound; print the distance after the VAE and after the vocoder."""
    if args.noise < 0.0:
        raise InputError(f"--noise: expected a number of 0 or more, found {args.noise:g}")
    if args.noise and args.through == "mel":
        raise InputError("--noise: there is no latent with --through mel; leave out one of the two")
    from ..audio.decode import read_audio
    from ..audio.write import check_output, write_audio
    from ..codec import roundtrip
    from ..device import resolve_device
    from ..loading import load_model

    check_output(args.out)
    if args.out.exists() and args.out.samefile(args.input):
        raise InputError(f"--out: {args.out} is the input; choose another name")
    check_free([args.out], args.overwrite)
    model = load_model(args.model, device=resolve_device(args.device))
    rate = model.config.audio.sample_rate
    waveform = read_audio(args.input, rate)
    result = roundtrip(model, waveform, args.through, args.noise)
    write_audio(args.out, result.waveform.cpu(), rate)
    if result.decoded_l1 is not None:
        print(f"log-mel L1 after the VAE: {result.decoded_l1:.3f}")
    print(f"log-mel L1 after the vocoder: {result.waveform_l1:.3f}")
    print(args.out)
    return 0
