"""What the network predicts and how that becomes a sample: a new objective is a class here, and a
name in `OBJECTIVES`.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from ..errors import CheckpointError, InputError
from . import ddpm, flow
from .solvers import SOLVERS, StepCallback

Network = Callable[[Tensor, Tensor], Tensor]
Prediction = Callable[[Tensor, float], Tensor]


class RectifiedFlow:
    """The network predicts the velocity from noise to data (paper, section III-C)."""

    name = "flow"
    # A velocity can be set by hand where the result is known, silence for example.
    can_steer = True
    # Steps for samples during training.
    preview_steps = 16

    def random_time(
        self, generator: torch.Generator, power: float = 1.0, spread: float | None = None
    ) -> Tensor:
        """Training time in [0, 1]: a uniform number to the `power`, which skews it towards the
        noise above 1 (paper: 1); or logit-normal with this `spread` (Esser et al., 2024).
        """
        if spread is not None:
            return torch.sigmoid(spread * torch.randn((), generator=generator))
        return torch.rand((), generator=generator) ** power

    def loss(
        self,
        network: Network,
        data: Tensor,
        time: Tensor,
        noise: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the velocity, for data and noise [B, C, T, F] and times [B];
        `weight` of the errors broadcasts to the data.
        """
        return flow.flow_loss(network, data, time, noise, weight)

    def sample(
        self,
        predict: Prediction,
        noise: Tensor,
        *,
        steps: int,
        solver: str = "ab2",
        shift: float = 1.0,
        ease: float = 0.0,
        start_latent: Tensor | None = None,
        start: float = 0.0,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Integrate from `noise`, or from `start_latent` noised back to the time `start`."""
        if solver not in SOLVERS:
            raise InputError(f"solver: expected one of {', '.join(SOLVERS)}, found {solver!r}")
        schedule = flow.times(steps, shift, start, ease)
        z = noise
        if start_latent is not None and start > 0.0:
            z = flow.path(noise, start_latent, torch.full((len(noise),), start))[0]
        return SOLVERS[solver](predict, z, schedule, callback)


class DDPM:
    """The network predicts the noise at one of 1,000 steps (the paper's -DDPM variant)."""

    name = "ddpm"
    can_steer = False
    preview_steps = 50

    def random_time(
        self, generator: torch.Generator, power: float = 1.0, spread: float | None = None
    ) -> Tensor:
        """Training step, 0 to 999; `power` and `spread` have no meaning here."""
        return torch.randint(ddpm.TRAIN_STEPS, (), generator=generator)

    def loss(
        self,
        network: Network,
        data: Tensor,
        time: Tensor,
        noise: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the noise, for data and noise [B, C, T, F] and steps [B]; `weight`
        of the errors broadcasts to the data.
        """
        return ddpm.ddpm_loss(network, data, time, noise, weight)

    def sample(
        self,
        predict: Prediction,
        noise: Tensor,
        *,
        steps: int,
        solver: str = "ab2",
        shift: float = 1.0,
        ease: float = 0.0,
        start_latent: Tensor | None = None,
        start: float = 0.0,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """DDIM from `noise`, or from `start_latent` noised back by the share 1 - `start`; `solver`,
        `shift` and `ease` have no meaning here.
        """
        ddpm.ddim_steps(steps, start)
        z = noise
        if start_latent is not None and start > 0.0:
            z = ddpm.start_latent(start_latent, noise, steps, start)
        return ddpm.ddim(predict, z, steps, start, callback)


Objective = RectifiedFlow | DDPM
OBJECTIVES: dict[str, type[Objective]] = {o.name: o for o in (RectifiedFlow, DDPM)}


def objective_of(name: str) -> Objective:
    """The objective of that name.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    if name not in OBJECTIVES:
        raise CheckpointError(f"mrc.objective: expected {' or '.join(OBJECTIVES)}, found {name!r}")
    return OBJECTIVES[name]()
