"""Command line: `train TASK`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from .arguments import positive
from .loop import train
from .options import TrainOptions
from .task import Task
from .tasks import TASKS


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command `train`; each of its sub-commands sets `run`, a function of the arguments to
    an exit code.
    """
    parser = subparsers.add_parser(
        "train",
        help="train a part of a model",
        description="Train a part of a model, on one process or, under `accelerate launch -m` or "
        "`torchrun -m`, on many. An existing run folder is resumed; Ctrl-C ends a run after the "
        "step with a checkpoint.",
    )
    commands = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, task in TASKS.items():
        command = commands.add_parser(name, help=task.summary, description=task.summary)
        command.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
        command.add_argument(
            "--model",
            required=True,
            help="preset, embedded model or model folder: decides the sizes",
        )
        _add_common(command, {**Task.defaults, **task.defaults})
        task.add_arguments(command)
        command.set_defaults(run=_run, task=task)
    return parser


def _add_common(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    default = {field.name: field.default for field in fields(TrainOptions)} | defaults
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps in total")
    for name, kind, text in (
        ("lr", positive, "learning rate"),
        ("clip", positive, "largest gradient norm"),
        ("warmup", int, "steps of linear learning-rate warm-up"),
        ("batch", int, "items per process and micro-step"),
        ("accumulation", int, "micro-steps per step"),
        ("ema", float, "decay of the averaged weights"),
        ("seed", int, "random seed (data order and all sampling)"),
        ("save-every", int, "steps between checkpoints"),
        ("keep", int, "checkpoints to keep"),
        ("log-every", int, "steps between points of the curves"),
        ("validate-every", int, "steps between validations"),
    ):
        value = default[name.replace("-", "_")]
        parser.add_argument(
            f"--{name}", type=kind, default=value, help=f"{text} (default {value:g})"
        )
    parser.add_argument(
        "--schedule",
        choices=("constant", "cosine"),
        default=default["schedule"],
        help=f"learning rate after warm-up (default {default['schedule']})",
    )
    parser.add_argument(
        "--workers", type=int, help="data-loading processes (default: 4 on a GPU, none on a CPU)"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "no", "bf16"),
        default="auto",
        help="auto: bf16 on a GPU that computes with it, else float32 (default auto)",
    )
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="lay out the weights of convolutions channels last",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the step (torch.compile); only the flow's"
    )
    parser.add_argument(
        "--shard",
        action="store_true",
        help="keep a part of weights, moments and averages on each process (FSDP); only the flow's",
    )
    parser.add_argument(
        "--device", choices=("cpu",), help="keep off accelerators (default: what accelerate finds)"
    )


def _run(args: argparse.Namespace) -> int:
    names = [field.name for field in fields(TrainOptions) if field.name != "progress"]
    options = TrainOptions(**{name: getattr(args, name) for name in names})
    # The weights of a new network are drawn from the global generator.
    torch.manual_seed(options.seed)
    result = train(args.task.from_arguments(args), options)
    if result.stopped:
        print(f"{args.folder}: stopped after step {result.step}; the same command continues")
    else:
        print(f"{args.folder}: {result.step} steps done")
    return 0
