"""Settings of a training run that all tasks share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

POSITIVE = (
    "batch",
    "accumulation",
    "save_every",
    "keep",
    "log_every",
    "validate_every",
)


@dataclass(frozen=True)
class TrainOptions:
    """How a task is trained.

    Parameters
    ----------
    folder
        Run folder for checkpoints, curves and weights; an existing run is continued.
    steps
        Optimizer steps in total; 0 only writes the weights that a run starts from.
    batch, accumulation
        Items per process and micro-step, and micro-steps per step. The global batch is their
        product times the number of processes.
    warmup
        Steps of linear learning-rate warm-up (paper: 10,000).
    schedule
        `"constant"` after warm-up, as in the paper, or `"cosine"` down to a fiftieth at the last
        step.
    ema
        Decay of the averaged weights.
    precision
        `"no"` (float32), `"bf16"`, or `"auto"`: bfloat16 on a GPU that computes with it.
    channels_last
        Lay out the weights of convolutions channels last.
    compile
        Compile the step (`torch.compile`); only the flow's.
    shard
        Keep a part of weights, moments and averages on each process (FSDP) instead of all.
    seed
        Random seed of the order of items and of all sampling.
    workers
        Data-loading processes of each training process; by default 4 on an accelerator.
    save_every, keep
        Steps between checkpoints, and how many of the newest are kept.
    log_every, validate_every
        Steps between points of the curves, and between validations.
    device
        `"cpu"` keeps off accelerators; None takes what accelerate finds.
    progress
        Whether to draw a progress bar on a terminal.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    folder: Path
    steps: int
    batch: int = 8
    accumulation: int = 1
    warmup: int = 10_000
    schedule: str = "constant"
    ema: float = 0.9999
    precision: str = "auto"
    channels_last: bool = False
    compile: bool = False
    shard: bool = False
    seed: int = 0
    workers: int | None = None
    save_every: int = 1000
    keep: int = 3
    log_every: int = 50
    validate_every: int = 5000
    device: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            *((n, 1) for n in POSITIVE),
            # No step at all writes the weights as they are at the start.
            ("steps", 0),
            ("warmup", 0),
            ("workers", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(
                    f"{name.replace('_', '-')}: expected {least} or more, found {value}"
                )
        if not 0.0 <= self.ema < 1.0:
            raise InputError(
                f"ema: expected a decay from 0 up to but not including 1, found {self.ema}"
            )
        for name, choices in (
            ("precision", ("auto", "no", "bf16")),
            ("schedule", ("constant", "cosine")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name}: expected {' or '.join(choices)}, found {getattr(self, name)!r}"
                )

    def lr_factor(self, step: int) -> float:
        """Factor of the learning rate at `step` (from 0)."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            factor *= 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))
        return factor
