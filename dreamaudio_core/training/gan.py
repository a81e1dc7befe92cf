"""The discriminator's side of adversarial training, shared by the VAE and the vocoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from .task import OptimizerStep, Task

Held = TypeVar("Held", bound=nn.Module)


class Unregistered(Generic[Held]):
    """Holds a module without registering its parameters with the holder."""

    def __init__(self, module: Held):
        self.module = module


@contextmanager
def frozen(module: Held) -> Iterator[Held]:
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


class AdversarialLoss(nn.Module):
    """A generator's loss; `adversarial` says whether the discriminators count."""

    def __init__(self, discriminators: nn.Module):
        super().__init__()
        self.adversarial = False
        self._discriminators = Unregistered(discriminators)

    def pair(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What is real and what is generated, as the discriminators take them."""
        raise NotImplementedError

    def discriminator_loss(
        self, discriminators: nn.Module, real: Tensor, generated: Tensor
    ) -> Tensor:
        """The discriminators' own loss."""
        raise NotImplementedError


class DiscriminatorLoss(nn.Module):
    """The discriminators' loss against the generator's current output."""

    def __init__(self, discriminators: nn.Module, generator: AdversarialLoss):
        super().__init__()
        self.discriminators = discriminators
        self._generator = Unregistered(generator)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`."""
        generator = self._generator.module
        with torch.no_grad():
            real, generated = generator.pair(batch)
        return {"loss": generator.discriminator_loss(self.discriminators, real, generated)}


class AdversarialTask(Task):
    """A task whose first optimizer step is its discriminators'.

    Attributes
    ----------
    loss
        The generator's loss.
    start
        Step at which the discriminators begin to learn and to count.
    """

    loss: AdversarialLoss
    start: int

    def active(self, step: int) -> list[OptimizerStep]:
        """The generator alone until the discriminators start."""
        return self.optimizer_steps if step >= self.start else self.optimizer_steps[1:]

    def start_step(self, step: int) -> None:
        """Let the discriminators count from their start on."""
        self.loss.adversarial = step >= self.start
