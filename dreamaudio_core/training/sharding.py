"""Sharded training (FSDP): each process keeps a part of all weights, moments and averages.

This is PyTorch's `fully_shard`, which accelerate's own FSDP calls too. It is called here because
accelerate does it on accelerators only, so that two processes on a CPU could not show that it
computes the same, and because its checkpoints hold a file for each process, of which a run on
another number of processes could not continue. Checkpoints of sharded runs are those of others:
whole tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# torch.distributed.fsdp is imported where it is needed: not every build of torch has it.


def shard(module: nn.Module, units: tuple[type[nn.Module], ...]) -> None:
    """Shard the parameters of `module` over all processes, in place.

    Parameters
    ----------
    module
        Its `forward` gathers what is not part of a unit.
    units
        Classes whose modules gather their own parameters while they run; they must be used through
        `forward` alone.
    """
    from torch.distributed.fsdp import fully_shard

    for child in list(module.modules()):
        if child is not module and isinstance(child, units):
            fully_shard(child)
    fully_shard(module)


def whole(value: Any) -> Any:
    """Nested containers with full tensors in place of sharded ones; every process has to ask."""
    if hasattr(value, "full_tensor"):
        return value.full_tensor()
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return value


def move_moments(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Give an optimizer of sharded parameters the state of one of whole parameters."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    state = old.state_dict()
    parameters = [p for group in new.param_groups for p in group["params"]]
    for index, moments in state["state"].items():
        parameter = parameters[index]
        if isinstance(parameter, DTensor):
            for name, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
                    mesh, places = parameter.device_mesh, parameter.placements
                    moments[name] = distribute_tensor(value, mesh, places)
    new.load_state_dict(state)


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Run with whole parameters, also outside `forward`; every process has to."""
    parts: list[Any] = [part for part in module.modules() if hasattr(part, "unshard")]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
