"""Generate a test set with a system and score it in one go (paper, sections IV-A and V)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..audio.write import write_audio
from ..errors import AudioError, InputError
from ..files import atomic_write, file_digest
from ..json_text import parse_json
from ..progress import progress_bar
from ..scene.scene_files import SCENES, read_scenes
from ..scene.scenes import Scene
from .evaluate import (
    Evaluation,
    Options,
    Weights,
    check_count,
    choose_metrics,
    load_extractors,
    score,
)
from .generators import Generator
from .pairs import pair_files

TEST_SETS = {"concatenation": "CC", "overlay": "CO", "fantasy": "CF", "general": "AC"}
"""Names of the paper's test sets and their abbreviations in its tables."""
_RECORD = "generated.json"


@dataclass(frozen=True)
class CttaResult:
    """The scenes of a test set, the folder of their generated clips, and the evaluation."""

    scenes: list[Scene]
    generated: Path
    evaluation: Evaluation


def find_test_set(data: str | Path, test_set: str) -> Path:
    """Folder of a test set: `data` itself, or its sub-folder of the test set's name.

    Raises
    ------
    InputError
        If the test set is unknown or neither folder has a `scenes.jsonl`.
    """
    if test_set not in TEST_SETS:
        raise InputError(f"test-set: expected {', '.join(TEST_SETS)}, found {test_set!r}")
    data = Path(data).expanduser()
    for folder in (data / test_set, data):
        if (folder / SCENES).is_file():
            return folder
    raise InputError(f"data {data}: expected {SCENES} in it or in {data / test_set}, found neither")


def generate_scenes(
    generator: Generator,
    scenes: list[Scene],
    out: str | Path,
    seed: int = 0,
    show_progress: bool = False,
) -> None:
    """Write one clip a scene, as `<name>.wav`; clips already generated from the same input are
    kept.

    Parameters
    ----------
    generator : Generator
        The system.
    scenes : list of Scene
        What to generate.
    out : str or Path
        Folder for the clips and for the record of the input of each.
    seed : int
        Every scene's seed is drawn from this one and the scene's name, so that it depends on no
        other scene.
    show_progress : bool
        Show a bar.

    Raises
    ------
    AudioError
        If the system returns something other than finite samples [T].
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    done = _read_record(out / _RECORD)
    sounds: dict[Path, str] = {}
    with progress_bar(len(scenes), "generating", show_progress) as bar:
        for scene in scenes:
            digest = _scene_digest(generator, scene, seed, sounds)
            path = out / f"{scene.name}.wav"
            if done.get(scene.name) != digest or not path.is_file():
                waveform = generator.generate(
                    scene.prompt,
                    scene.references,
                    scene_seed(seed, scene.name),
                    **_own_settings(generator, scene),
                )
                waveform = _checked(waveform, f"{generator.name}: scene {scene.name!r}")
                if scene.seconds is not None:
                    waveform = waveform[: round(scene.seconds * generator.sample_rate)]
                write_audio(path, waveform, generator.sample_rate)
                done[scene.name] = digest
                _write_record(out / _RECORD, done)
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
        Folder with a `scenes.jsonl`, or the folder that holds the test sets.
    test_set : str
        One of `TEST_SETS`.
    out : str or Path
        Folder for the clips (`generated/<test set>`) and, unless `options` names another, the
        feature cache.
    weights, metrics, options
        As in `evaluate`.
    seed : int
        See `generate_scenes`.
    limit : int, optional
        Only the first scenes.

    Raises
    ------
    InputError, AudioError, CheckpointError
        As `read_scenes`, `generate_scenes` and `evaluate`.
    """
    options = options or Options()
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 scene, found {limit}")
    scenes = read_scenes(find_test_set(data, test_set))[:limit]
    with_target = [scene for scene in scenes if scene.target is not None]
    if with_target and len(with_target) < len(scenes):
        raise InputError(
            f"{data}: {len(scenes) - len(with_target)} of {len(scenes)} scenes have no target; "
            "give all of them one, or none"
        )
    metrics = choose_metrics(metrics, weights, bool(with_target), has_prompts=True)
    check_count(metrics, len(scenes))
    extractors = load_extractors(metrics, weights, options.device)
    generated = Path(out) / "generated" / test_set
    generate_scenes(generator, scenes, generated, seed, options.show_progress)
    if options.cache is None:
        options = replace(options, cache=Path(out) / "features")
    clips = {scene.name: generated / f"{scene.name}.wav" for scene in scenes}
    targets = {scene.name: scene.target for scene in scenes if scene.target is not None} or None
    pairing = pair_files(clips, targets, options.policy, options.show_progress)
    prompts = {scene.name: scene.prompt for scene in scenes}
    return CttaResult(
        scenes, generated, score(pairing, prompts, metrics, extractors, options, generator.name)
    )


def scene_seed(seed: int, name: str) -> int:
    """Seed of a scene, from 0 to 2^31 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:4], "big") >> 1


def _checked(waveform: torch.Tensor, label: str) -> torch.Tensor:
    if not isinstance(waveform, torch.Tensor) or waveform.dim() != 1 or not len(waveform):
        found = (
            list(waveform.shape) if isinstance(waveform, torch.Tensor) else type(waveform).__name__
        )
        raise AudioError(f"{label}: expected a waveform [T], found {found}")
    if not torch.isfinite(waveform).all():
        raise AudioError(f"{label}: the system returned NaN or infinite samples")
    return waveform.detach().float().cpu()


def _scene_digest(generator: Generator, scene: Scene, seed: int, sounds: dict[Path, str]) -> str:
    references = []
    for number, reference in enumerate(scene.references, 1):
        file = reference.file(f"scene {scene.name}: reference {number}")
        if file not in sounds:
            sounds[file] = file_digest(file)
        references.append([sounds[file], repr(replace(reference, audio=None))])
    own = [scene.seconds, *_own_settings(generator, scene).values()]
    content = json.dumps([generator.identity, scene.prompt, references, seed, own])
    return hashlib.sha256(content.encode()).hexdigest()


def _own_settings(generator: Generator, scene: Scene) -> dict[str, Any]:
    """What a scene says of its sound besides prompt and references, for a system of this project;
    the seed is drawn by `seed`, and the rate is that of the system. Others know the length alone.
    """
    own = {k: v for k, v in scene.settings().items() if k not in ("seed", "sample_rate")}
    if getattr(generator, "takes_settings", False):
        return {"own": own} if own else {}
    if unknown := sorted(set(own) - {"seconds"}):
        raise InputError(
            f"scene {scene.name}: {unknown[0]} is set, which {generator.name} does not know; leave "
            "it out"
        )
    return {}


def _read_record(path: Path) -> dict[str, str]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_record(path: Path, done: dict[str, str]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(done, indent=1, sort_keys=True), encoding="utf-8")
