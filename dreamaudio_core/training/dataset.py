"""Training examples: the interface of every task's dataset, and random crops of a sound bank."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..data.bank import Bank
from ..errors import InputError


class Dataset:
    """Examples of a task; it is sent to worker processes, so it holds data and no networks."""

    def group_sizes(self) -> list[int]:
        """Numbers of items of each shape; a batch never mixes shapes."""
        raise NotImplementedError

    def example(self, item: int, generator: torch.Generator) -> Any:
        """Example of item `item`; everything random is drawn from `generator`."""
        raise NotImplementedError

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        """One batch."""
        raise NotImplementedError


_MIXING = 0.3
"""Probability that a crop gets a second sound."""
_QUIETEST_DB = -30.0
"""Lowest peak level of a sound in a crop; the level is uniform between it and 0 dB."""


class CropDataset(Dataset):
    """One crop of each sound per epoch, at a random level, sometimes mixed with another sound.

    Parameters
    ----------
    bank
        Sounds of at least a few milliseconds.
    samples
        Length of a crop.
    """

    def __init__(self, bank: Bank, samples: int):
        if len(bank) == 0:
            raise InputError(
                f"{bank.manifest}: expected at least one sound, found none in this split; build a "
                "larger bank"
            )
        self.bank, self.samples = bank, samples

    def group_sizes(self) -> list[int]:
        """All sounds in one group."""
        return [len(self.bank)]

    def _layer(self, item: int, generator: torch.Generator) -> Tensor:
        sound = self.bank.waveform(item)
        # A sound may begin or end inside the crop, so that silence and edges are learned too.
        margin = self.samples // 4
        low = -margin
        high = max(len(sound) - self.samples + margin, 1 - margin)
        start = int(torch.randint(low, high + 1, (), generator=generator))
        piece = sound[max(start, 0) : max(start + self.samples, 0)]
        out = torch.zeros(self.samples)
        begin = max(-start, 0)
        out[begin : begin + len(piece)] = piece[: self.samples - begin]
        peak = float(out.abs().max())
        level = 10 ** (_QUIETEST_DB * torch.rand((), generator=generator).item() / 20)
        return out * (level / peak) if peak > 1e-4 else out

    def example(self, item: int, generator: torch.Generator) -> Any:
        """Crop [samples] with a peak of at most 1."""
        crop = self._layer(item, generator)
        if torch.rand((), generator=generator).item() < _MIXING:
            other = int(torch.randint(len(self.bank), (), generator=generator))
            crop = crop + self._layer(other, generator)
        return crop / crop.abs().max().clamp(min=1.0)

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        """`waveform` [B, samples]."""
        return {"waveform": torch.stack(examples)}

    def fixed(self, count: int) -> Tensor:
        """Crops [min(count, sounds), samples] that are always the same, spread over the bank."""
        count = min(count, len(self.bank))
        items = [i * len(self.bank) // count for i in range(count)]
        examples = [self.example(i, torch.Generator().manual_seed(i)) for i in items]
        return self.collate(examples)["waveform"]
