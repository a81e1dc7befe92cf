"""What the training loop asks of a part of the model (flow, alignment, VAE, vocoder)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .samples import Board


class Source:
    """Examples of a part; travels to worker processes, so it holds data and no networks."""

    def groups(self) -> list[int]:
        """Numbers of items of each shape; a batch never mixes shapes."""
        raise NotImplementedError

    def example(self, item: int, generator: torch.Generator) -> Any:
        """Example of item `item`, all that is random drawn from `generator`."""
        raise NotImplementedError

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        """One batch."""
        raise NotImplementedError


@dataclass
class Turn:
    """One optimizer and what it minimises.

    Parameters
    ----------
    name
        Prefix of its curves.
    objective
        Module from a batch to a dictionary of scalars, of which `loss` is minimised; means over the
        batch.
    rate
        Learning rate after warm-up.
    betas, weight_decay, clip
        Of AdamW, and the largest gradient norm.
    """

    name: str
    objective: nn.Module
    rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float = 1.0
    trained: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.trained = [p for p in self.objective.parameters() if p.requires_grad]


class Part:
    """A trainable part.

    Attributes
    ----------
    name
        `"flow"`, `"vae"` or `"vocoder"`, as in the weight files.
    network
        What is averaged and exported.
    source
        Training examples.
    turns
        In the order in which they take their optimizer steps.
    settings
        Plain values that have to be the same when a run is continued.
    may_leave_unused
        Whether a batch can leave trained parameters without a gradient.
    """

    name: str
    network: nn.Module
    source: Source
    turns: list[Turn]
    settings: dict[str, Any]
    may_leave_unused = False

    def active(self, step: int) -> list[Turn]:
        """The turns that are taken at `step`."""
        return self.turns

    def start_step(self, step: int) -> None:
        """Called before each step."""

    def to(self, device: torch.device) -> None:
        """Move what is not registered in an objective."""

    def sample(self, board: Board, step: int) -> None:
        """Write fixed validation items to the board; `network` holds the averaged weights
        meanwhile.
        """

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Write `state` (of `network`, averaged) as a weight file of the pipeline."""
        raise NotImplementedError
