"""Scenes: what to generate and with which references, and files of many scenes.

One scene a line, as JSON (the format that the package writes)

    {"name": "0001", "prompt": "a dog barks, then a bell rings", "seed": 1, "seconds": 10.24,
     "references": [{"audio": "references/dog.wav", "caption": "a dog barks", "start": 0.5}],
     "target": "targets/0001.wav"}

or as CSV with a header, separated by commas, semicolons or tabs:

    prompt,seed,audio1,caption1,start1,audio2,caption2
    "a dog barks, then a bell rings",1,dog.wav,a dog barks,0.5,bell.wav,a bell rings

Only `prompt` is required; it may be empty where there are references. Paths are relative to the
file. Settings of `DreamAudio.generate`, such as `steps` and `guidance`, are fields of a scene too.
Fields of other names are kept in `extra`. docs/batch.md lists all fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from ..config import MAX_SEED
from ..errors import DreamAudioError, InputError
from ..files import atomic_write
from . import fields
from .fields import FieldError, Resolve, unexpected
from .reference import GAIN_RANGE, MAX_STRENGTH
from .rows import Columns, read_rows
from .scenes import REFERENCE_FIELDS, SCENE_FIELDS, SETTINGS, Scene, SceneReference
from .timeline import MISSING_CHOICES

SCENES = "scenes.jsonl"
"""Name of the scene file in the folder of a test set."""
MAX_REPORTED = 10
MAX_GUIDANCE = 30.0
LENGTHS = (0.001, 3600.0)
# Smallest and largest value of settings that are one number.
_RANGES = {
    "guidance": (0.0, MAX_GUIDANCE),
    "reference_guidance": (0.0, MAX_GUIDANCE),
    "shift": (0.0, math.inf),
    "detail": (0.0, 1.0),
    "variation": (0.0, 1.0),
}
_COLUMNS = Columns(
    SCENE_FIELDS,
    tuple(name for name in REFERENCE_FIELDS if name != "placements"),
    ("seconds", "gain", "strength", "begin", "end", *_RANGES),
)


@dataclass(frozen=True)
class SceneProblem:
    """Why a scene of a file cannot be used.

    Parameters
    ----------
    place
        Where in the file, such as `line 3`.
    field
        Its field, such as `reference 1: gain`; empty where none is to blame.
    message
        What was expected and found; begins with the field.
    """

    place: str
    field: str
    message: str


class SceneFileError(InputError):
    """Scenes of a file that cannot be used; `file` and `problems` name each."""

    def __init__(self, file: str, problems: list[SceneProblem], count: int):
        shown = [f"{problem.place}: {problem.message}" for problem in problems[:MAX_REPORTED]]
        more = len(problems) - len(shown)
        super().__init__(
            f"{file}: {len(problems)} of {count} scenes cannot be used: {'; '.join(shown)}"
            + (f"; and {more} more" if more else "")
        )
        self.file, self.problems = file, tuple(problems)


def read_scenes(path: str | Path) -> list[Scene]:
    """Scenes of a file, in its order, or of `scenes.jsonl` in a folder.

    Parameters
    ----------
    path
        JSON lines, a JSON array, a JSON object of prompts by name, or CSV.

    Raises
    ------
    InputError
        If the file cannot be read.
    SceneFileError
        If scenes are broken; `problems` has the place, the field and the fault of each, the message
        the first ten.
    """
    path = Path(path).expanduser()
    path = path / SCENES if path.is_dir() else path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    text = decode_scenes(data, str(path))

    def resolve(name: str, label: str) -> Path:
        file = path.parent / name
        if not file.is_file():
            raise InputError(f"{label}: {file} does not exist")
        return file

    return parse_scenes(text, resolve, str(path))


def decode_scenes(data: bytes, label: str = "scenes") -> str:
    """Text of a scene file.

    Raises
    ------
    InputError
        If it is neither UTF-8 nor UTF-16 with a mark of its byte order, Excel's "Unicode text".
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{label}: expected UTF-8 text; save it as CSV UTF-8") from error


def parse_scenes(text: str, resolve: Resolve, label: str = "scenes") -> list[Scene]:
    """Scenes of the text of a scene file.

    Parameters
    ----------
    text
        See `read_scenes`. A scene without a seed takes its number, counted from 0; one without a
        name that of its target, or else its number, counted from 1. Names differ by more than
        capitals, which some file systems do not tell apart.
    resolve
        Finds a sound file by its name.
    label
        What errors call the text.
    """
    text = text.lstrip("\ufeff")
    rows = read_rows(text, label, _COLUMNS)
    if not rows:
        raise InputError(f"{label}: no scenes; write one a line, as JSON or as CSV with a header")
    scenes: list[Scene] = []
    names: dict[str, str] = {}
    broken: list[SceneProblem] = []
    for index, (line, row) in enumerate(rows):
        try:
            scene = _scene(row, index, resolve)
            key = unicodedata.normalize("NFC", scene.name).casefold()
            if key in names:
                raise FieldError("name", f"{scene.name!r} is already that of {names[key]}")
            names[key] = line
            scenes.append(scene)
        except DreamAudioError as error:
            broken.append(SceneProblem(line, getattr(error, "field", ""), str(error)))
    if broken:
        raise SceneFileError(label, broken, len(rows))
    return scenes


def write_scenes(path: str | Path, scenes: Iterable[Scene]) -> None:
    """Write scenes as JSON lines; paths within the file's folder become relative to it."""
    path = Path(path)
    lines = [json.dumps(to_row(s, path.parent), ensure_ascii=False) + "\n" for s in scenes]
    with atomic_write(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def _scene(row: Any, index: int, resolve: Resolve) -> Scene:
    if isinstance(row, InputError):
        raise row
    if not isinstance(row, dict):
        raise unexpected("a JSON object", row)
    extra = _extra(row, SCENE_FIELDS, "")
    listed = row.get("references") or []
    if not isinstance(listed, list):
        raise unexpected("a list", listed, "references")
    prompt = fields.text(row.get("prompt"), "prompt").strip()
    if not prompt and not (listed and "prompt" in row):
        raise unexpected("a text", row.get("prompt"), "prompt")
    target = row.get("target")
    if target is not None:
        target = fields.file(target, "target", resolve)
    name = row.get("name") or (target.stem if target else f"{index + 1:05d}")
    return Scene(
        prompt,
        tuple(_reference(r, f"reference {k}", resolve) for k, r in enumerate(listed, 1)),
        fields.file_name(name),
        None if row.get("seconds") is None else fields.number(row["seconds"], "seconds", *LENGTHS),
        index if row.get("seed") is None else fields.whole(row["seed"], "seed", 0, MAX_SEED),
        fields.text(row.get("negative_prompt"), "negative_prompt"),
        **_settings(row),
        target=target,
        expected=_expected(row.get("expected")),
        extra=extra,
    )


def _settings(row: dict[str, Any]) -> dict[str, Any]:
    """Settings that a row gives."""
    given = {name: row[name] for name in SETTINGS if row.get(name) is not None}
    for name, value in given.items():
        if name in _RANGES:
            given[name] = fields.number(value, name, *_RANGES[name])
    if "steps" in given:
        given["steps"] = fields.whole(given["steps"], "steps", 1, 1000)
    if "free" in given:
        given["free"] = fields.flag(given["free"], "free")
    if "missing" in given and given["missing"] not in MISSING_CHOICES:
        raise unexpected(f"one of {', '.join(MISSING_CHOICES)}", given["missing"], "missing")
    if "solver" in given:
        given["solver"] = fields.text(given["solver"], "solver")
    if given.get("sample_rate", "auto") != "auto":
        given["sample_rate"] = str(fields.whole(given["sample_rate"], "sample_rate", 1, 10**6))
    return given


def _expected(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise unexpected("a JSON object", value, "expected")
    return value


def _reference(row: Any, label: str, resolve: Resolve) -> SceneReference:
    if not isinstance(row, dict):
        raise unexpected("an object with audio and caption", row, label)
    extra = _extra(row, REFERENCE_FIELDS, f"{label}: ")
    audio = row.get("audio")
    if audio is not None or not (extra or row.get("label") or row.get("seconds")):
        audio = fields.file(audio, f"{label}: audio", resolve)
    placements = row.get("placements")
    return SceneReference(
        audio,
        fields.text(row.get("caption"), f"{label}: caption"),
        fields.starts(row.get("start"), f"{label}: start"),
        None if placements is None else fields.placements(placements, f"{label}: placements"),
        fields.number(row.get("gain", 0.0), f"{label}: gain", *GAIN_RANGE),
        fields.number(row.get("strength", 1.0), f"{label}: strength", 0.0, MAX_STRENGTH),
        fields.text(row.get("label"), f"{label}: label"),
        None
        if row.get("seconds") is None
        else fields.number(row["seconds"], f"{label}: seconds", *LENGTHS),
        fields.text(row.get("name"), f"{label}: name"),
        *_part(row, label),
        extra,
    )


def _part(row: dict[str, Any], label: str) -> tuple[float, float | None]:
    """Begin and end in seconds of what is used of a file; an end of 0 is that of the file."""
    begin, end = (
        fields.number(row.get(name) or 0.0, f"{label}: {name}", 0.0, LENGTHS[1])
        for name in ("begin", "end")
    )
    if end and end <= begin:
        raise unexpected(f"seconds after begin, which is {begin:g}", end, f"{label}: end")
    return begin, end or None


def _extra(row: dict[str, Any], known: tuple[str, ...], prefix: str) -> dict[str, Any]:
    """Fields of other names; one that looks like a known name misspelt is an error."""
    extra = {name: value for name, value in row.items() if name not in known}
    for name in extra:
        close = difflib.get_close_matches(name.lower(), known, 1, 0.8)
        if close:
            raise FieldError("", f"{prefix}unknown field {name!r}; write {close[0]!r}")
    return extra


# Writing


def to_row(scene: Scene, folder: Path) -> dict[str, Any]:
    """JSON-ready values of a scene, without those that are the defaults; paths within `folder`
    become relative to it.
    """
    values = _changed(scene, folder)
    if scene.references:
        values["references"] = [_changed(reference, folder) for reference in scene.references]
    return values


def _changed(value: Scene | SceneReference, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in dataclasses.fields(value):
        given = getattr(value, f.name)
        if f.name in ("extra", "references") or given is None:
            continue
        # A scene without a seed gets one by its place in the file, so that 0 has to be written.
        if given == f.default and f.name != "seed":
            continue
        if f.name == "placements":
            given = [dataclasses.asdict(place) for place in given]
        elif isinstance(given, Path):
            inside = given.is_relative_to(folder)
            given = (given.relative_to(folder) if inside else given).as_posix()
        found[f.name] = given
    return {**found, **value.extra}
