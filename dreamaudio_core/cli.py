"""Command line: `python -m dreamaudio_core generate | info | convert | ...`."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from pathlib import Path

from . import __version__
from .errors import DreamAudioError, InputError
from .scene.timeline import MISSING


class _ReferenceOption(argparse.Action):
    """`--reference FILE CAPTION` opens a reference; `--at` and `--strength` belong to the one
    before them.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        references = getattr(namespace, "references", None) or []
        if option_string == "--reference":
            references.append(
                {"file": values[0], "caption": values[1], "at": None, "strength": 1.0}
            )
        elif not references:
            parser.error(
                f"{option_string} belongs to the --reference before it; put a --reference first"
            )
        else:
            references[-1][option_string.lstrip("-")] = values
        namespace.references = references


def _add_generate(commands) -> None:
    parser = commands.add_parser("generate", help="make a sound from a prompt and reference sounds")
    parser.add_argument("--prompt", required=True, help="what is heard")
    parser.add_argument("--negative-prompt", default="", help="what guidance leads away from")
    parser.add_argument(
        "--reference",
        action=_ReferenceOption,
        nargs=2,
        metavar=("FILE", "CAPTION"),
        dest="references",
        help="a reference sound and what is heard in it; repeat for more",
    )
    parser.add_argument(
        "--at",
        action=_ReferenceOption,
        type=float,
        metavar="SECONDS",
        dest="references",
        help="start of the reference before it (default: the arranger decides)",
    )
    parser.add_argument(
        "--strength",
        action=_ReferenceOption,
        type=float,
        metavar="X",
        dest="references",
        help="guidance scale of the reference before it (default 1)",
    )
    parser.add_argument("--seconds", type=float, help="length (default: the model's own)")
    parser.add_argument("--steps", type=int, help="solver steps (default 24; 200 for -ddpm)")
    parser.add_argument("--solver", default="two-step", help="euler, midpoint, heun or two-step")
    parser.add_argument(
        "--shift",
        type=float,
        default=1.0,
        help="time shift; above 1 spends more steps near the noise",
    )
    parser.add_argument("--guidance", type=float, default=2.0, help="guidance scale (default 2)")
    parser.add_argument(
        "--reference-guidance",
        type=float,
        help="guidance scale of the references (default: as --guidance)",
    )
    parser.add_argument(
        "--free", action="store_true", help="let the network place the references, as in the paper"
    )
    parser.add_argument(
        "--missing",
        choices=MISSING,
        default="auto",
        help="parts of the prompt without a reference: auto adds a sound only where the prompt asks for one",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--count",
        type=int,
        default=1,
        help="how many variations, with seeds counted up from --seed",
    )
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
    for part in ("flow", "vae", "vocoder", "text-encoder"):
        parser.add_argument(
            f"--{part}",
            metavar="PATH",
            help=f"another {part.replace('-', ' ')} than the model's own",
        )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps, ...")
    parser.add_argument("--out", required=True, type=Path, help=".wav, .flac or .ogg")
    parser.set_defaults(run=_generate)


def _outputs(out: Path, count: int) -> list[Path]:
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}_{i + 1}{out.suffix}") for i in range(count)]


def _generate(args: argparse.Namespace) -> int:
    if not 1 <= args.count <= 1000:
        raise InputError(f"--count: expected 1 to 1000, found {args.count}")
    from tqdm import tqdm

    from .audio import check_output, write_audio
    from .pipeline import load_model
    from .sampling.flow import Guidance
    from .scene.reference import load_reference

    outputs = _outputs(args.out, args.count)
    for path in outputs:
        check_output(path)
    guidance = Guidance(args.guidance, args.reference_guidance)
    references = [
        load_reference(r["file"], r["caption"], r["strength"], r["at"], what=f"reference {i + 1}")
        for i, r in enumerate(args.references or [])
    ]
    model = load_model(
        args.model,
        flow=args.flow,
        vae=args.vae,
        vocoder=args.vocoder,
        text_encoder=args.text_encoder,
        device=args.device,
    )
    conditioning = model.condition(args.prompt, references, args.negative_prompt)
    arrangement = model.arrange(conditioning, args.seconds, args.free, args.missing)
    for reference, places in zip(references, arrangement.timeline):
        if places is not None:
            heard = (
                ", ".join(f"{p.start:.2f} s for {p.duration:.2f} s" for p in places)
                or "not asked for by the prompt"
            )
            print(f"{reference.caption}: {heard}", file=sys.stderr)
    for i, path in enumerate(outputs):
        with tqdm(desc=path.name, unit="step", leave=True) as bar:

            def progress(step: int, steps: int, _z) -> None:
                bar.total = steps
                bar.update(step - bar.n)

            latent = model.sample(
                conditioning,
                arrangement,
                [args.seed + i],
                args.steps,
                guidance,
                args.solver,
                args.shift,
                callback=progress,
            )
        waveform = model.vocode(model.decode(latent), arrangement.seconds)
        write_audio(path, waveform[0].cpu(), model.config.audio.sample_rate)
        print(path)
    return 0


def _add_info(commands) -> None:
    parser = commands.add_parser("info", help="sizes of a preset, model folder or weight file")
    parser.add_argument("name", help="preset, embedded model, model folder or weight file")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=_info)


def _info(args: argparse.Namespace) -> int:
    from .weights.info import describe

    found = describe(args.name)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(found.get("name") or found["file"])
    for name, count in {**found["parameters"], **found.get("other_parameters", {})}.items():
        if count:
            print(f"  {name:<18} {count / 1e6:9.2f} M parameters")
    for name, size in found.get("files", {}).items():
        print(f"  {name:<34} {size / 2**20:8.1f} MiB")
    return 0


def _add_convert(commands) -> None:
    parser = commands.add_parser(
        "convert", help="a public VAE or BigVGAN checkpoint to safetensors"
    )
    parser.add_argument(
        "source", help="AudioLDM or FlowSep .ckpt, diffusers folder, BigVGAN file or folder"
    )
    parser.add_argument("--out", required=True, help="NAME.safetensors")
    parser.add_argument(
        "--part", choices=("vae", "vocoder"), help="which part it is, where the name does not tell"
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> int:
    import torch

    from .weights.convert import convert

    part = convert(args.source, args.out, args.part, getattr(torch, args.dtype))
    print(f"{args.out}: {part}")
    return 0


# Commands of other parts of the package: module with `add_parser`, and what `--help` says of it.
COMMANDS = {
    "data": (".data.cli", "sound banks, the paper's datasets, cached latents"),
    "train": (".training.cli", "train the VAE, the vocoder, the flow or the alignment layer"),
    "evaluate": (".evaluation.cli", "score generated audio as the paper does"),
    "library": (".retrieval.cli", "index sounds, and find references for a prompt"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors of input become one line and exit status 2."""
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="python -m dreamaudio_core", description="Customized text-to-audio generation."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for add in (_add_generate, _add_info, _add_convert):
        add(commands)
    for name, (module, summary) in COMMANDS.items():
        # Only the chosen part is imported, so that the others cost a short command nothing.
        if name == chosen:
            importlib.import_module(module, __package__).add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return args.run(args)
    except DreamAudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
