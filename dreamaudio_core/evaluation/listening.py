"""Listening tests for the two subjective columns: a page that collects OVL and REL, and the means
of its answers.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from ..errors import AudioError, InputError
from ..scene.scenes import Scene
from .clips import list_clips, read_clip
from .report import write_text

_TEMPLATE = "listening_page.html"
_COLUMNS = ("listener", "position", "item", "system", "ovl", "rel")


def build_listening_page(
    systems: Mapping[str, str | Path],
    scenes: dict[str, Scene],
    out: str | Path,
    count: int | None = None,
    seed: int = 0,
    title: str = "Listening test",
) -> int:
    """Write one self-contained HTML file that plays every system's clip of every item and collects
    two ratings of each.

    The page needs no server and no network. Each listener gets an order of their own that does not
    show the systems; answers stay in the browser's local storage until they are saved as CSV.

    Parameters
    ----------
    systems : dict of str to path
        Folder of clips by name of the system; clips are named after the items.
    scenes : dict of str to Scene
        By the stem of their clips; their prompts are shown and their references played. Those of
        which no system has a clip are left out.
    out : str or Path
        The HTML file; it appears whole or not at all.
    count : int, optional
        Draw this many of the items.
    seed : int
        Seed of the draw.
    title : str
        Heading of the page.

    Returns
    -------
    int
        Number of clips to be rated.

    Raises
    ------
    InputError
        If there are no systems or items, or a system lacks clips that another has; names and
        counts them.
    AudioError
        If a sound cannot be read.
    """
    if not systems or not scenes:
        raise InputError("listening test: expected at least one system and one item with a prompt")
    found = {
        system: {path.stem: path for path in list_clips(folder, f"system {system}")}
        for system, folder in systems.items()
    }
    # A test set that was generated in part is rated in part.
    stems = sorted(stem for stem in scenes if any(stem in clips for clips in found.values()))
    if not stems:
        raise InputError(
            f"listening test: none of the {len(scenes)} items has a clip, {min(scenes)!r} for one; "
            "clips are named after the items"
        )
    if count is not None:
        if not 1 <= count <= len(stems):
            raise InputError(
                f"listening test: count: expected 1 to {len(stems)} items, found {count}"
            )
        stems = sorted(random.Random(seed).sample(stems, count))
    clips = []
    for system, folder in systems.items():
        missing = [stem for stem in stems if stem not in found[system]]
        if missing:
            raise InputError(
                f"system {system}: {len(missing)} of {len(stems)} items have no clip in "
                f"{folder}, {missing[0]!r} for one; generate them or leave the items out"
            )
        for stem in stems:
            # Keys do not give the system away to a listener who looks at what the browser stores.
            key = hashlib.sha256(f"{system}\0{stem}".encode()).hexdigest()[:16]
            audio = _audio(found[system][stem])
            clips.append({"key": key, "item": stem, "system": system, "audio": audio})
    shown = {
        stem: {
            "prompt": scenes[stem].prompt,
            "references": [
                {"caption": r.caption, "audio": _audio(r.file(f"scene {stem}: {r.caption}"))}
                for r in scenes[stem].references
            ],
        }
        for stem in stems
    }
    data = {"title": title, "items": shown, "clips": clips}
    data["id"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    template = (Path(__file__).parent / _TEMPLATE).read_text(encoding="utf-8")
    # Escaped, because "</script>" or "<!--" in a prompt would end the block that holds the data.
    text = json.dumps(data).replace("<", "\\u003c")
    write_text(Path(out), template.replace("/*DATA*/", text))
    return len(clips)


def _audio(path: Path) -> str:
    """A sound as a data URI, FLAC at 16 bits and its own rate."""
    try:
        rate = soundfile.info(str(path)).samplerate
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path}: not audio that can be decoded; convert it to WAV or FLAC"
        ) from error
    encoded = io.BytesIO()
    soundfile.write(
        encoded, read_clip(path, rate).clamp(-1, 1).numpy(), rate, format="FLAC", subtype="PCM_16"
    )
    return "data:audio/flac;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def read_ratings(paths: list[str | Path]) -> dict[str, dict[str, float]]:
    """Means of the saved answers by system.

    Parameters
    ----------
    paths : list of path
        CSV files that the page saved.

    Returns
    -------
    dict of str to dict
        For each system `ovl` and `rel` (means), `ovl_ci95` and `rel_ci95` (half of the 95 %
        confidence interval by the normal approximation; 0 for one rating), `ratings` and
        `listeners` (numbers).

    Raises
    ------
    InputError
        Names the file and line that does not fit, also where a listener's rating of a clip occurs
        twice.
    """
    scores: dict[str, list[tuple[int, int]]] = {}
    listeners: dict[str, set[str]] = {}
    seen: set[tuple[str, str, str]] = set()
    for path in map(Path, paths):
        try:
            rows = list(
                csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
            )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"{path}: cannot be read as CSV ({getattr(error, 'strerror', None) or error})"
            ) from error
        if not rows:
            raise InputError(f"{path}: holds no ratings")
        for number, row in enumerate(rows, 2):
            absent = [column for column in _COLUMNS if not row.get(column)]
            if absent:
                raise InputError(f"{path}: line {number}: column {absent[0]!r} is missing or empty")
            values = []
            for column in ("ovl", "rel"):
                if row[column] not in ("1", "2", "3", "4", "5"):
                    raise InputError(
                        f"{path}: line {number}: {column}: expected 1 to 5, found {row[column]!r}"
                    )
                values.append(int(row[column]))
            key = (row["listener"], row["item"], row["system"])
            if key in seen:
                raise InputError(
                    f"{path}: line {number}: {row['listener']} rated {row['item']} of "
                    f"{row['system']} twice; is a "
                    "file given twice?"
                )
            seen.add(key)
            scores.setdefault(row["system"], []).append((values[0], values[1]))
            listeners.setdefault(row["system"], set()).add(row["listener"])
    if not scores:
        raise InputError("ratings: expected at least one CSV file, found none")
    results = {}
    for system, found in sorted(scores.items()):
        array = np.array(found, dtype=np.float64)
        spread = array.std(axis=0, ddof=1) if len(array) > 1 else np.zeros(2)
        half = 1.96 * spread / np.sqrt(len(array))
        mean = array.mean(axis=0)
        results[system] = {
            "ovl": float(mean[0]),
            "rel": float(mean[1]),
            "ovl_ci95": float(half[0]),
            "rel_ci95": float(half[1]),
            "ratings": len(found),
            "listeners": len(listeners[system]),
        }
    return results
