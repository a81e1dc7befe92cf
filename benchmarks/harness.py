"""What the benchmarks share: timing side by side, and results as lines of JSON.

A benchmark compares a call of ours with one of somebody else's (or of our own done plainly). Both
run turn by turn, so that what else the machine does falls on both, and the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))


@dataclass(frozen=True)
class Result:
    """One measured figure.

    Parameters
    ----------
    name
        What is compared with what.
    ratio
        Ours divided by the other, or a figure in `unit`.
    bar
        What it should be at most.
    unit
        Empty for a ratio.
    details
        Other figures that belong to it.
    """

    name: str
    ratio: float
    bar: float
    unit: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.ratio <= self.bar

    def as_dict(self) -> dict[str, Any]:
        """Values of the JSON line."""
        base = {"name": self.name, "ratio": round(self.ratio, 4), "bar": self.bar, "met": self.met}
        return {**base, "unit": self.unit, **self.details}


def parser(description: str, runs: int = 5) -> argparse.ArgumentParser:
    """Options that every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print results as lines of JSON")
    parser.add_argument("--runs", type=int, default=runs, help="timed runs of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="processor: time of this process's threads, for a machine that is not quiet",
    )
    return parser


class Stopwatch:
    """Times calls by the options of `parser`; sets the number of threads."""

    def __init__(self, args: argparse.Namespace):
        torch.set_num_threads(args.threads)
        self.runs, self.device = args.runs, torch.device(args.device)
        # A GPU's work is not the processor's.
        on_cpu = self.device.type == "cpu"
        wall = args.clock == "wall" or not on_cpu
        self.now = time.perf_counter if wall else time.process_time

    def once(self, call: Callable[[], Any]) -> float:
        """Seconds of one call."""
        self._finish()
        start = self.now()
        call()
        self._finish()
        return self.now() - start

    def medians(self, *calls: Callable[[], Any], runs: int | None = None) -> list[float]:
        """Median seconds of each call, run turn by turn after one run each that is not counted."""
        for call in calls:
            self.once(call)
        turns = [[self.once(call) for call in calls] for _ in range(runs or self.runs)]
        return [statistics.median(times) for times in zip(*turns)]

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def require_equal(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> float:
    """Largest difference of two outputs relative to the largest value (at least 1); ends the
    program if it is more than `tolerance`, as times of different work say nothing.
    """
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not difference <= tolerance:
        raise SystemExit(f"outputs differ by {difference:.1e}: more than {tolerance:.0e}")
    return difference


def peak_mib() -> float:
    """Most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def report(args: argparse.Namespace, *results: Result) -> None:
    """Print results, as JSON if that was asked for."""
    for result in results:
        if args.json:
            print(json.dumps(result.as_dict()), flush=True)
            continue
        verdict = "met" if result.met else "missed"
        unit = f" {result.unit}" if result.unit else ""
        print(f"{result.name}: {result.ratio:.3f}{unit}, bar {result.bar:g} {verdict}")
        for key, value in result.details.items():
            print(f"    {key.replace('_', ' ')}: {value}")
