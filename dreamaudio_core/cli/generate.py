"""`dreamaudio generate`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..errors import InputError
from .options import (
    add_overwrite,
    add_scene_options,
    check_free,
    describe_used,
    load_references,
)

MAX_COUNT = 1000


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "generate", help="generate audio from a prompt and reference sounds"
    )
    add_scene_options(parser)
    parser.add_argument("--negative-prompt", default="", help="what to avoid")
    parser.add_argument(
        "--free", action="store_true", help="let the network place the references, as in the paper"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--count", type=int, default=1, help="how many variations, with seeds counted from --seed"
    )
    own = parser.add_argument_group("sampling (default: the model's own)")
    own.add_argument("--steps", type=int, help="solver steps")
    own.add_argument("--solver", help="euler, midpoint, heun, ab2 or abm")
    own.add_argument("--shift", type=float, help="above 1 spends more steps near the noise")
    own.add_argument("--guidance", type=float, help="guidance scale of the prompt; 1 is none")
    own.add_argument("--reference-guidance", type=float, help="guidance scale of the references")
    sound = parser.add_argument_group("sound")
    sound.add_argument(
        "--detail",
        type=float,
        metavar="0..1",
        help="how much of the references' own waveforms the result has; 0 is the network's output "
        "(default: the model's own)",
    )
    sound.add_argument(
        "--sample-rate",
        choices=("auto", "16000", "24000", "44100", "48000"),
        default="auto",
        help="of the result; auto is the highest of the references, up to 48000",
    )
    sound.add_argument(
        "--variation",
        type=float,
        default=0.0,
        metavar="0..1",
        help="how far each event differs from its reference in pitch, length, level and timbre; "
        "drawn by the seed (default 0)",
    )
    sound.add_argument(
        "--level",
        choices=("as is", "peak", "-16 LUFS", "-23 LUFS"),
        default="as is",
        help="true peak of -1 dB, or a loudness (needs pyloudnorm)",
    )
    parts = parser.add_argument_group("parts (default: the model's own)")
    for part in ("flow", "vae", "vocoder", "text-encoder"):
        parts.add_argument(f"--{part}", metavar="PATH", help=f"use this {part} instead")
    parser.add_argument("--out", required=True, type=Path, help=".wav, .flac or .ogg")
    add_overwrite(parser)
    parser.set_defaults(run=run)


def _outputs(out: Path, count: int) -> list[Path]:
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}_{i + 1}{out.suffix}") for i in range(count)]


def _check_not_a_reference(outputs: list[Path], files: list[str]) -> None:
    for path in outputs:
        for file in files:
            if path.exists() and os.path.exists(file) and path.samefile(file):
                raise InputError(f"--out: {path} is a reference; choose another name")


def run(args: argparse.Namespace) -> int:
    """Generate, and write one file for each seed."""
    if not 1 <= args.count <= MAX_COUNT:
        raise InputError(f"--count: expected 1 to {MAX_COUNT}, found {args.count}")
    from tqdm import tqdm

    from ..audio.levels import set_level
    from ..audio.write import check_output, write_audio
    from ..device import resolve_device
    from ..loading import load_model

    outputs = _outputs(args.out, args.count)
    for path in outputs:
        check_output(path)
    _check_not_a_reference(outputs, [r["file"] for r in args.references or []])
    check_free(outputs, args.overwrite)
    references = load_references(args.references)
    model = load_model(
        args.model,
        flow=args.flow,
        vae=args.vae,
        vocoder=args.vocoder,
        text_encoder=args.text_encoder,
        device=resolve_device(args.device),
    )
    arrangement = None
    # Varied events come in one call, whose results are scaled alike.
    together = len(outputs) if args.variation else 1
    for first in range(0, len(outputs), together):
        paths = outputs[first : first + together]
        with tqdm(desc=paths[0].name, unit="step", leave=True) as bar:

            def progress(step: int, steps: int, _z) -> None:
                bar.total = steps
                bar.update(step - bar.n)

            result = model.generate(
                args.prompt,
                references,
                seeds=[args.seed + first + i for i in range(len(paths))],
                seconds=args.seconds,
                negative_prompt=args.negative_prompt,
                missing=args.missing,
                free=args.free,
                arrangement=arrangement,
                steps=args.steps,
                solver=args.solver,
                guidance=args.guidance,
                reference_guidance=args.reference_guidance,
                shift=args.shift,
                detail=args.detail,
                sample_rate=args.sample_rate,
                variation=args.variation,
                callback=progress,
            )
        if arrangement is None:
            arrangement = result.arrangement
            references = list(result.references)
            lines = describe_used(references) + arrangement.describe()
            print("\n".join(lines), file=sys.stderr)
        for text in result.warnings[len(arrangement.warnings) :]:
            print(f"warning: {text}", file=sys.stderr)
        rate = result.sample_rate
        for path, waveform in zip(paths, result.waveforms.cpu()):
            write_audio(path, set_level(waveform, rate, args.level)[0], rate)
            print(path)
    return 0
