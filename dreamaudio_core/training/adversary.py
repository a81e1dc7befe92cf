"""The discriminator's side of adversarial training, common to the VAE and the vocoder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from torch import nn

from .part import Part, Turn


class Unregistered:
    """Holds a module without making its parameters those of the holder."""

    def __init__(self, module: nn.Module):
        self.module = module


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Let gradients pass through `module` without reaching its parameters, which belong to another
    optimizer.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield module
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class AdversarialPart(Part):
    """A part whose first turn is its discriminators', which are heard from step `start` on
    (`objective.adversarial`).
    """

    objective: nn.Module
    start: int

    def active(self, step: int) -> list[Turn]:
        """The part alone until the discriminators start."""
        return self.turns if step >= self.start else self.turns[1:]

    def start_step(self, step: int) -> None:
        """Let the discriminators be heard from their start on."""
        self.objective.adversarial = step >= self.start
