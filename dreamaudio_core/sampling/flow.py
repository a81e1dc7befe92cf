"""Rectified flow: path, training loss, time schedules, ODE solvers and guidance (paper, section
III-C).

The path runs from noise at time 0 to data at time 1: z_lam = (1 - beta lam) z_0 + lam z_1 with beta
= 1 - sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor

from ..errors import InputError

SIGMA = 1e-5
Velocity = Callable[[Tensor, float], Tensor]
StepCallback = Callable[[int, int, Tensor], None]


def _broadcast(time: Tensor, like: Tensor) -> Tensor:
    return time.to(like).reshape(-1, *[1] * (like.dim() - 1))


def path(noise: Tensor, data: Tensor, time: Tensor, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
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
    beta = 1.0 - sigma
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
    given.

    `weight`, if given, broadcasts against [B, C, T, F].
    """
    time = torch.rand(data.shape[0], device=data.device) if time is None else time
    noise = torch.randn_like(data) if noise is None else noise
    z, velocity = path(noise, data, time)
    error = (network(z, time).float() - velocity.float()) ** 2
    return error.mean() if weight is None else (error * weight).mean()


def times(steps: int, shift: float = 1.0, start: float = 0.0) -> list[float]:
    """Solver times from `start` to 1.

    `shift` above 1 spends more of the steps near the noise: with t = 1 - lam the noise level, t
    becomes shift t / (1 + (shift - 1) t). `start` above 0 begins on the path, for audio-to-audio.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """
    if not isinstance(steps, int) or steps < 1 or steps > 1000:
        raise InputError(f"steps: expected a whole number from 1 to 1000, found {steps}")
    if not 0.01 <= shift <= 100.0:
        raise InputError(
            f"time shift: expected a number from 0.01 to 100, found {shift}; 1 leaves the times even"
        )
    if not 0.0 <= start < 1.0:
        raise InputError(
            f"start: expected a flow time from 0 up to but not including 1, found {start}"
        )
    # Noise levels relative to the start: the first time stays where the start latent was put,
    # whatever the shift.
    levels = [1.0 - i / steps for i in range(steps + 1)]
    return [1.0 - (1.0 - start) * shift * t / (1.0 + (shift - 1.0) * t) for t in levels]


def euler(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """First-order steps; one evaluation a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        z = z + (b - a) * velocity(z, a)
        _report(callback, i, schedule, z)
    return z


def midpoint(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Second-order midpoint rule; two evaluations a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        half = z + 0.5 * (b - a) * velocity(z, a)
        z = z + (b - a) * velocity(half, 0.5 * (a + b))
        _report(callback, i, schedule, z)
    return z


def heun(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Second-order trapezoidal rule; two evaluations a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        first = velocity(z, a)
        second = velocity(z + (b - a) * first, b)
        z = z + 0.5 * (b - a) * (first + second)
        _report(callback, i, schedule, z)
    return z


def two_step(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Second-order Adams-Bashforth with variable step; one evaluation a step (the first step is
    Euler's).
    """
    previous: tuple[Tensor, float] | None = None
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        current = velocity(z, a)
        slope = current
        if previous is not None:
            ratio = (b - a) / (2.0 * (a - previous[1]))
            slope = (1.0 + ratio) * current - ratio * previous[0]
        z = z + (b - a) * slope
        previous = (current, a)
        _report(callback, i, schedule, z)
    return z


def _report(callback: StepCallback | None, step: int, schedule: list[float], z: Tensor) -> None:
    if callback is not None:
        callback(step + 1, len(schedule) - 1, z)


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
    "two-step": two_step,
}


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance scales.

    Parameters
    ----------
    text
        Scale of the prompt (paper: 2.0 for prompt and references together).
    references
        Scale of the references; `None` takes the scale of the prompt, which is the paper's joint
        guidance.
    interval
        Times between which guidance acts; outside it the conditional velocity is used alone.
    """

    text: float = 2.0
    references: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name, value in (("guidance", self.text), ("reference guidance", self.references)):
            if value is not None and not 0.0 <= value <= 30.0:
                raise InputError(
                    f"{name}: expected a number from 0 to 30, found {value}; 2 is the usual choice"
                )
        low, high = self.interval
        if not 0.0 <= low <= high <= 1.0:
            raise InputError(
                f"guidance interval: expected two ascending times in [0, 1], found {low} and {high}"
            )

    @property
    def reference_scale(self) -> float:
        """Effective scale of the references."""
        return self.text if self.references is None else self.references


def branches(
    guidance: Guidance, strengths: list[float]
) -> list[tuple[bool, tuple[int, ...], float]]:
    """Linear combination of network evaluations that guidance stands for.

    With v(c, S) the velocity under prompt c (or the negative prompt, n) and the references S of all
    references A, strength s_k of reference k:

        v = v(n, {}) + w_c (v(c, {}) - v(n, {})) + w_r (v(c, A) - v(c, {})) + sum_k (s_k - 1) (v(c,
        A) - v(c, A \\ k))

    so a strength of 1 adds nothing, and equal scales give the paper's joint guidance with two
    evaluations.

    Returns
    -------
    list of (with_prompt, references, weight)
        Only evaluations of non-zero weight; the full one, `(True, all, w)`, comes first.
    """
    everything = tuple(k for k, s in enumerate(strengths) if s != 0.0)
    text, reference = guidance.text, guidance.reference_scale
    extra = [(k, strengths[k] - 1.0) for k in everything if strengths[k] != 1.0]
    weights: dict[tuple[bool, tuple[int, ...]], float] = {
        (True, everything): reference + sum(s for _, s in extra)
    }

    def add(prompt: bool, references: tuple[int, ...], weight: float) -> None:
        weights[(prompt, references)] = weights.get((prompt, references), 0.0) + weight

    add(True, (), text - reference)
    add(False, (), 1.0 - text)
    for k, scale in extra:
        add(True, tuple(j for j in everything if j != k), -scale)
    full = (True, everything)
    rows = [(*full, weights.pop(full))]
    return rows + [(*key, weight) for key, weight in weights.items() if weight != 0.0]


def initial_noise(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """Noise [len(seeds), *shape], each item from its own seed, drawn on the CPU so that every
    device starts alike.
    """
    rows = [
        torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)
        for seed in seeds
    ]
    return torch.stack(rows)
