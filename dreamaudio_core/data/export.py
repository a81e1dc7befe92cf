"""Fixed test sets and latent caches of a dataset, written to disk; what is there already is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

from safetensors import SafetensorError, safe_open

from ..audio import write_audio
from ..errors import InputError
from ..scene.scenes import SCENES, Scene, SceneReference, write_scenes
from .datasets import PaperDataset
from .latents import LatentEncoder, write_shard
from .paper_items import SAMPLE_RATE

Each = Callable[[], Any]


def write_test_set(
    dataset: PaperDataset, folder: Path, count: int | None = None, each: Each | None = None
) -> int:
    """Write the items of `dataset` as scenes with their sounds, for `evaluate`; returns their
    number.

    A folder that was begun with the same dataset is completed; `origin.json` tells what it was
    begun with.

    Raises
    ------
    InputError
        If the folder was begun with another dataset, seed or split.
    """
    count = len(dataset) if count is None else min(count, len(dataset))
    _same_origin(
        folder,
        {
            "dataset": dataset.name,
            "split": dataset.split,
            "seed": dataset.seed,
            "groups": dataset.groups,
            "sounds": len(dataset.bank),
        },
    )
    scenes = []
    for index in range(count):
        name = f"{index:05d}"
        item = dataset[index]
        references = []
        for number, group in enumerate(item.groups, 1):
            audio = folder / f"references/{name}_{number}.wav"
            if not audio.exists():
                write_audio(audio, group.waveform(), SAMPLE_RATE)
            references.append(SceneReference(audio, group.caption()))
        target = None
        if item.target is not None:
            target = folder / f"targets/{name}.wav"
            if not target.exists():
                write_audio(target, item.target, SAMPLE_RATE)
        scenes.append(Scene(item.prompt, tuple(references), name, seed=index, target=target))
        if each is not None:
            each()
    write_scenes(folder / SCENES, scenes)
    return count


def write_cache(
    items: Callable[[int], Any],
    count: int,
    encoder: LatentEncoder,
    folder: Path,
    origin: dict[str, Any],
    size: int = 128,
    share: tuple[int, int] = (0, 1),
    each: Each | None = None,
) -> int:
    """Cache items 0 .. count - 1 in shards; returns how many shards were written now.

    Parameters
    ----------
    items
        Item by index.
    encoder
        For compositions or for items of the paper's datasets.
    origin
        What the cache is made of; a folder begun with something else is refused.
    size
        Items of a shard.
    share
        (k, n): only every n-th shard from the k-th on, so that n machines can share the work.
    each
        Called after each item, cached now or before.
    """
    _same_origin(folder, {**origin, "count": count, "size": size})
    written = 0
    for number in range(-(-count // size)):
        first, last = number * size, min((number + 1) * size, count)
        path = folder / f"{number:06d}.safetensors"
        if number % share[1] == share[0] and not _complete(path):
            write_shard(
                path,
                encoder.shard(items(i) for i in range(first, last)),
                {**origin, "first": first},
            )
            written += 1
        if each is not None:
            for _ in range(first, last):
                each()
    return written


def _complete(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _same_origin(folder: Path, origin: dict[str, Any]) -> None:
    path = folder / "origin.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name in sorted({*found, *origin}):
            if found.get(name) != origin.get(name):
                raise InputError(
                    f"{folder}: was begun with {name} {found.get(name)!r}, found {origin.get(name)!r}; choose "
                    "another folder"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "origin.json.part"
    beside.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(beside, path)
