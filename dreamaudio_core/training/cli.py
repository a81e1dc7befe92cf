"""Command line: `train vae`, `train vocoder`, `train flow` and `train align`."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command `train`; each of its sub-commands sets `run`, a function of the arguments to
    an exit code.
    """
    parser = subparsers.add_parser(
        "train",
        help="train a part of a model",
        description="Train a part of a model, on one process or, under `accelerate launch -m` or `torchrun -m`, on many. A "
        "run folder that is there is continued; Ctrl-C ends a run after the step with a checkpoint.",
    )
    commands = parser.add_subparsers(dest="train_command", required=True, metavar="PART")
    vae = commands.add_parser("vae", help="the mel VAE: L1, KL and a late patch discriminator")
    vocoder = commands.add_parser(
        "vocoder", help="BigVGAN against period and resolution discriminators"
    )
    flow = commands.add_parser("flow", help="the MRC UNet, in every preset and variant")
    align = commands.add_parser(
        "align", help="only the alignment layer, for more references than the network has"
    )

    for command, run, rate, warmup, clip in (
        (vae, _vae, 5e-5, 10_000, 1.0),
        (vocoder, _vocoder, 1e-4, 0, 1000.0),
        (flow, _flow, 5e-5, 10_000, 1.0),
        (align, _align, 5e-5, 10_000, 1.0),
    ):
        command.set_defaults(run=run)
        command.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the run")
        command.add_argument(
            "--model", required=True, help="preset, embedded model or model folder: decides sizes"
        )
        command.add_argument(
            "--initial",
            type=Path,
            required=command is align,
            metavar="WEIGHTS",
            help="weights to start from",
        )
        command.add_argument(
            "--rate", type=float, default=rate, help=f"learning rate (default {rate:g})"
        )
        command.add_argument(
            "--clip", type=float, default=clip, help=f"largest gradient norm (default {clip:g})"
        )
        _add_loop(command, warmup)

    for command, width, start in ((vae, 64, 50_000), (vocoder, 32, 0)):
        command.add_argument(
            "--discriminator-start",
            type=int,
            default=start,
            metavar="STEP",
            help=f"step at which the discriminators begin to act (default {start})",
        )
        command.add_argument(
            "--discriminator-width",
            type=int,
            default=width,
            metavar="N",
            dest="width",
            help=f"channels of the discriminators' first layers (default {width})",
        )
        command.add_argument(
            "--bank",
            type=Path,
            required=True,
            metavar="MANIFEST",
            help="manifest of the sound bank",
        )
        command.add_argument(
            "--min-seconds",
            type=float,
            default=0.05,
            help="leave out shorter sounds (default 0.05)",
        )
    vae.add_argument("--frames", type=int, default=128, help="mel frames of a crop (default 128)")
    vae.add_argument(
        "--kl-weight", type=float, default=1e-5, help="of the KL in nats an item (default 1e-5)"
    )
    vae.add_argument("--adversarial-weight", type=float, default=0.1)
    vae.add_argument(
        "--decoder-only",
        action="store_true",
        help="leave the encoder, and so all latents, as they are",
    )
    vae.add_argument("--vocoder", type=Path, metavar="WEIGHTS", help="for sounds on the board")
    vocoder.add_argument(
        "--frames", type=int, default=50, help="mel frames of a segment (default 50: 8,000 samples)"
    )
    vocoder.add_argument(
        "--multi-scale", action="store_true", help="the mel loss of BigVGAN version 2"
    )
    vocoder.add_argument(
        "--compile", action="store_true", help="compile the activations (quicker on CPUs)"
    )

    for command in (flow, align):
        command.add_argument(
            "--data",
            type=Path,
            action="append",
            required=True,
            metavar="CACHE",
            help="folder of `data cache`; repeat to mix",
        )
        command.add_argument(
            "--validation",
            type=Path,
            action="append",
            metavar="CACHE",
            help="items that are only measured",
        )
        for part in ("vae", "vocoder"):
            command.add_argument(
                f"--{part}",
                type=Path,
                metavar="WEIGHTS",
                help="for sounds on the board (default: the model folder's)",
            )
        command.add_argument(
            "--drop", type=float, default=0.4, help="probability that an event loses its reference"
        )
        command.add_argument(
            "--mask",
            type=float,
            default=0.1,
            help="probability that a span of an event is silenced",
        )
        command.add_argument(
            "--unconditional", type=float, default=0.1, help="probability of guidance dropout"
        )
        command.add_argument(
            "--time-power",
            type=float,
            default=1.0,
            metavar="P",
            help="flow times are u ** P, u even: above 1 more of them lie near the noise (default 1)",
        )
        command.add_argument("--weight-decay", type=float, default=0.01)
    flow.add_argument(
        "--free", type=float, default=0.5, help="share of items whose references are not placed"
    )
    align.add_argument(
        "--references",
        type=int,
        required=True,
        metavar="K",
        help="references of the widened network",
    )
    return parser


def _add_loop(parser: argparse.ArgumentParser, warmup: int) -> None:
    from .loop import LoopOptions

    default = {field.name: field.default for field in fields(LoopOptions)}
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps in all")
    for name, text in (
        ("batch", "items of a process and micro-step"),
        ("accumulation", "micro-steps of a step"),
        ("seed", "names the order of items and all randomness"),
        ("workers", "data-loading processes"),
        ("save-every", "steps between checkpoints"),
        ("keep", "checkpoints kept"),
        ("log-every", "steps between points of the curves"),
        ("sample-every", "steps between samples"),
    ):
        value = default[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default {value})")
    parser.add_argument(
        "--warmup", type=int, default=warmup, help=f"steps of linear warm-up (default {warmup})"
    )
    parser.add_argument(
        "--schedule",
        choices=("constant", "cosine"),
        default="constant",
        help="of the rate after warm-up",
    )
    parser.add_argument(
        "--ema", type=float, default=default["ema"], help="decay of the averaged weights"
    )
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument(
        "--device", choices=("cpu",), help="keep off accelerators (default: what accelerate finds)"
    )


def _options(args: argparse.Namespace) -> Any:
    from .loop import LoopOptions

    names = [field.name for field in fields(LoopOptions) if field.name not in ("run", "progress")]
    return LoopOptions(args.run_folder, **{name: getattr(args, name) for name in names})


def _train(args: argparse.Namespace, make: Any) -> int:
    import torch

    from .loop import train

    options = _options(args)
    torch.manual_seed(options.seed)
    outcome = train(make(), options)
    if outcome.stopped:
        print(f"{args.run_folder}: stopped after step {outcome.step}; the same command continues")
    else:
        print(f"{args.run_folder}: {outcome.step} steps done")
    return 0


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}


def _banks(args: argparse.Namespace) -> tuple[Any, Any]:
    from ..data.bank import Bank

    return Bank(args.bank, "train", min_seconds=args.min_seconds), Bank(
        args.bank, "test", min_seconds=args.min_seconds
    )


def _vae(args: argparse.Namespace) -> int:
    from ..weights.checkpoint import load_vae
    from ..weights.folder import find_config
    from ..weights.load import load_part
    from .vae import VAEPart

    config, _ = find_config(args.model)
    given, initial = load_vae(args.initial) if args.initial else (config.vae, None)
    if args.decoder_only:
        config = replace(config, vae=given)
    vocoder = load_part("vocoder", args.vocoder) if args.vocoder else None
    return _train(
        args,
        lambda: VAEPart(
            config,
            *_banks(args),
            initial=initial,
            vocoder=vocoder,
            **_given(
                args,
                "frames",
                "kl_weight",
                "discriminator_start",
                "adversarial_weight",
                "width",
                "rate",
                "clip",
                "decoder_only",
            ),
        ),
    )


def _vocoder(args: argparse.Namespace) -> int:
    from ..config import VocoderConfig
    from ..weights.checkpoint import load_weights
    from ..weights.folder import find_config
    from .vocoder import VocoderPart

    config, _ = find_config(args.model)
    initial = load_weights(args.initial, "vocoder", VocoderConfig)[1] if args.initial else None
    return _train(
        args,
        lambda: VocoderPart(
            config,
            *_banks(args),
            initial=initial,
            compiled=args.compile,
            **_given(args, "frames", "multi_scale", "discriminator_start", "width", "rate", "clip"),
        ),
    )


def _flow_options(args: argparse.Namespace, folder: Path | None, free: float) -> dict[str, Any]:
    from ..data.batches import Augmentation
    from ..weights.load import load_part

    for name in ("drop", "mask", "unconditional"):
        if not 0.0 <= getattr(args, name) <= 1.0:
            raise InputError(
                f"--{name}: expected a probability from 0 to 1, found {getattr(args, name)}"
            )
    if not 0.0 <= free <= 1.0:
        raise InputError(f"--free: expected a probability from 0 to 1, found {free}")
    parts = {}
    for name in ("vae", "vocoder"):
        path = getattr(args, name) or (folder / f"{name}.safetensors" if folder else None)
        parts[name] = (
            load_part(name, path)
            if path is not None and (getattr(args, name) or path.exists())
            else None
        )
    return {
        "augmentation": Augmentation(args.drop, args.mask, args.unconditional, free),
        "validation": args.validation,
        **parts,
        **_given(args, "rate", "clip", "weight_decay", "time_power"),
    }


def _initial_flow(args: argparse.Namespace, config: Any) -> dict[str, Any] | None:
    from ..config import MRCConfig
    from ..weights.checkpoint import load_weights
    from .flow import check_fits

    if args.initial is None:
        return None
    found, state = load_weights(args.initial, "flow", MRCConfig)
    check_fits(config.mrc, found, args.initial)
    return state


def _flow(args: argparse.Namespace) -> int:
    from ..weights.folder import find_config
    from .flow import FlowPart

    config, folder = find_config(args.model)
    initial = _initial_flow(args, config)
    return _train(
        args,
        lambda: FlowPart(
            config, args.data, initial=initial, **_flow_options(args, folder, args.free)
        ),
    )


def _align(args: argparse.Namespace) -> int:
    from ..weights.folder import find_config
    from .align import AlignPart

    config, folder = find_config(args.model)
    initial = _initial_flow(args, config)
    return _train(
        args,
        lambda: AlignPart(
            config, args.data, initial, args.references, **_flow_options(args, folder, 0.0)
        ),
    )
