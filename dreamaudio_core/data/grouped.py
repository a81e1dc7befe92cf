"""Cached items of the paper's datasets: references that hold several events, each of which can be
left out.

A shard is that of `latents`, with one row of `references` a group (item), its events in `parts`
(reference, start frame, begin, end) and, in `captions` (reference, events, text), the features of
its caption for every choice of events: `events` is a number whose bit i says that event i is heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

import torch
from torch import Tensor

from ..errors import InputError
from ..rendering.placing import silence_latent
from .latents import LatentEncoder, LatentShard
from .paper_items import PaperItem

MOST_EVENTS = 4


@dataclass
class GroupedReference:
    """Events (start frame, latent [C, t, F]) of one reference, and caption features [L, D] by the
    events left in it.
    """

    parts: list[tuple[int, Tensor]]
    captions: dict[int, Tensor]


@dataclass
class GroupedItem:
    """Target posterior (mean and standard deviation [C, T, F], scaled), prompt features [L, D] and
    references.
    """

    mean: Tensor
    std: Tensor
    prompt: Tensor
    references: list[GroupedReference]


class GroupedEncoder(LatentEncoder):
    """Turns items of the paper's datasets into shards."""

    @torch.inference_mode()
    def shard(self, items: Iterable[PaperItem]) -> dict[str, Tensor]:
        """Tensors of one shard.

        Raises
        ------
        InputError
            If an item has no target, or a reference holds more than four events.
        """
        items = list(items)
        means, stds, sounds, texts = [], [], [], [""]
        prompts: list[int] = []
        tables: dict[str, list[list[int]]] = {"references": [], "parts": [], "captions": []}
        cursor = 0
        frames = self.config.latent_shape()[1] * self.config.vae.stride
        samples = frames * self.config.audio.hop_length
        for number, item in enumerate(items):
            if item.target is None:
                raise InputError(
                    f"item {number} of the shard: expected a target sound, found none; a test set without "
                    "targets cannot be cached for training"
                )
            target = item.target[:samples]
            target = torch.nn.functional.pad(target, (0, samples - len(target)))
            mean, std = self._posterior(target)
            means.append(mean)
            stds.append(std)
            prompts.append(len(texts))
            texts.append(item.prompt)
            for group in item.groups:
                if len(group.events) > MOST_EVENTS:
                    raise InputError(
                        f"item {number} of the shard: a reference holds {len(group.events)} events, expected "
                        f"at most {MOST_EVENTS}; choose more groups"
                    )
                row = len(tables["references"])
                tables["references"].append([number, 0, 0, 0])
                for event in group.events:
                    latent = self._encode(event.waveform[:samples])
                    sounds.append(latent.transpose(0, 1))
                    start = round(event.start / self.frame_seconds)
                    tables["parts"].append([row, start, cursor, cursor + latent.shape[1]])
                    cursor += latent.shape[1]
                for present in range(1, 2 ** len(group.events)):
                    tables["captions"].append([row, present, len(texts)])
                    texts.append(group.caption(present))
        spans, tokens = self._tokens(texts)
        empty = torch.zeros(0, *means[0].shape[::2])
        return {
            "mean": torch.stack(means).half(),
            "std": torch.stack(stds).half(),
            "silence": silence_latent(self.vae, self.config.audio).half().cpu(),
            "sounds": (torch.cat(sounds) if sounds else empty).half(),
            "tokens": tokens.half(),
            "texts": torch.tensor(spans),
            "prompts": torch.tensor(prompts),
            "references": torch.tensor(tables["references"], dtype=torch.long).reshape(-1, 4),
            "parts": torch.tensor(tables["parts"], dtype=torch.long).reshape(-1, 4),
            "captions": torch.tensor(tables["captions"], dtype=torch.long).reshape(-1, 3),
        }


class GroupedShard(LatentShard):
    """Read access to one shard of grouped references."""

    def __init__(self, path: Path, lazy: bool = False):
        super().__init__(path, lazy)
        self._captions: dict[int, dict[int, int]] = {}
        for row, present, text in self.tensors["captions"].tolist():
            self._captions.setdefault(row, {})[present] = text

    def __getitem__(self, item: int) -> GroupedItem:
        references = []
        for row in self._by_item[item]:
            parts = [(start, self._sound(b, e)) for start, b, e in self._parts[row]]
            captions = {present: self._text(text) for present, text in self._captions[row].items()}
            references.append(GroupedReference(parts, captions))
        prompt = self._text(int(self.tensors["prompts"][item]))
        return GroupedItem(
            self.tensors["mean"][item].float(),
            self.tensors["std"][item].float(),
            prompt,
            references,
        )


def open_shard(path: Path, lazy: bool = True) -> LatentShard:
    """Shard of either kind; `lazy` leaves its large tensors on disk until an item is asked for."""
    shard = LatentShard(path, lazy)
    return GroupedShard(path, lazy) if "captions" in shard.tensors else shard
