"""Scenes: what to generate and with which references, and files of many scenes.

One scene a line, as JSON (the format that the package writes)

    {"name": "0001", "prompt": "a dog barks, then a bell rings", "seed": 1, "seconds": 10.24,
     "references": [{"audio": "references/dog.wav", "caption": "a dog barks", "start": 0.5}],
     "target": "targets/0001.wav"}

or as CSV with a header, separated by commas, semicolons or tabs:

    prompt,seed,audio1,caption1,start1,audio2,caption2
    "a dog barks, then a bell rings",1,dog.wav,a dog barks,0.5,bell.wav,a bell rings

Only `prompt` is required. Paths are relative to the file. Fields of other names are kept in
`extra`.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Iterable

from ..errors import DreamAudioError, InputError
from ..files import atomic_write
from .reference import Reference, load_reference
from .timeline import Placement, parse_starts

SCENES = "scenes.jsonl"
"""Name of the scene file in the folder of a test set."""
MAX_SEED = 2**64 - 1
MAX_REPORTED = 10
_NOT_IN_NAMES = set('/\\:*?"<>|')

Resolve = Callable[[str, str], Path]
"""From a file name and the field that holds it to a file that exists."""


@dataclass(frozen=True)
class SceneReference:
    """A sound file with its caption.

    Parameters
    ----------
    audio
        The file; None in scenes that describe a sound otherwise, in `extra`.
    caption
        What is heard in it.
    start
        Seconds at which it sounds, once at each; None leaves that to the arranger.
    placements
        A whole timeline instead of `start`.
    gain
        Level against other references, in dB.
    strength
        Guidance scale of this reference alone.
    extra
        Further fields of the file.
    """

    audio: Path | None
    caption: str = ""
    start: tuple[float, ...] | None = None
    placements: tuple[Placement, ...] | None = None
    gain: float = 0.0
    strength: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict)

    def load(self, label: str = "reference") -> Reference:
        """The sound, prepared for the model.

        Raises
        ------
        InputError, AudioError
            If there is no file, or it cannot be used; `label` is how the message names it.
        """
        if self.audio is None:
            raise InputError(f"{label}: audio: expected a sound file, found none")
        reference = load_reference(self.audio, self.caption, self.strength, label=label)
        if self.placements is not None:
            reference = replace(reference, placements=self.placements)
        elif self.start is not None:
            reference = reference.at(self.start)
        if self.gain:
            waveform = reference.waveform * 10 ** (self.gain / 20)
            reference = replace(reference, waveform=waveform)
        return reference


@dataclass(frozen=True)
class Scene:
    """One sound to generate.

    Parameters
    ----------
    prompt
        Description of the whole sound.
    references
        Its references, in any order.
    name
        Distinguishes it from the others of its file, and names the files made from it.
    seconds
        Length; None takes the model's own.
    seed
        Random seed.
    negative_prompt
        What to avoid.
    target
        The true sound that an evaluation compares with, where there is one.
    extra
        Further fields of the file.
    """

    prompt: str
    references: tuple[SceneReference, ...] = ()
    name: str = ""
    seconds: float | None = None
    seed: int = 0
    negative_prompt: str = ""
    target: Path | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def load(self) -> tuple[Reference, ...]:
        """The references, prepared for the model."""
        prefix = f"{self.name}: " if self.name else ""
        return tuple(r.load(f"{prefix}reference {k}") for k, r in enumerate(self.references, 1))


SCENE_FIELDS = tuple(f.name for f in dataclasses.fields(Scene) if f.name != "extra")
REFERENCE_FIELDS = tuple(f.name for f in dataclasses.fields(SceneReference) if f.name != "extra")
_COLUMNS = tuple(name for name in REFERENCE_FIELDS if name != "placements")
_EXPECTED = f"prompt, seed, {', '.join(f'{name}1' for name in _COLUMNS)}, audio2, ..."


def read_scenes(path: str | Path, check_files: bool = True) -> list[Scene]:
    """Scenes of a file, in its order, or of `scenes.jsonl` in a folder.

    Parameters
    ----------
    path
        JSON lines, a JSON array, a JSON object of prompts by name, or CSV.
    check_files
        Whether the sounds must exist.

    Raises
    ------
    InputError
        If the file cannot be read; names every broken scene by its line, up to ten.
    """
    path = Path(path).expanduser()
    path = path / SCENES if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text; save it as CSV UTF-8") from error

    def resolve(name: str, label: str) -> Path:
        file = path.parent / name
        if check_files and not file.is_file():
            raise InputError(f"{label}: {file} does not exist")
        return file

    return parse_scenes(text, resolve, str(path))


def parse_scenes(text: str, resolve: Resolve, label: str = "scenes") -> list[Scene]:
    """Scenes of the text of a scene file.

    Parameters
    ----------
    text
        See `read_scenes`. A scene without a seed takes its number, counted from 0; one without a
        name that of its target, or else its number, counted from 1.
    resolve
        Finds a sound file by its name.
    label
        What errors call the text.
    """
    text = text.lstrip("\ufeff")
    rows = _rows(text, label)
    if not rows:
        raise InputError(f"{label}: no scenes; write one a line, as JSON or as CSV with a header")
    scenes: list[Scene] = []
    names: dict[str, str] = {}
    broken: list[str] = []
    for index, (line, row) in enumerate(rows):
        try:
            scene = _scene(row, index, resolve)
            if scene.name in names:
                raise InputError(f"name: {scene.name!r} is already that of {names[scene.name]}")
            names[scene.name] = line
            scenes.append(scene)
        except DreamAudioError as error:
            broken.append(f"{line}: {error}")
    if broken:
        more = f"; and {len(broken) - MAX_REPORTED} more" if len(broken) > MAX_REPORTED else ""
        raise InputError(
            f"{label}: {len(broken)} of {len(rows)} scenes cannot be used: "
            f"{'; '.join(broken[:MAX_REPORTED])}{more}"
        )
    return scenes


def write_scenes(path: str | Path, scenes: Iterable[Scene]) -> None:
    """Write scenes as JSON lines; paths within the file's folder become relative to it."""
    path = Path(path)
    lines = [json.dumps(_plain(s, path.parent), ensure_ascii=False) + "\n" for s in scenes]
    with atomic_write(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


# Rows of the three layouts


def _rows(text: str, label: str) -> list[tuple[str, Any]]:
    """(place in the file, row) of every scene; a row that cannot be read is an error object."""
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return _csv_rows(text, label) if text.strip() else []
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        if start == "[":
            raise InputError(f"{label}: not readable as a JSON array of scenes") from None
        # Split at line feeds alone: within a JSON text other separators are ordinary characters.
        lines = [(f"line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(place, _json(line)) for place, line in lines]
    if isinstance(whole, dict) and "prompt" not in whole and _all_texts(whole):
        whole = [{"name": name, "prompt": prompt} for name, prompt in whole.items()]
    rows = whole if isinstance(whole, list) else [whole]
    unit = "scene" if isinstance(whole, list) else "line"
    return [(f"{unit} {number}", row) for number, row in enumerate(rows, 1)]


def _all_texts(values: dict[str, Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values.values())


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return InputError(f"not readable JSON ({error.msg} at character {error.colno})")
    except (ValueError, RecursionError) as error:
        return InputError(f"not readable JSON ({error})")


def _csv_rows(text: str, label: str) -> list[tuple[str, Any]]:
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    table = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    header: list[str] = []
    rows: list[tuple[str, Any]] = []
    while True:
        begin = table.line_num + 1
        try:
            cells = [cell.strip() for cell in next(table)]
        except StopIteration:
            return rows
        except csv.Error as error:
            raise InputError(
                f"{label}: line {begin}: not readable CSV ({error}); a quoted text ends with a "
                "quotation mark, and one inside it is written twice"
            ) from error
        if not any(cells):
            continue
        if not header:
            header = _header(cells, label)
        else:
            rows.append((f"line {begin}", _csv_row(header, cells, delimiter)))


def _header(cells: list[str], label: str) -> list[str]:
    names = [cell.lower().replace(" ", "_") for cell in cells]
    if "prompt" not in names:
        raise InputError(
            f"{label}: expected JSON lines, or CSV whose first line names the columns {_EXPECTED}; "
            f"found the columns {', '.join(cells)}"
        )
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise InputError(f"{label}: the column {twice!r} occurs twice; give each its own name")
    return names


def _csv_row(header: list[str], cells: list[str], delimiter: str) -> Any:
    if any(cells[len(header) :]):
        return InputError(
            f"{len(cells)} cells, but the header names {len(header)} columns; put a text that "
            f'holds {delimiter!r} in quotation marks: "a dog barks{delimiter} then a crow caws"'
        )
    row: dict[str, Any] = {}
    references: dict[int, dict[str, Any]] = {}
    for name, cell in zip(header, cells):
        match = re.fullmatch(r"([a-z_]+?)_?([1-9][0-9]?)?", name)
        column, number = (match[1], match[2]) if match else (name, None)
        if not cell or not name:
            continue
        if column in _COLUMNS or number and difflib.get_close_matches(column, _COLUMNS, 1, 0.8):
            references.setdefault(int(number or 1), {})[column] = _decimal(column, cell, delimiter)
        else:
            row[name] = _decimal(name, cell, delimiter)
    return {**row, "references": [references[k] for k in sorted(references)]}


def _decimal(name: str, cell: str, delimiter: str) -> str:
    """Where semicolons separate cells, commas are the decimal signs of numbers."""
    if delimiter == ";" and name in ("seconds", "gain", "strength"):
        return cell.replace(",", ".")
    return cell


# Fields


def _scene(row: Any, index: int, resolve: Resolve) -> Scene:
    if isinstance(row, InputError):
        raise row
    if not isinstance(row, dict):
        raise _unexpected("a JSON object", row)
    extra = _extra(row, SCENE_FIELDS, "")
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _unexpected("a text", prompt, "prompt")
    listed = row.get("references") or []
    if not isinstance(listed, list):
        raise _unexpected("a list", listed, "references")
    target = row.get("target")
    if target is not None:
        target = _file(target, "target", resolve)
    name = row.get("name") or (target.stem if target else f"{index + 1:05d}")
    return Scene(
        prompt.strip(),
        tuple(_reference(r, f"reference {k}", resolve) for k, r in enumerate(listed, 1)),
        _file_name(name),
        None if row.get("seconds") is None else _number(row["seconds"], "seconds"),
        _seed(row.get("seed"), index),
        _text(row.get("negative_prompt"), "negative_prompt"),
        target,
        extra,
    )


def _reference(row: Any, label: str, resolve: Resolve) -> SceneReference:
    if not isinstance(row, dict):
        raise _unexpected("an object with audio and caption", row, label)
    extra = _extra(row, REFERENCE_FIELDS, f"{label}: ")
    audio = row.get("audio")
    if audio is not None or not extra:
        audio = _file(audio, f"{label}: audio", resolve)
    placements = row.get("placements")
    return SceneReference(
        audio,
        _text(row.get("caption"), f"{label}: caption"),
        _starts(row.get("start"), f"{label}: start"),
        None if placements is None else _placements(placements, f"{label}: placements"),
        _number(row.get("gain", 0.0), f"{label}: gain", -60.0, 60.0),
        _number(row.get("strength", 1.0), f"{label}: strength", 0.0, 10.0),
        extra,
    )


def _extra(row: dict[str, Any], known: tuple[str, ...], prefix: str) -> dict[str, Any]:
    """Fields of other names; one that looks like a known name misspelt is an error."""
    extra = {name: value for name, value in row.items() if name not in known}
    for name in extra:
        close = difflib.get_close_matches(name.lower(), known, 1, 0.8)
        if close:
            raise InputError(f"{prefix}unknown field {name!r}; write {close[0]!r}")
    return extra


def _unexpected(expected: str, found: Any, label: str = "") -> InputError:
    shown = repr(found)
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    return InputError(f"{label}{': ' if label else ''}expected {expected}, found {shown}")


def _text(value: Any, label: str) -> str:
    if value is not None and not isinstance(value, str):
        raise _unexpected("a text", value, label)
    return value or ""


def _number(value: Any, label: str, low: float = 0.0, high: float = math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high or number == math.inf:
        limits = f"from {low:g} to {high:g}" if high < math.inf else f"from {low:g}"
        raise _unexpected(f"a number {limits}", value, label)
    return number


def _seed(value: Any, default: int) -> int:
    if value is None:
        return default
    try:
        # Spreadsheets write whole numbers as 1.0.
        seed = int(value.removesuffix(".0")) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        seed = -1
    whole = not isinstance(value, float) or value.is_integer()
    if isinstance(value, bool) or not whole or not 0 <= seed <= MAX_SEED:
        raise _unexpected("a whole number from 0 to 2**64 - 1", value, "seed")
    return seed


def _starts(value: Any, label: str) -> tuple[float, ...] | None:
    if isinstance(value, str):
        if re.fullmatch(r"\d+,\d+", value.strip()):
            raise InputError(
                f"{label}: {value!r} is ambiguous; write a decimal with a point as in '0.5', and "
                "several starts with a space after the comma as in '0, 5'"
            )
        return parse_starts(value, label)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    return tuple(sorted(_number(entry, label) for entry in values))


def _placements(value: Any, label: str) -> tuple[Placement, ...]:
    known = {f.name for f in dataclasses.fields(Placement)}
    places = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict) or not {"start", "duration"} <= set(entry) <= known:
            raise _unexpected("a list of objects with start and duration in seconds", value, label)
        for name in ("start", "duration"):
            _number(entry[name], f"{label}: {name}")
        places.append(Placement(**entry))
    return tuple(places)


def _file(value: Any, label: str, resolve: Resolve) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _unexpected("the path of a sound file", value, label)
    return resolve(value, label)


def _file_name(name: Any) -> str:
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 200
        or not name.isprintable()
        or _NOT_IN_NAMES & set(name)
        or name.startswith(".")
        or name != name.strip()
    ):
        raise _unexpected("a plain file name without suffix", name, "name")
    return name


# Writing


def _plain(scene: Scene, folder: Path) -> dict[str, Any]:
    """JSON-ready values of a scene, without those that are the defaults."""
    values = _changed(scene, folder)
    if scene.references:
        values["references"] = [_changed(reference, folder) for reference in scene.references]
    return values


def _changed(value: Scene | SceneReference, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in dataclasses.fields(value):
        given = getattr(value, f.name)
        if f.name in ("extra", "references") or given is None or given == f.default:
            continue
        if f.name == "placements":
            given = [dataclasses.asdict(place) for place in given]
        elif isinstance(given, Path):
            inside = given.is_relative_to(folder)
            given = (given.relative_to(folder) if inside else given).as_posix()
        found[f.name] = given
    return {**found, **value.extra}
