"""Shards: cached training items of one length, in one safetensors file.

Rows of different lengths (tokens, sounds) are joined along time; integer tables say where each
begins and ends:

- `texts` [N, 2]: begin and end in `tokens` [_, D]; row 0 is the empty text.
- `prompts` [items]: text of each item; `mean`, `std` [items, C, T, F]: its target.
- `references` [R]: item of each reference.
- `captions` [_, 3]: reference, events left in it (bit i for event i), text.
- `events` [E, 4]: reference, first frame in the reference, begin and end in `sounds` [_, C, F].
- `placements` [_, 4]: event, first frame in the target, begin and end in `sounds`; missing in
  shards for a fusion that uses no timeline.
- `silence` [C, 1, F].
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CheckpointError
from ..files import atomic_write
from ..json_text import parse_json

Placed = tuple[int, Tensor]
"""First frame, and latent [C, t, F]."""


@dataclass
class CachedEvent:
    """An event of a reference: at its time in the reference, and where the target has it."""

    sound: Placed
    placements: list[Placed]


@dataclass
class CachedReference:
    """Events of one reference, and caption features [L, D] by the events left in it (bits)."""

    events: list[CachedEvent]
    captions: dict[int, Tensor]


@dataclass
class CachedItem:
    """Target posterior (mean and standard deviation [C, T, F], scaled), prompt features [L, D] and
    references.
    """

    mean: Tensor
    std: Tensor
    prompt: Tensor
    references: list[CachedReference]


def write_shard(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write a shard, whole or not at all."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as partial:
        save_file(contiguous, partial, metadata={"facts": json.dumps(facts)})


def is_complete(path: Path) -> bool:
    """Whether a file is a whole safetensors file."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


class LazyTensors(Mapping):
    """Tensors of a safetensors file: the tables in memory, the large ones as slices of the file."""

    LARGE = ("mean", "std", "sounds", "tokens")

    def __init__(self, path: Path):
        self.path = path
        self._file = safe_open(path, framework="pt")
        self._names = list(self._file.keys())
        self._tables = {
            key: self._file.get_tensor(key) for key in self._names if key not in self.LARGE
        }

    def __getitem__(self, key: str) -> Any:
        if key in self._tables:
            return self._tables[key]
        if key not in self._names:
            raise KeyError(key)
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        return self._file.get_slice(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process opens the file itself.
        return {**self.__dict__, "_file": None}


class LatentShard:
    """Read access to one shard, item by item from the disk.

    Raises
    ------
    CheckpointError
        If the file is not a complete shard.
    """

    def __init__(self, path: Path):
        try:
            self.tensors = LazyTensors(path)
            with safe_open(path, framework="pt") as file:
                self.facts = parse_json(file.metadata()["facts"])
                self.shape = tuple(file.get_slice("mean").get_shape()[1:])
                self.text_dim = file.get_slice("tokens").get_shape()[1]
            self.has_timeline = "placements" in self.tensors
            self._references = _grouped(
                [item, row] for row, item in enumerate(self.tensors["references"].tolist())
            )
            self._captions = _grouped(self.tensors["captions"].tolist())
            self._events = _grouped(
                [row, number, *rest]
                for number, (row, *rest) in enumerate(self.tensors["events"].tolist())
            )
            places = self.tensors["placements"].tolist() if self.has_timeline else []
            self._placements = _grouped(places)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: not a complete shard of cached latents ({error}); cache it again"
            ) from error

    def __len__(self) -> int:
        return len(self.tensors["prompts"])

    @property
    def silence(self) -> Tensor:
        """Latent of silence [C, 1, F]."""
        return self.tensors["silence"].float()

    @property
    def empty_text(self) -> Tensor:
        """Features of the empty text [L, D]."""
        return self._text(0)

    def __getitem__(self, item: int) -> CachedItem:
        return CachedItem(
            self.tensors["mean"][item].float(),
            self.tensors["std"][item].float(),
            self._text(int(self.tensors["prompts"][item])),
            [self._reference(row) for (row,) in self._references.get(item, [])],
        )

    def _reference(self, row: int) -> CachedReference:
        events = [
            CachedEvent(self._sound(*place), [self._sound(*p) for p in self._placements.get(k, [])])
            for k, *place in self._events[row]
        ]
        captions = {present: self._text(text) for present, text in self._captions[row]}
        return CachedReference(events, captions)

    def _text(self, row: int) -> Tensor:
        begin, end = self.tensors["texts"][row].tolist()
        return self.tensors["tokens"][begin:end].float()

    def _sound(self, frame: int, begin: int, end: int) -> Placed:
        return frame, self.tensors["sounds"][begin:end].transpose(0, 1).float()


def _grouped(rows: Iterable[list[int]]) -> dict[int, list[list[int]]]:
    """The rest of each row of a table, by its first entry."""
    found: dict[int, list[list[int]]] = {}
    for first, *rest in rows:
        found.setdefault(first, []).append(rest)
    return found
