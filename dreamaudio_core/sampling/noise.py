"""Initial noise."""

from __future__ import annotations

import torch
from torch import Tensor


def initial_noise(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """Noise [len(seeds), *shape], each item from its own seed, drawn on the CPU so that every
    device starts alike.
    """
    rows = [
        torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)
        for seed in seeds
    ]
    return torch.stack(rows)
