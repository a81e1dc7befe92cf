"""Rectified flow: path, training loss and time schedules (paper, section III-C).

The path runs from noise at time 0 to data at time 1:

    z_lam = (1 - beta lam) z_0 + lam z_1 with beta = 1 - sigma.
"""

from __future__ import annotations

import math
from typing import Callable

import torch
from torch import Tensor

from ..errors import InputError

SIGMA = 1e-5


def _broadcast(time: Tensor, like: Tensor) -> Tensor:
    return time.to(like).reshape(-1, *[1] * (like.dim() - 1))


def path(noise: Tensor, data: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the path and its velocity.

    Parameters
    ----------
    noise, data
        z_0 and z_1, [B, C, T, F].
    time
        lam in [0, 1], [B].

    Returns
    -------
    tuple
        z_lam and v = z_1 - beta z_0 (paper, section III-C).
    """
    beta = 1.0 - SIGMA
    lam = _broadcast(time, data)
    return (1.0 - beta * lam) * noise + lam * data, data - beta * noise


def flow_loss(
    network: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    time: Tensor | None = None,
    noise: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error between the predicted and the true velocity, at uniform times unless
    given; `weight` of the errors broadcasts to the data.
    """
    time = torch.rand(data.shape[0], device=data.device) if time is None else time
    noise = torch.randn_like(data) if noise is None else noise
    z, velocity = path(noise, data, time)
    # Squares of small errors vanish in half precision.
    error = (network(z, time).float() - velocity.float()) ** 2
    return (error if weight is None else weight * error).mean()


def times(steps: int, shift: float = 1.0, start: float = 0.0, ease: float = 0.0) -> list[float]:
    """Solver times from `start` to 1.

    `shift` above 1 spends more of the steps near the noise: with t = 1 - lam the noise level, t
    becomes shift t / (1 + (shift - 1) t). `start` above 0 begins on the path, for audio-to-audio.
    `ease` above 0 makes the steps shorter at both ends, before the shift: their size follows 1 -
    ease cos(2 pi s) at the share s of the steps. Velocities turn fastest at the ends, where much is
    decided near the noise, and where what references pin down settles near the data.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """
    if not isinstance(steps, int) or steps < 1 or steps > 1000:
        raise InputError(f"steps: expected a whole number from 1 to 1000, found {steps}")
    if not 0.01 <= shift <= 100.0:
        raise InputError(
            f"time shift: expected a number from 0.01 to 100, found {shift}; 1 leaves the times "
            "even"
        )
    if not 0.0 <= start < 1.0:
        raise InputError(
            f"start: expected a flow time from 0 up to but not including 1, found {start}"
        )
    if not 0.0 <= ease < 1.0:
        raise InputError(f"ease: expected a number from 0 up to but not including 1, found {ease}")
    # Noise levels relative to the start: the first time stays where the start latent was put,
    # whatever the shift.
    shares = [i / steps for i in range(steps + 1)]
    eased = [s - ease * math.sin(2.0 * math.pi * s) / (2.0 * math.pi) for s in shares]
    levels = [1.0 - s for s in eased]
    return [1.0 - (1.0 - start) * shift * t / (1.0 + (shift - 1.0) * t) for t in levels]
