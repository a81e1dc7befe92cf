"""Which items a step sees, as a function of the seed and the step alone.

Training therefore continues exactly after a stop, on any number of processes and workers: the
examples of global step s are the same however they are divided, and so is the randomness of each,
which is seeded by (seed, step, place in the batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .dataset import Dataset


class EpochBatches:
    """Batches of items of one shape, in another order every epoch.

    Parameters
    ----------
    groups
        Numbers of items of each shape: group g holds the items `offset .. offset + groups[g] - 1`,
        counted through one group after the other.
    size
        Items of a global batch.
    seed
        Random seed of the order.

    Notes
    -----
    Items that do not fill a last batch are left out of that epoch; a group smaller than a batch is
    repeated to fill one.
    """

    def __init__(self, groups: Sequence[int], size: int, seed: int):
        self.offsets = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self.groups, self.size, self.seed = [int(g) for g in groups], int(size), int(seed)
        if sum(self.groups) == 0:
            raise InputError("training data: expected at least one item, found none")
        self.counts = [max(1, count // self.size) if count else 0 for count in self.groups]
        self._epoch = -1
        self._batches: list[tuple[int, int]] = []
        self._orders: list[np.ndarray] = []

    def __len__(self) -> int:
        """Steps of an epoch."""
        return sum(self.counts)

    def _open(self, epoch: int) -> None:
        rng = np.random.default_rng((self.seed, epoch))
        self._orders = [
            rng.permutation(count) if count else np.empty(0, np.int64) for count in self.groups
        ]
        batches = [(g, b) for g, count in enumerate(self.counts) for b in range(count)]
        self._batches = [batches[i] for i in rng.permutation(len(batches))]
        self._epoch = epoch

    def batch(self, step: int) -> list[int]:
        """Items of global step `step` (from 0)."""
        epoch, number = divmod(step, len(self))
        if epoch != self._epoch:
            self._open(epoch)
        group, part = self._batches[number]
        order = self._orders[group]
        rows = order[np.arange(part * self.size, (part + 1) * self.size) % len(order)]
        return (rows + self.offsets[group]).tolist()


def example_generator(seed: int, step: int, place: int) -> torch.Generator:
    """Generator of all randomness of the example at `place` of global step `step`."""
    state = np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class ProcessBatchSampler:
    """Batch sampler of one process: for each step and micro-step, its own (step, place, item)
    triples, endlessly.
    """

    def __init__(
        self,
        batches: EpochBatches,
        start: int,
        batch: int,
        accumulation: int,
        rank: int,
        processes: int,
    ):
        self.batches, self.start, self.batch = batches, start, batch
        self.accumulation, self.rank, self.processes = accumulation, rank, processes

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        step = self.start
        while True:
            items = self.batches.batch(step)
            for micro in range(self.accumulation):
                first = (micro * self.processes + self.rank) * self.batch
                yield [(step, place, items[place]) for place in range(first, first + self.batch)]
            step += 1


class SeededExamples(torch.utils.data.Dataset):
    """The dataset's examples by (step, place, item)."""

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int, int]) -> Any:
        step, place, item = key
        return self.dataset.example(item, example_generator(self.seed, step, place))
