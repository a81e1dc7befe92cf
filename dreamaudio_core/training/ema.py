"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged_copy(network: nn.Module, decay: float) -> AveragedModel:
    """Copy of `network` that `update_parameters` moves towards it.

    Parameters
    ----------
    network
        The trained network; frozen parameters and buffers stay equal to its own.
    decay
        Share of the average that a step keeps; less in the first steps, (1 + step) / (10 + step),
        so that the random start is forgotten.
    """

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], step: Tensor | int) -> None:
        kept = min(decay, (1 + int(step)) / (10 + int(step)))
        get_ema_multi_avg_fn(kept)(list(averaged), list(current), step)

    return AveragedModel(network, multi_avg_fn=update).requires_grad_(False)


@contextmanager
def averaged_weights(network: nn.Module, average: AveragedModel) -> Iterator[None]:
    """Run with the averages as the weights of `network`; its own come back unchanged."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(own)
