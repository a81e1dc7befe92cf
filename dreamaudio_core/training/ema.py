"""Exponential moving average of a network's trained parameters."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


class EMA:
    """Averaged copies of the parameters that require gradients.

    Parameters
    ----------
    module
        The network.
    decay
        Share of the average that a step keeps; less in the first steps, (1 + step) / (10 + step),
        so that the random start is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float = 0.9999):
        self.decay = decay
        self.shadow = {
            name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards `module`, `step` (from 0) being the step just made."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        current = dict(module.named_parameters())
        torch._foreach_lerp_(
            list(self.shadow.values()), [current[name] for name in self.shadow], weight
        )

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(self.shadow)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averages that `state_dict` gave."""
        if set(state) != set(self.shadow):
            raise CheckpointError(
                "the averaged weights are those of another network; continue with the settings of the run"
            )
        for name, value in state.items():
            self.shadow[name].copy_(value)

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """State dict of `module` with the averages in place of the trained parameters."""
        return {
            name: self.shadow.get(name, value.detach())
            for name, value in module.state_dict().items()
        }

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Run with the averages as the weights of `module`; its own come back unchanged."""
        own = {
            name: p.detach().clone() for name, p in module.named_parameters() if name in self.shadow
        }
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in self.shadow.items():
                parameters[name].copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    parameters[name].copy_(value)
