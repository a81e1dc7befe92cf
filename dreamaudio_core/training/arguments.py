"""Types of command-line values, and options that several tasks share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ..data.bank import Bank
from ..weights.load import load_part


def _number(fits: Callable[[float], bool], expected: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text}")
        return value

    return parse


positive = _number(lambda x: 0.0 < x < math.inf, "a number above 0")
not_negative = _number(lambda x: 0.0 <= x < math.inf, "a number of 0 or more")
probability = _number(lambda x: 0.0 <= x <= 1.0, "a probability from 0 to 1")


def add_bank_options(parser: argparse.ArgumentParser) -> None:
    """Options of tasks that are trained on crops of a sound bank."""
    parser.add_argument(
        "--bank", type=Path, required=True, metavar="MANIFEST", help="manifest of the sound bank"
    )
    parser.add_argument(
        "--min-seconds",
        type=not_negative,
        default=0.05,
        help="leave out shorter sounds (default 0.05)",
    )


def load_banks(args: argparse.Namespace) -> tuple[Bank, Bank]:
    """Training and held-out sounds of `add_bank_options`."""
    train, held_out = (
        Bank(args.bank, split, min_seconds=args.min_seconds) for split in ("train", "test")
    )
    return train, held_out


def add_discriminator_options(parser: argparse.ArgumentParser, start: int, width: int) -> None:
    """Options of adversarial tasks, with the defaults of one of them."""
    parser.add_argument(
        "--discriminator-start",
        type=int,
        default=start,
        metavar="STEP",
        help=f"step at which the discriminators become active (default {start})",
    )
    parser.add_argument(
        "--discriminator-width",
        type=int,
        default=width,
        metavar="N",
        dest="width",
        help=f"channels of the discriminators' first layers (default {width})",
    )


def load_preview_part(name: str, given: Path | None, folder: Path | None) -> nn.Module | None:
    """A VAE or vocoder that is only needed to log sounds: the given file, the model folder's, or
    none.
    """
    path = given
    if path is None and folder is not None and (folder / f"{name}.safetensors").exists():
        path = folder / f"{name}.safetensors"
    return None if path is None else load_part(name, path)


def chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The named arguments by their names."""
    return {name: getattr(args, name) for name in names}
