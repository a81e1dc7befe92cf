"""Training items of the arranger: what it reads of compositions and what it should answer, without
audio, and the token features of all their texts.

A data folder holds `items_train.jsonl` and `items_test.jsonl`, one item a line, and the features of
all texts as one array: `texts.json`, `offsets.npy`, `tokens.npy`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..files import atomic_write
from ..json_text import parse_json
from ..networks.text_encoder import TextEncoder
from .bank import Bank
from .compose.composer import Composer

Item = dict[str, Any]
Progress = Callable[[int], object]

SEEDS = {"train": 0, "test": 1}
# What captions of real libraries add to the sound itself.
CIRCUMSTANCES = (
    ", recorded outdoors",
    ", an old recording with hiss",
    ", close to the microphone",
    " in a large hall",
    ", from a library of sound effects",
    ", several takes with pauses between them",
    ", stereo, good quality",
)
PREFIXES = ("recording: ", "sound effect of ", "audio clip, ", "a clip in which one hears how ")


def describe(composer: Composer, seed: int, index: int) -> Item:
    """What the arranger reads of a composition, and what it should answer."""
    item = composer.item(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    events = [
        {
            "label": event.label,
            "caption": event.caption,
            "text": _reference_text(event.reference_caption, event.phrase, rng),
            "seconds": len(event.reference) / composer.bank.sample_rate,
            "places": [
                [round(p.start, 3), round(p.duration, 3), round(p.gain, 2)]
                for p in event.placements
            ],
            "asked": event.asked,
            "has_reference": event.has_reference,
            "background": event.background and event.asked,
        }
        for event in item.events
    ]
    return {"prompt": item.prompt, "seconds": item.seconds, "kind": item.kind, "events": events}


def _reference_text(caption: str, phrase: str | None, rng: np.random.Generator) -> str:
    """Caption of a reference: now and then the prompt's own words, or with more around it."""
    style = rng.random()
    if style < 0.1 and phrase:
        return phrase
    if style < 0.17:
        return caption + CIRCUMSTANCES[rng.integers(len(CIRCUMSTANCES))]
    if style < 0.2:
        return PREFIXES[rng.integers(len(PREFIXES))] + caption
    return caption


def is_complete(item: Item, events: list[Item]) -> bool:
    """Whether `events`, given as references, are everything that the prompt of `item` asks for."""
    return sum(e["asked"] for e in events) == sum(e["asked"] for e in item["events"])


def texts_of(items: Iterable[Item]) -> list[str]:
    """Prompts and captions of items, each once."""
    texts: dict[str, None] = {}
    for item in items:
        texts[item["prompt"]] = None
        texts.update(dict.fromkeys(event["text"] for event in item["events"]))
    return list(texts)


def compose_items(
    bank: Bank, split: str, count: int, path: Path, progress: Progress | None = None
) -> None:
    """Write `count` items, one a line."""
    composer = Composer(bank, split=split)
    with atomic_write(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for index in range(count):
            file.write(json.dumps(describe(composer, SEEDS[split], index)) + "\n")
            if progress is not None:
                progress(1)


def read_items(folder: Path, split: str) -> list[Item]:
    """Items that `compose_items` wrote.

    Raises
    ------
    InputError
        If there are none, or a line is not JSON.
    """
    path = folder / f"items_{split}.jsonl"
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected one JSON object a line ({error})") from error


class TextFeatures:
    """Token features of many texts, as one array with the offset of each text.

    Parameters
    ----------
    texts
        In the order of the array.
    offsets
        First row of each text, and the number of rows, [texts + 1].
    tokens
        Features [rows, D], or the file that holds them; a file is mapped when first used.
    """

    def __init__(self, texts: list[str], offsets: np.ndarray, tokens: np.ndarray | Path):
        self.rows = {text: row for row, text in enumerate(texts)}
        self.offsets, self._tokens = offsets, tokens

    @property
    def tokens(self) -> np.ndarray:
        """Features [rows, D], float16."""
        found = self._tokens
        if isinstance(found, Path):
            found = self._tokens = np.load(found, mmap_mode="r")
        return found

    def __getitem__(self, text: str) -> np.ndarray:
        row = self.rows[text]
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def length(self, text: str) -> int:
        """Tokens of a text."""
        row = self.rows[text]
        return int(self.offsets[row + 1] - self.offsets[row])

    def pad(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Features [len(texts), longest, D] and mask (True = token)."""
        return pad_features([self[text] for text in texts], self.tokens.shape[1])

    @classmethod
    def encode(
        cls,
        texts: list[str],
        encoder: TextEncoder,
        folder: Path | None = None,
        progress: Progress | None = None,
        batch: int = 256,
    ) -> "TextFeatures":
        """Encode `texts`, in memory or into files of `folder`."""
        most, dim = encoder.config.max_tokens, encoder.config.dim
        counts = [min(len(ids), most) for ids in encoder.token_ids(texts)]
        # Texts of one length share batches, so that little of them is padding.
        order = sorted(range(len(texts)), key=counts.__getitem__)
        texts, counts = [texts[i] for i in order], [counts[i] for i in order]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if folder is None:
            tokens = np.empty((offsets[-1], dim), np.float16)
            _encode_into(tokens, offsets, texts, encoder, batch, progress)
            return cls(texts, offsets, tokens)
        with atomic_write(folder / "tokens.npy") as partial:
            shape = (int(offsets[-1]), dim)
            mapped = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
            _encode_into(mapped, offsets, texts, encoder, batch, progress)
            mapped.flush()
        with atomic_write(folder / "offsets.npy") as partial, open(partial, "wb") as file:
            np.save(file, offsets)
        # Last, because its presence says that the features are complete.
        with atomic_write(folder / "texts.json") as partial:
            partial.write_text(json.dumps(texts), encoding="utf-8")
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> "TextFeatures":
        """Features that `encode` wrote.

        Raises
        ------
        InputError
            If a file is missing or damaged.
        """
        try:
            texts = parse_json((folder / "texts.json").read_text(encoding="utf-8"))
            return cls(texts, np.load(folder / "offsets.npy"), folder / "tokens.npy")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: expected text features ({error}); remove its texts.json, and they are "
                "computed again"
            ) from error


def _encode_into(
    out: np.ndarray,
    offsets: np.ndarray,
    texts: list[str],
    encoder: TextEncoder,
    batch: int,
    progress: Progress | None,
) -> None:
    for first in range(0, len(texts), batch):
        ids, mask = encoder.tokenize(texts[first : first + batch], longest=True)
        with torch.inference_mode():
            features = encoder(ids, mask)
        kept = features[mask].half().numpy()
        out[offsets[first] : offsets[first] + len(kept)] = kept
        if progress is not None:
            progress(len(ids))


def pad_features(found: list[np.ndarray], dim: int) -> tuple[Tensor, Tensor]:
    """Features [len(found), longest, dim] (float32) and mask of features [rows, dim] each."""
    longest = max((len(x) for x in found), default=1)
    out = np.zeros((len(found), longest, dim), np.float32)
    mask = np.zeros((len(found), longest), bool)
    for row, x in enumerate(found):
        out[row, : len(x)], mask[row, : len(x)] = x, True
    return torch.from_numpy(out), torch.from_numpy(mask)


def prepare_items(
    bank: Bank, folder: Path, counts: dict[str, int], encoder: Callable[[], TextEncoder]
) -> TextFeatures:
    """Compose the items of both splits and encode their texts, unless the folder holds them.

    Parameters
    ----------
    bank
        Sounds that the compositions are about.
    folder
        Data folder.
    counts
        Number of items of each split.
    encoder
        Called for the text encoder, if texts have to be encoded.

    Raises
    ------
    InputError
        If the folder holds other numbers of items.
    """
    from tqdm import tqdm

    for split, count in counts.items():
        path = folder / f"items_{split}.jsonl"
        if not path.exists():
            (folder / "texts.json").unlink(missing_ok=True)
            with tqdm(total=count, desc=f"composing {split}", unit="item", disable=None) as bar:
                compose_items(bank, split, count, path, bar.update)
    items = {split: read_items(folder, split) for split in counts}
    for split, found in items.items():
        if len(found) != counts[split]:
            raise InputError(
                f"{folder}: holds {len(found)} {split} items, expected {counts[split]}; give these "
                "numbers or another folder"
            )
    if not (folder / "texts.json").exists():
        texts = texts_of(item for found in items.values() for item in found)
        with tqdm(total=len(texts), desc="encoding", unit="text", disable=None) as bar:
            return TextFeatures.encode(texts, encoder(), folder, bar.update)
    return TextFeatures.load(folder)
