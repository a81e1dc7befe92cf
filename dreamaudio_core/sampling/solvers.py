"""ODE solvers; a new one is a function here, and a name in `SOLVERS`."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
# Gets the number of steps done, of all, and the result as it would be if the last slope went on.
StepCallback = Callable[[int, int, Tensor], None]


def euler(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """First-order steps; one evaluation a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        slope = velocity(z, a)
        z = z + (b - a) * slope
        _report(callback, i, schedule, z, slope)
    return z


def midpoint(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Second-order midpoint rule; two evaluations a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        half = z + 0.5 * (b - a) * velocity(z, a)
        slope = velocity(half, 0.5 * (a + b))
        z = z + (b - a) * slope
        _report(callback, i, schedule, z, slope)
    return z


def heun(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Second-order trapezoidal rule; two evaluations a step."""
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        first = velocity(z, a)
        second = velocity(z + (b - a) * first, b)
        z = z + 0.5 * (b - a) * (first + second)
        _report(callback, i, schedule, z, second)
    return z


def adams_bashforth_2(
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
            # The slope that the line through the last two has in the middle of this step.
            ratio = (b - a) / (2.0 * (a - previous[1]))
            slope = (1.0 + ratio) * current - ratio * previous[0]
        z = z + (b - a) * slope
        previous = (current, a)
        _report(callback, i, schedule, z, slope)
    return z


def adams_bashforth_moulton(
    velocity: Velocity, z: Tensor, schedule: list[float], callback: StepCallback | None = None
) -> Tensor:
    """Adams-Bashforth of second order, corrected by Adams-Moulton of third; variable step, one
    evaluation a step.

    The evaluation with which a step begins first corrects the step before it, at whose end it was
    made, and is not repeated at the corrected place.
    """
    known: list[tuple[float, Tensor]] = []  # Times and slopes, newest first.
    before = z
    for i, (a, b) in enumerate(zip(schedule, schedule[1:])):
        current = (a, velocity(z, a))
        if known:
            before = before + _integral([current, *known], known[0][0], a)
        known = [current, *known][:2]
        change = _integral(known, a, b)
        z = before + change
        _report(callback, i, schedule, z, change / (b - a))
    return z


def _integral(points: Sequence[tuple[float, Tensor]], start: float, end: float) -> Tensor:
    """Integral from `start` to `end` of the polynomial through points (time, value)."""
    parts = []
    for time, value in points:
        basis = np.poly1d([t for t, _ in points if t != time], r=True)
        area = basis.integ()
        parts.append(float((area(end) - area(start)) / basis(time)) * value)
    return sum(parts[1:], parts[0])


def _report(
    callback: StepCallback | None, step: int, schedule: list[float], z: Tensor, slope: Tensor
) -> None:
    if callback is not None:
        rest = schedule[-1] - schedule[step + 1]
        callback(step + 1, len(schedule) - 1, z + rest * slope)


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "euler": euler,
    "midpoint": midpoint,
    "heun": heun,
    "ab2": adams_bashforth_2,
    "abm": adams_bashforth_moulton,
}
