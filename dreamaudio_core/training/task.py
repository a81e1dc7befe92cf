"""What the training loop asks of a task: a network, its data, and the losses that its optimizers
minimise.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .dataset import Dataset
from .logger import Logger


@dataclass
class OptimizerStep:
    """One optimizer and the loss that it minimises.

    Parameters
    ----------
    name
        Prefix of its curves.
    loss
        Module from a batch to a dictionary of scalars, each a mean over the batch, of which `loss`
        is minimised.
    lr
        Learning rate after warm-up.
    betas, weight_decay
        AdamW's settings.
    clip
        Largest gradient norm.
    """

    name: str
    loss: nn.Module
    lr: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float = 1.0
    trained: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = [p for p in self.loss.parameters() if p.requires_grad]


class Task:
    """Something to train. A subclass and its line in `tasks.TASKS` add a command `train NAME`.

    Attributes
    ----------
    summary
        One line for `train --help`.
    defaults
        Defaults of common command-line options that differ between tasks: `lr`, `warmup`, `clip`
        and others of `TrainOptions`.
    name
        Part of the model that is trained, as in the weight files.
    network
        What is averaged and exported.
    dataset
        Training examples.
    optimizer_steps
        In the order in which they are taken.
    settings
        Plain values that must be the same when a run is continued.
    may_leave_unused
        Whether a batch can leave trained parameters without a gradient.
    may_compile
        Whether `torch.compile` can take the losses.
    shard_units
        Modules that a sharded run gathers one by one, see `sharding`; none if it cannot be sharded.
    """

    summary: ClassVar[str]
    defaults: ClassVar[dict[str, Any]] = {"lr": 5e-5, "warmup": 10_000, "clip": 1.0}

    name: str
    network: nn.Module
    dataset: Dataset
    optimizer_steps: list[OptimizerStep]
    settings: dict[str, Any]
    may_leave_unused = False
    may_compile = False
    shard_units: tuple[type[nn.Module], ...] = ()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of this task to those that all tasks have."""

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "Task":
        """The task that the command line describes."""
        raise NotImplementedError

    def active(self, step: int) -> list[OptimizerStep]:
        """Optimizer steps that are taken at `step`."""
        return self.optimizer_steps

    def start_step(self, step: int) -> None:
        """Called before each step."""

    def fix_shapes(self) -> None:
        """Give all batches of one target length the same shapes, so that a compiled step is
        compiled once for each.
        """

    def to(self, device: torch.device) -> None:
        """Move what is not registered in a loss."""

    def validate(self, logger: Logger, step: int) -> None:
        """Measure and log fixed validation items, while `network` holds the averaged weights."""

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Write `state` (the averaged weights of `network`) as a weight file of the pipeline."""
        raise NotImplementedError
