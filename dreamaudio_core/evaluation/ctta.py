"""Generate a test set with a system and score it in one go (paper, sections IV-A and V)."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..audio import write_audio
from ..errors import AudioError, InputError
from .evaluate import (
    Evaluation,
    Options,
    Weights,
    check_count,
    choose_metrics,
    load_extractors,
    score,
)
from .extractor import file_digest
from .generators import Generator
from .items import ITEMS, Item, read_items
from .pairs import pair_files
from .progress import progress_bar

TEST_SETS = {"concatenation": "CC", "overlay": "CO", "fantasy": "CF", "audiocaps": "AC"}
"""Names of the paper's test sets and their abbreviations in its tables."""
_MANIFEST = "generated.json"


@dataclass(frozen=True)
class CttaResult:
    """What `run_ctta` made: the items, the folder of generated clips, and their evaluation."""

    items: list[Item]
    generated: Path
    evaluation: Evaluation


def find_test_set(data: str | Path, test_set: str) -> Path:
    """Folder of a test set: `data` itself, or its sub-folder of the test set's name.

    Raises
    ------
    InputError
        If the test set is unknown or neither folder has an `items.jsonl`.
    """
    if test_set not in TEST_SETS:
        raise InputError(f"test-set: expected {', '.join(TEST_SETS)}, found {test_set!r}")
    data = Path(data).expanduser()
    for folder in (data / test_set, data):
        if (folder / ITEMS).is_file():
            return folder
    raise InputError(f"data {data}: expected {ITEMS} in it or in {data / test_set}, found neither")


def generate_items(
    generator: Generator,
    items: list[Item],
    out: str | Path,
    seed: int = 0,
    show_progress: bool = False,
) -> None:
    """Write one clip an item, as `<id>.wav`; items already made from the same input are left as
    they are.

    Parameters
    ----------
    generator : Generator
        The system.
    items : list of Item
        What to generate.
    out : str or Path
        Folder for the clips and for the record of what they were made from.
    seed : int
        Every item's seed is drawn from this one and the item's id, so that it depends on no other
        item.
    show_progress : bool
        Show a bar.

    Raises
    ------
    AudioError
        If the system returns something other than finite samples [T].
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    done = _read_manifest(out / _MANIFEST)
    sounds: dict[Path, str] = {}
    with progress_bar(len(items), "generating", show_progress) as bar:
        for item in items:
            digest = _item_digest(generator, item, seed, sounds)
            path = out / f"{item.id}.wav"
            if done.get(item.id) != digest or not path.is_file():
                waveform = generator.generate(
                    item.prompt, item.references, item_seed(seed, item.id)
                )
                waveform = _checked(waveform, f"{generator.name}: item {item.id!r}")
                write_audio(path, waveform, generator.sample_rate)
                done[item.id] = digest
                _write_manifest(out / _MANIFEST, done)
            bar.update()


def run_ctta(
    generator: Generator,
    data: str | Path,
    test_set: str,
    out: str | Path,
    weights: Weights,
    metrics: list[str] | None = None,
    options: Options | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> CttaResult:
    """Generate a test set and score it; an interrupted run goes on where it stopped.

    Parameters
    ----------
    generator : Generator
        The system.
    data : str or Path
        Test-set folder, or the folder that holds the test sets; see `items`.
    test_set : str
        One of `TEST_SETS`.
    out : str or Path
        Folder for the clips (`generated/<test set>`) and, unless `options` names another, the
        feature cache.
    weights, metrics, options
        As in `evaluate`.
    seed : int
        See `generate_items`.
    limit : int, optional
        Only the first items.

    Raises
    ------
    InputError, AudioError, CheckpointError
        As `read_items`, `generate_items` and `evaluate`.
    """
    options = options or Options()
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 item, found {limit}")
    items = read_items(find_test_set(data, test_set))[:limit]
    with_target = [item for item in items if item.target is not None]
    if with_target and len(with_target) < len(items):
        raise InputError(
            f"{data}: {len(items) - len(with_target)} of {len(items)} items have no target; give all of them one, "
            "or none"
        )
    metrics = choose_metrics(metrics, weights, bool(with_target), has_prompts=True)
    check_count(metrics, len(items))
    extractors = load_extractors(metrics, weights, options.device)
    generated = Path(out) / "generated" / test_set
    generate_items(generator, items, generated, seed, options.show_progress)
    if options.cache is None:
        options = replace(options, cache=Path(out) / "features")
    made = {item.id: generated / f"{item.id}.wav" for item in items}
    targets = {item.id: item.target for item in with_target} or None
    pairing = pair_files(made, targets, options.policy, options.show_progress)
    prompts = {item.id: item.prompt for item in items}
    return CttaResult(
        items, generated, score(pairing, prompts, metrics, extractors, options, generator.name)
    )


def item_seed(seed: int, item: str) -> int:
    """Seed of an item, from 0 to 2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{item}".encode()).digest()[:4], "big") >> 1


def _checked(waveform: torch.Tensor, what: str) -> torch.Tensor:
    if not isinstance(waveform, torch.Tensor) or waveform.dim() != 1 or not len(waveform):
        found = (
            list(waveform.shape) if isinstance(waveform, torch.Tensor) else type(waveform).__name__
        )
        raise AudioError(f"{what}: expected a waveform [T], found {found}")
    if not torch.isfinite(waveform).all():
        raise AudioError(f"{what}: the system returned NaN or infinite samples")
    return waveform.detach().float().cpu()


def _item_digest(generator: Generator, item: Item, seed: int, sounds: dict[Path, str]) -> str:
    references = []
    for reference in item.references:
        if reference.path not in sounds:
            sounds[reference.path] = file_digest(reference.path)
        references.append([sounds[reference.path], reference.caption])
    content = json.dumps([generator.identity, item.prompt, references, seed])
    return hashlib.sha256(content.encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_manifest(path: Path, done: dict[str, str]) -> None:
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        beside.write_text(json.dumps(done, indent=1, sort_keys=True), encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
