"""Training examples of the arranger, with references left out, added and reworded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import ArrangerConfig
from ..data.arranger_items import Item, TextFeatures, is_complete, pad_features
from ..data.wordings import Wordings
from .dataset import Dataset

ITEMS_PER_GROUP = 2048
TARGETS = ("complete", "occurs", "count", "used", "pairs", "start", "duration", "gain")


class ReferenceDraw:
    """Draws an item's references: in other words, some left out, some that the prompt does not ask
    for.

    Parameters
    ----------
    items
        Items whose events may be added to others.
    wordings
        Other texts of their captions.
    most
        References of one item.
    """

    def __init__(self, items: list[Item], wordings: Wordings, most: int):
        self.wordings, self.most = wordings, most
        self.pool = [event for item in items for event in item["events"]]

    def __call__(self, rng: np.random.Generator, item: Item) -> list[Item]:
        events = [event for event in item["events"] if event["has_reference"]]
        captions = [event["caption"] for event in item["events"]]
        if rng.random() < 0.3:
            events = [event for event in events if rng.random() > 0.3]
        if rng.random() < 0.35:
            for _ in range(int(rng.integers(1, 6))):
                other = self.pool[rng.integers(len(self.pool))]
                if self.wordings.differs(other["caption"], captions):
                    captions = [*captions, other["caption"]]
                    events.append({**other, "asked": False, "places": [], "background": False})
        drawn = []
        for k in rng.permutation(len(events))[: self.most]:
            event, text = events[k], None
            if rng.random() < 0.2:
                text = self.wordings.similar(event["caption"], captions, rng)
            elif rng.random() < 0.5:
                text = self.wordings.draw(event["caption"], rng)
            drawn.append({**event, "text": text or event["text"]})
        return drawn


def drop_words(caption: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without a third of its tokens in a fifth of the cases, but never without all."""
    if rng.random() >= 0.2:
        return caption
    kept = caption[rng.random(len(caption)) >= 0.33]
    return kept if len(kept) else caption


class ArrangerDataset(Dataset):
    """Items of a data folder.

    Parameters
    ----------
    items
        Compositions without audio.
    features
        Token features of their texts.
    kinds
        Kind of each label of the bank.
    config
        Sizes of the arranger.
    tolerance
        Seconds by which an event may overlap the next one and still precede it.
    """

    def __init__(
        self,
        items: list[Item],
        features: TextFeatures,
        kinds: dict[str, str],
        config: ArrangerConfig,
        tolerance: float,
    ):
        self.features, self.config, self.tolerance = features, config, tolerance
        self.draw = ReferenceDraw(items, Wordings(items, features, kinds), config.max_references)
        # Prompts of about one length are batched together, so that little of a batch is padding.
        self.items = sorted(items, key=lambda item: features.length(item["prompt"]))
        groups = max(1, len(items) // ITEMS_PER_GROUP)
        self._sizes = [len(part) for part in np.array_split(np.arange(len(items)), groups)]

    def group_sizes(self) -> list[int]:
        """Items of each range of prompt lengths."""
        return self._sizes

    def example(self, item: int, generator: torch.Generator) -> dict[str, Any]:
        """Features and targets of one item with its references."""
        seed = int(torch.randint(2**62, (), generator=generator))
        rng = np.random.default_rng(seed)
        chosen = self.items[item]
        events = self.draw(rng, chosen)
        captions = [drop_words(self.features[event["text"]], rng) for event in events]
        return {
            "prompt": np.asarray(self.features[chosen["prompt"]]),
            "captions": captions,
            "lengths": [event["seconds"] for event in events],
            "seconds": chosen["seconds"],
            **self._targets(chosen, events),
        }

    def _targets(self, item: Item, events: list[Item]) -> dict[str, Any]:
        count, repeats = len(events), self.config.max_repeats
        used, times = np.zeros((count, repeats), bool), np.zeros((3, count, repeats), np.float32)
        pairs = np.zeros((count, repeats, count), np.float32)
        for k, event in enumerate(events):
            for r, place in enumerate(event["places"][:repeats]):
                used[k, r], times[:, k, r] = True, place
                for j, other in enumerate(events):
                    if j != k and other["places"] and not other["background"]:
                        latest = place[0] + self.tolerance
                        earlier = [s + d <= latest for s, d, _ in other["places"]]
                        pairs[k, r, j] = sum(earlier) / len(earlier)
        return {
            "complete": bool(events) and is_complete(item, events),
            "occurs": [event["asked"] for event in events],
            "count": [max(0, min(len(e["places"]), repeats) - 1) for e in events],
            "used": used,
            "times": times,
            "pairs": pairs,
        }

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Inputs of `Arranger` and the targets, padded to the most references and longest texts."""
        size, dim, repeats = len(examples), self.config.text_dim, self.config.max_repeats
        count = max(1, max(len(e["captions"]) for e in examples))
        prompt, prompt_mask = pad_features([e["prompt"] for e in examples], dim)
        flat, flat_mask = pad_features([c for e in examples for c in e["captions"]], dim)
        exists = torch.zeros(size, count, dtype=torch.bool)
        lengths, occurs = torch.zeros(size, count), torch.zeros(size, count)
        counts = torch.zeros(size, count, dtype=torch.long)
        used = torch.zeros(size, count, repeats, dtype=torch.bool)
        times, pairs = (
            torch.zeros(3, size, count, repeats),
            torch.zeros(size, count, repeats, count),
        )
        for b, e in enumerate(examples):
            k = len(e["captions"])
            exists[b, :k] = True
            lengths[b, :k], occurs[b, :k] = (
                torch.tensor(e["lengths"]),
                torch.tensor(e["occurs"]) * 1.0,
            )
            counts[b, :k] = torch.tensor(e["count"], dtype=torch.long)
            used[b, :k] = torch.from_numpy(e["used"])
            times[:, b, :k] = torch.from_numpy(e["times"])
            pairs[b, :k, :, :k] = torch.from_numpy(e["pairs"])
        captions = torch.zeros(size, count, flat.shape[1], dim)
        caption_mask = torch.zeros(size, count, flat.shape[1], dtype=torch.bool)
        captions[exists], caption_mask[exists] = flat, flat_mask
        return {
            "prompt": prompt,
            "prompt_mask": prompt_mask,
            "captions": captions,
            "caption_mask": caption_mask,
            "reference_seconds": lengths,
            "reference_mask": exists,
            "seconds": torch.tensor([e["seconds"] for e in examples]),
            "complete": torch.tensor([float(e["complete"]) for e in examples]),
            "occurs": occurs,
            "count": counts,
            "used": used,
            "pairs": pairs,
            "start": times[0],
            "duration": times[1],
            "gain": times[2],
        }
