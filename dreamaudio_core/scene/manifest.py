"""Manifests: many scenes in one file, as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import DreamAudioError, InputError
from .reference import Reference
from .timeline import parse_starts

MAX_SEED = 2**64 - 1
MAX_REPORTED = 10
_FIELDS = {"prompt", "references", "seed"}
_REFERENCE_FIELDS = {"audio", "caption", "strength", "start"}


@dataclass(frozen=True)
class Scene:
    """One row of a manifest: what shall be heard, with which references, from which seed."""

    prompt: str
    references: tuple[Reference, ...]
    seed: int


def _reject(text: str, found: Any) -> InputError:
    shown = f"{found!r}"
    return InputError(f"{text}, found {shown if len(shown) < 60 else shown[:57] + '...'}")


def _csv_rows(text: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    if "prompt" not in header:
        raise InputError(
            "manifest: expected JSON lines, or CSV whose first line names the columns prompt, seed, audio1, "
            f"caption1, start1, strength1, audio2, ...; found the columns {', '.join(header) or 'none'}"
        )
    numbered = {f"{field}{k}": (field, k) for field in _REFERENCE_FIELDS for k in range(1, 100)}
    unknown = [name for name in header if name not in numbered and name not in ("prompt", "seed")]
    if unknown:
        raise InputError(
            f"manifest: unknown column {unknown[0]!r}; known are prompt, seed, and audio1, caption1, start1, "
            "strength1, audio2, ..."
        )
    reader.fieldnames = header
    rows = []
    for cells in reader:
        filled = {
            name: value.strip()
            for name, value in cells.items()
            if isinstance(value, str) and value.strip()
        }
        row: dict[str, Any] = {name: filled[name] for name in ("prompt", "seed") if name in filled}
        references: dict[int, dict[str, str]] = {}
        for name, value in filled.items():
            if name in numbered:
                field, k = numbered[name]
                references.setdefault(k, {})[field] = value
        row["references"] = [references[k] for k in sorted(references)]
        if cells.get(None):
            row["too many cells"] = cells[None]
        rows.append((reader.line_num, row))
    return rows


def _json_rows(text: str) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except json.JSONDecodeError as error:
                rows.append((number, error))
    return rows


def _seed(value: Any, default: int) -> int:
    if value is None:
        return default
    try:
        seed = int(value)
    except (TypeError, ValueError):
        seed = -1
    if isinstance(value, (bool, float)) or not 0 <= seed <= MAX_SEED:
        raise _reject("seed: expected a whole number from 0 to 2**64 - 1", value)
    return seed


def _reference(row: Any, k: int, load: Callable[[str, str, float], Reference]) -> Reference:
    what = f"reference {k}"
    if not isinstance(row, dict) or not isinstance(row.get("audio"), str):
        raise _reject(f"{what}: expected an audio file with a caption", row)
    unknown = sorted(set(row) - _REFERENCE_FIELDS)
    if unknown:
        raise InputError(
            f"{what}: unknown field {unknown[0]!r}; known are audio, caption, strength, start"
        )
    try:
        strength = float(row.get("strength", 1.0))
    except (TypeError, ValueError):
        raise _reject(f"{what}: strength: expected a number", row["strength"]) from None
    start = row.get("start")
    starts = None if start is None else parse_starts(str(start), f"{what}: start")
    return load(row["audio"], str(row.get("caption", "")), strength).at(starts)


def _scene(row: Any, default_seed: int, load: Callable[[str, str, float], Reference]) -> Scene:
    if isinstance(row, json.JSONDecodeError):
        raise InputError(f"not readable JSON ({row.msg} at character {row.colno})")
    if not isinstance(row, dict):
        raise _reject("expected a JSON object", row)
    unknown = sorted(set(row) - _FIELDS)
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}")
    if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        raise _reject("prompt: expected a text", row.get("prompt"))
    references = row.get("references") or []
    if not isinstance(references, list):
        raise _reject("references: expected a list", references)
    loaded = tuple(_reference(reference, k, load) for k, reference in enumerate(references, 1))
    return Scene(row["prompt"].strip(), loaded, _seed(row.get("seed"), default_seed))


def read_manifest(text: str, load: Callable[[str, str, float], Reference]) -> list[Scene]:
    """Scenes of a manifest, in its order.

    Parameters
    ----------
    text
        JSON lines such as `{"prompt": "...", "references": [{"audio": "a.wav", "caption": "..."}],
        "seed": 1}`, or CSV with the columns prompt, seed, audio1, caption1, start1, strength1,
        audio2, ... A row without a seed takes its number, counted from 0.
    load
        Loads a reference by audio name, caption and strength.

    Raises
    ------
    InputError
        Names every broken row by its line, up to ten.
    """
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise InputError(
            "manifest: there are no rows; write one scene a line, as CSV with a header or as JSON lines"
        )
    rows = _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text)
    if not rows:
        raise InputError("manifest: there are no rows below the header; write one scene a line")
    scenes, broken = [], []
    for index, (line, row) in enumerate(rows):
        try:
            scenes.append(_scene(row, index, load))
        except DreamAudioError as error:
            broken.append(f"line {line}: {error}")
    if broken:
        more = f"; and {len(broken) - MAX_REPORTED} more" if len(broken) > MAX_REPORTED else ""
        raise InputError(
            f"manifest: {len(broken)} of {len(rows)} rows cannot be used: "
            f"{'; '.join(broken[:MAX_REPORTED])}{more}"
        )
    return scenes
