"""Training items of the MRC UNet: cached latents with the paper's augmentations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator

import torch
from torch import Tensor

from ..config import ModelConfig
from ..data.batches import Augmentation, Batch, join_batches, training_example
from ..data.shards import CachedItem, LatentShard
from ..errors import InputError
from ..networks.fusion import fusion_of
from ..sampling.objectives import objective_of
from .dataset import Dataset

# Items whose latents tell the deviation of the channels.
WEIGHED_ITEMS = 64


@dataclass(frozen=True)
class FlowTimes:
    """How flow times are drawn.

    Parameters
    ----------
    power
        A time is u to this power, u uniform on [0, 1]: above 1, more of the steps lie near the
        noise, where the prompt decides.
    spread
        Instead of that: logit-normal times with this standard deviation.
    """

    power: float = 1.0
    spread: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("power", self.power), ("spread", self.spread)):
            if value is not None and value <= 0.0:
                raise InputError(f"time {name}: expected a number above 0, found {value}")


def shard_paths(data: list[Path]) -> list[Path]:
    """Shard files of cache folders, or given one by one, in the order of the folders and of their
    names.

    Raises
    ------
    InputError
        If a folder holds none.
    """
    paths: list[Path] = []
    for entry in map(Path, data):
        found = sorted(entry.glob("*.safetensors")) if entry.is_dir() else [entry]
        if not found or not found[0].exists():
            raise InputError(
                f"{entry}: expected shards of cached latents (*.safetensors), found none; create "
                "them with: dreamaudio data cache"
            )
        paths += found
    return paths


def with_count(entry: Path) -> tuple[Path, int | None]:
    """A cache, and how many of its items count: `FOLDER:24000` stands for the first 24,000."""
    name, colon, count = str(entry).rpartition(":")
    if colon and count.isdigit() and not Path(entry).exists():
        return Path(name), int(count)
    return Path(entry), None


class FlowDataset(Dataset):
    """Items of cached shards with the paper's augmentations.

    Parameters
    ----------
    data
        Cache folders or shard files; `FOLDER:N` for the first N items of a folder.
    config
        The model; shards of another latent shape or text width are rejected.
    slots
        Most references of one item.
    augmentation
        Random changes of each example.
    times
        How flow times are drawn.
    stretch_seconds
        Length of stretches around a placed reference; every item is in the dataset twice then,
        whole and as a stretch, the stretches in groups of their own.

    Raises
    ------
    InputError
        If a shard does not fit the model.
    """

    def __init__(
        self,
        data: list[Path],
        config: ModelConfig,
        slots: int,
        augmentation: Augmentation,
        times: FlowTimes = FlowTimes(),
        stretch_seconds: float | None = None,
    ):
        self.config, self.slots = config, slots
        self.augmentation, self.times = augmentation, times
        # Whether slots and tokens are padded to the most that an item can have.
        self.fixed_lengths = False
        self.objective = objective_of(config.mrc.objective)
        self.fusion = fusion_of(config.mrc)
        self.shards: list[LatentShard] = []
        channels, _, bands = config.latent_shape()
        multiple = 2 ** (len(config.mrc.multipliers) - 1)
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, (path, shard, count) in enumerate(self._open(data)):
            self.shards.append(shard)
            c, frames, f = shard.shape
            if (c, f) != (channels, bands) or frames % multiple:
                raise InputError(
                    f"{path}: its latents are [{c}, {frames}, {f}], the model expects [{channels}, "
                    f"a multiple of {multiple}, {bands}]; cache the data with this model's VAE"
                )
            if shard.text_dim != config.mrc.text_dim:
                raise InputError(
                    f"{path}: its text features have size {shard.text_dim}, the model expects "
                    f"{config.mrc.text_dim}; cache the data with this model's text encoder"
                )
            if self.fusion.uses_timeline and not shard.has_timeline:
                raise InputError(
                    f"{path}: was cached without timelines, which this model's references need; "
                    "cache it again for this model"
                )
            by_shape.setdefault(shard.shape, []).extend((number, item) for item in range(count))
        self.stretch = self._stretch_frames(stretch_seconds, multiple)
        # Number of the shard, item in it, and frames of the stretch (none: the whole item).
        groups: list[list[tuple[int, int, int | None]]]
        groups = [[(*key, None) for key in items] for items in by_shape.values()]
        if self.stretch is not None:
            long = [items for (_, frames, _), items in by_shape.items() if frames > self.stretch]
            groups += [[(*key, self.stretch) for items in long for key in items]] if long else []
        self._counts = [len(items) for items in groups]
        self._items = [key for items in groups for key in items]

    def _stretch_frames(self, seconds: float | None, multiple: int) -> int | None:
        """Latent frames of a stretch, a multiple of what the network halves."""
        if seconds is None:
            return None
        if not self.fusion.uses_timeline:
            raise InputError(
                "stretch seconds: this model places references itself, so that a stretch would "
                "lack them; leave the option out"
            )
        return max(1, round(seconds / self.config.frame_seconds / multiple)) * multiple

    @staticmethod
    def _open(data: list[Path]) -> Iterator[tuple[Path, LatentShard, int]]:
        """File, shard, and how many of its items count."""
        for folder, count in map(with_count, data):
            found = 0
            for path in shard_paths([folder]):
                if found == count:
                    break
                shard = LatentShard(path)
                taken = len(shard) if count is None else min(count - found, len(shard))
                yield path, shard, taken
                found += taken
            if count is not None and found < count:
                raise InputError(
                    f"{folder}: expected {count} items in it, found {found}; cache more"
                )

    def group_sizes(self) -> list[int]:
        """Items of each target length."""
        return self._counts

    def example(self, item: int, generator: torch.Generator) -> dict[str, Any]:
        """Batch of one, its noise [C, T, F] and its time (a step from 0 to 999 for DDPM)."""
        number, row, stretch = self._items[item]
        shard = self.shards[number]
        cached, augmentation = shard[row], self.augmentation
        if stretch is not None:
            # A reference that the network places itself would lie outside.
            augmentation = replace(augmentation, free=0.0)
        # Drawn whole and cut afterwards, so that a stretch is what the whole item would have there.
        batch = training_example(
            cached,
            shard.silence,
            shard.empty_text,
            self.fusion,
            self.slots,
            augmentation,
            generator,
        )
        if stretch is not None:
            batch = cut_stretch(batch, stretch_start(cached, stretch, generator), stretch)
        noise = torch.randn(batch.data.shape[1:], generator=generator)
        time = self.objective.random_time(generator, self.times.power, self.times.spread)
        return {"batch": batch, "noise": noise, "time": time}

    def channel_weights(self) -> Tensor:
        """Deviation of each latent channel over time and frequency, [C, 1, 1], 1 on average."""
        shard = self.shards[0]
        items = range(min(len(shard), WEIGHED_ITEMS))
        deviation = torch.stack([shard[i].mean.std(dim=(1, 2)) for i in items]).mean(dim=0)
        return (deviation / deviation.mean())[:, None, None]

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors of `Batch`, and `noise` [B, C, T, F] and `time` [B]."""
        least = (self.slots, self.config.text.max_tokens) if self.fixed_lengths else (0, 0)
        batch: Batch = join_batches([e["batch"] for e in examples], *least)
        joined = {"data": batch.data, **batch.conditions()}
        return {
            **joined,
            **{name: torch.stack([e[name] for e in examples]) for name in ("noise", "time")},
        }


def stretch_start(item: CachedItem, frames: int, generator: torch.Generator) -> int:
    """First frame of a stretch of an item: somewhere around one of its placed references, chosen at
    random; anywhere if it has none.
    """
    last = item.mean.shape[1] - frames
    placed = [
        place
        for reference in item.references
        for event in reference.events
        for place in event.placements
    ]
    low, high = 0, last
    if placed:
        first, sound = placed[int(torch.randint(len(placed), (), generator=generator))]
        # All of the sound, or nothing but the sound where it is longer.
        spare = frames - sound.shape[1]
        low, high = sorted((first - spare, first))
    low, high = (min(max(end, 0), last) for end in (low, high))
    return int(torch.randint(low, high + 1, (), generator=generator))


def cut_stretch(batch: Batch, first: int, frames: int) -> Batch:
    """Frames of a batch of one whose references are placed; those that do not sound there are
    hidden.
    """
    references = batch.references[:, :, :, first : first + frames]
    sounding = (references[:, :, -2] > 0).any(dim=-1).any(dim=-1)
    return replace(
        batch,
        data=batch.data[:, :, first : first + frames],
        references=references,
        reference_mask=batch.reference_mask & sounding,
    )
