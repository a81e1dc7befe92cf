"""Command line: `evaluate customization`."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import SamplingConfig
from ..data.bank import Bank
from ..data.compose.composer import Composer
from ..errors import InputError
from ..files import atomic_write
from ..json_text import parse_json
from ..loading import load_model
from ..pipeline import DreamAudio
from .customization import (
    CANDIDATES,
    MODES,
    SETS,
    SINGLE,
    Matcher,
    Votes,
    customization,
    text_only,
    variation,
)

PARTS = ("customization", "generation", "variation")
VARIATION_ITEMS = 50


def add_customization(commands: Any) -> None:
    """Add the command to those of `evaluate`."""
    parser = commands.add_parser(
        "customization",
        help="does the output contain the references' sounds?",
        description="Compose held-out items from a bank, generate them, and count the events whose "
        f"nearest sound among {CANDIDATES} is their own. Results are merged into "
        "FOLDER/evaluation.json, one key per part, so that parts can be measured one at a time.",
    )
    parser.add_argument("bank", type=Path, help="manifest of the sound bank")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="customization; generation: single events from their caption alone; variation: how "
        "two seeds differ (default: all)",
    )
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(SETS))
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=tuple(MODES),
        default=list(MODES),
        help="; ".join(f"{mode}: {text}" for mode, text in MODES.items()),
    )
    parser.add_argument(
        "--items", type=int, default=200, help="items per set and mode (default 200)"
    )
    parser.add_argument(
        "--waveforms",
        type=int,
        default=50,
        help="of these, items that are scored after the vocoder too (default 50)",
    )
    parser.add_argument("--seed", type=int, default=11, help="seed of the items (default 11)")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--guidance", type=float, help="default: the model's own")
    parser.add_argument("--reference-guidance", type=float, help="default: the model's own")
    parser.add_argument(
        "--text-guidance",
        type=float,
        default=2.0,
        help="guidance in the part generation, which has no references (default 2)",
    )
    parser.add_argument(
        "--suffix", default="", help="added to the keys, to keep results of several settings"
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="autocast; faster on CPUs with matrix units for it",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="share the items between processes (default 1)"
    )
    parser.set_defaults(run=_run)


@dataclass
class _Setting:
    """A model with its matchers and composers, made once per process."""

    model: DreamAudio
    matchers: dict[str, Matcher]
    bank: Bank

    @classmethod
    def load(cls, args: argparse.Namespace) -> "_Setting":
        model = load_model(args.model)
        bank, events = Bank(args.bank), Bank(args.bank, kinds=("event", "speech"))
        matchers = {s: Matcher(events, s, model.log_mel) for s in ("train", "test")}
        return cls(model, matchers, bank)

    def composer(self, name: str) -> Composer:
        """Composer of held-out items."""
        return Composer(self.bank, SETS[name], "test")


def _settings(args: argparse.Namespace, model: DreamAudio) -> SamplingConfig:
    return model.config.sampling.override(
        steps=args.steps, guidance=args.guidance, reference_guidance=args.reference_guidance
    )


# Of a worker process.
_LOADED: list[_Setting] = []


def _measure_share(task: tuple[argparse.Namespace, str, str, int]) -> Votes:
    """One process's share of the items of a set and mode."""
    args, name, mode, first = task
    if not _LOADED:
        torch.set_num_threads(max(1, torch.get_num_threads() // args.processes))
        _LOADED.append(_Setting.load(args))
    return _measure(args, _LOADED[0], name, mode, range(first, args.items, args.processes))


def _measure(
    args: argparse.Namespace, setting: _Setting, name: str, mode: str, items: range
) -> Votes:
    model, matcher = setting.model, setting.matchers["test"]
    composer, settings = setting.composer(name), _settings(args, model)
    with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        return customization(
            model, matcher, composer, items, args.seed, mode, settings, args.waveforms
        )


class Results:
    """A JSON file of results that is completed part by part.

    Raises
    ------
    InputError
        If the file is not a JSON object.
    """

    def __init__(self, path: Path, suffix: str = ""):
        self.path, self.suffix, self.values = path, suffix, {}
        if path.exists():
            try:
                self.values = dict(parse_json(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}: expected a JSON object ({error}); remove it") from error

    def keep(self, key: str, value: dict[str, Any]) -> None:
        """Add or replace a part, and write the file."""
        self.values[key + self.suffix] = value
        with atomic_write(self.path) as partial:
            partial.write_text(json.dumps(self.values, indent=2) + "\n", encoding="utf-8")
        print(key, json.dumps(value), flush=True)


def _run(args: argparse.Namespace) -> int:
    for name in ("items", "processes"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name}: expected 1 or more, found {getattr(args, name)}")
    results = Results(args.out / "evaluation.json", args.suffix)
    setting = _Setting.load(args)
    settings = _settings(args, setting.model)
    common = {
        "steps": settings.steps,
        "bf16": args.bf16,
        "guidance": settings.guidance,
        "reference_guidance": settings.reference_guidance,
    }
    if "customization" in args.parts:
        _run_customization(args, setting, results, common)
    matcher = setting.matchers["test"]
    with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        if "generation" in args.parts:
            text = settings.override(guidance=args.text_guidance)
            composer = Composer(setting.bank, SINGLE, "train")
            own = setting.matchers["train"]
            found = text_only(setting.model, own, composer, args.items, args.seed, text)
            guidance = {"guidance": args.text_guidance, "reference_guidance": None}
            results.keep("generation", {**common, **found, **guidance})
        if "variation" in args.parts:
            composer, items = setting.composer("concatenation"), min(args.items, VARIATION_ITEMS)
            found = variation(setting.model, matcher, composer, items, args.seed, settings)
            results.keep("variation", {**common, **found})
    return 0


def _run_customization(
    args: argparse.Namespace, setting: _Setting, results: Results, common: dict[str, Any]
) -> None:
    pool = None
    if args.processes > 1:
        pool = torch.multiprocessing.get_context("spawn").Pool(args.processes)
    try:
        for name in args.sets:
            for mode in args.modes:
                started = time.monotonic()
                if pool is None:
                    shares = [_measure(args, setting, name, mode, range(args.items))]
                else:
                    # Only what the workers need is sent: the parser's functions cannot be pickled.
                    plain = argparse.Namespace(
                        **{k: v for k, v in vars(args).items() if not callable(v)}
                    )
                    tasks = [(plain, name, mode, first) for first in range(args.processes)]
                    shares = pool.map(_measure_share, tasks)
                votes = sum(shares, Votes())
                seconds = round(time.monotonic() - started)
                found = {**common, "items": args.items, **votes.summary(), "seconds": seconds}
                results.keep(f"{name}-{mode}", found)
    finally:
        if pool is not None:
            pool.terminate()
