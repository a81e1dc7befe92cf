"""Test sets and latent caches on disk; what is complete is kept."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from ..audio.write import write_audio
from ..errors import InputError
from ..files import atomic_write
from ..json_text import parse_json
from ..scene.scene_files import SCENES, write_scenes
from ..scene.scenes import Scene, SceneReference
from .compose.composition import Composition
from .datasets import CompositionDataset
from .latents import LatentEncoder
from .shards import is_complete, write_shard

Each = Callable[[int], Any]
Prepare = Callable[[], tuple[Callable[[int], Composition], LatentEncoder]]
"""Makes what a process needs to cache: items by index, and an encoder."""


def write_test_set(dataset: CompositionDataset, folder: Path, each: Each | None = None) -> int:
    """Write the items of `dataset` as scenes with their sounds, for `evaluate`; returns their
    number.

    A folder that was begun with the same dataset is completed; `origin.json` tells what it was
    begun with.

    Parameters
    ----------
    each
        Called with 1 after each item.

    Raises
    ------
    InputError
        If the folder was begun with another dataset, bank, seed or split.
    """
    begin_folder(folder, dataset.origin())
    scenes, rate = [], dataset.bank.sample_rate

    def sound(path: str, waveform: Any) -> Path:
        if not (folder / path).exists():
            write_audio(folder / path, waveform, rate)
        return folder / path

    for index in range(len(dataset)):
        name, item = f"{index:05d}", dataset[index]
        references = tuple(
            SceneReference(
                sound(f"references/{name}_{number}.wav", group.waveform()), group.caption()
            )
            for number, group in enumerate(item.groups, 1)
        )
        target = None
        if item.target is not None:
            target = sound(f"targets/{name}.wav", item.target)
        scenes.append(Scene(item.prompt, references, name, item.seconds, index, target=target))
        if each is not None:
            each(1)
    write_scenes(folder / SCENES, scenes)
    return len(scenes)


def write_cache(
    prepare: Prepare,
    count: int,
    folder: Path,
    origin: dict[str, Any],
    size: int = 128,
    share: tuple[int, int] = (0, 1),
    workers: int = 1,
    each: Each | None = None,
) -> int:
    """Cache items 0 .. count - 1 in shards; returns how many shards were written now.

    Parameters
    ----------
    prepare
        Makes the items and the encoder, once in each process; picklable for several workers.
    origin
        What the cache is of; a folder begun with something else is an error.
    size
        Items of a shard.
    share
        (k, n): only every n-th shard from the k-th on, so that n machines can share the work.
    workers
        Processes.
    each
        Called with the items of each shard, cached now or before.
    """
    begin_folder(folder, {**origin, "count": count, "size": size})
    shards = [
        (folder / f"{number:06d}.safetensors", range(first, min(first + size, count)))
        for number, first in enumerate(range(0, count, size))
        if number % share[1] == share[0]
    ]
    missing = [(path, items) for path, items in shards if not is_complete(path)]
    if each is not None:
        each(sum(len(items) for _, items in shards) - sum(len(items) for _, items in missing))
    for done in _run(prepare, missing, workers):
        if each is not None:
            each(done)
    return len(missing)


def _run(prepare: Prepare, shards: Sequence[tuple[Path, range]], workers: int) -> Iterator[int]:
    """Write shards; yields the number of items after each."""
    if workers == 1 or len(shards) <= 1:
        if shards:
            yield from map(_Writer(prepare), shards)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(shards)), _start_worker, (prepare,)) as pool:
        yield from pool.imap_unordered(_write_in_worker, shards)


class _Writer:
    def __init__(self, prepare: Prepare):
        self.items, self.encoder = prepare()

    def __call__(self, shard: tuple[Path, range]) -> int:
        path, numbers = shard
        write_shard(path, self.encoder.shard(map(self.items, numbers)), {"first": numbers[0]})
        return len(numbers)


_worker: _Writer


def _start_worker(prepare: Prepare) -> None:
    import torch

    global _worker
    torch.set_num_threads(1)
    _worker = _Writer(prepare)


def _write_in_worker(shard: tuple[Path, range]) -> int:
    return _worker(shard)


def begin_folder(folder: Path, origin: dict[str, Any]) -> None:
    """Make a folder for what `origin` describes, or check that it was made for that.

    Raises
    ------
    InputError
        Names what differs.
    """
    path = folder / "origin.json"
    if path.exists():
        try:
            found = dict(parse_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: expected a JSON object ({error}); choose another folder"
            ) from error
        for name in sorted({*found, *origin}):
            if found.get(name) != origin.get(name):
                raise InputError(
                    f"{folder}: was begun with {name} {found.get(name)!r}, found "
                    f"{origin.get(name)!r}; choose another folder"
                )
        return
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n", encoding="utf-8")
