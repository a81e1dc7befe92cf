"""DDPM variant of the paper (-DDPM): noise prediction over 1,000 steps of a scaled-linear schedule,
DDIM sampling.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from ..errors import InputError

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.0015, 0.0195


def alphas_cumprod() -> Tensor:
    """Cumulative signal power [TRAIN_STEPS], float64: betas are even in their square roots ("scaled
    linear").
    """
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def add_noise(data: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """q(z_t | z_0) at integer steps [B] for data and noise [B, C, T, F]."""
    alpha = alphas_cumprod().to(data.device)[step].reshape(-1, *[1] * (data.dim() - 1))
    return alpha.sqrt().to(data) * data + (1.0 - alpha).sqrt().to(data) * noise


def ddpm_loss(
    network: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    step: Tensor | None = None,
    noise: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the predicted noise at uniform steps unless given; `weight` of the
    errors broadcasts to the data.

    The network receives step / 1000, so that one time embedding serves both objectives.
    """
    step = (
        torch.randint(TRAIN_STEPS, (data.shape[0],), device=data.device) if step is None else step
    )
    noise = torch.randn_like(data) if noise is None else noise
    prediction = network(add_noise(data, noise, step), step.float() / TRAIN_STEPS)
    error = (prediction.float() - noise.float()) ** 2
    return (error if weight is None else weight * error).mean()


def ddim_steps(steps: int, start: float = 0.0) -> list[int]:
    """Descending training steps visited by DDIM; `start` in [0, 1) skips the noisiest share, for
    audio-to-audio.
    """
    if not isinstance(steps, int) or not 1 <= steps <= TRAIN_STEPS:
        raise InputError(f"steps: expected a whole number from 1 to {TRAIN_STEPS}, found {steps}")
    if not 0.0 <= start < 1.0:
        raise InputError(f"start: expected a share from 0 up to but not including 1, found {start}")
    top = TRAIN_STEPS * (1.0 - start)
    return [
        max(0, min(TRAIN_STEPS - 1, round(top * (steps - i) / steps) - 1)) for i in range(steps)
    ]


def ddim(
    noise_prediction: Callable[[Tensor, float], Tensor],
    z: Tensor,
    steps: int,
    start: float = 0.0,
    callback: Callable[[int, int, Tensor], None] | None = None,
) -> Tensor:
    """Deterministic DDIM (eta = 0) from z at the first visited step to clean data."""
    alphas = alphas_cumprod()
    visited = ddim_steps(steps, start)
    for i, step in enumerate(visited):
        alpha = alphas[step].item()
        previous = alphas[visited[i + 1]].item() if i + 1 < len(visited) else 1.0
        noise = noise_prediction(z, step / TRAIN_STEPS)
        data = (z - (1.0 - alpha) ** 0.5 * noise) / alpha**0.5
        z = previous**0.5 * data + (1.0 - previous) ** 0.5 * noise
        if callback is not None:
            callback(i + 1, len(visited), data)
    return z


def start_latent(data: Tensor, noise: Tensor, steps: int, start: float) -> Tensor:
    """Data noised to the first step that `ddim` visits from `start`."""
    step = torch.full((data.shape[0],), ddim_steps(steps, start)[0], device=data.device)
    return add_noise(data, noise, step)
