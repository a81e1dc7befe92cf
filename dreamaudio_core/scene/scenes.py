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

import contextlib
import dataclasses
import difflib
import json
import math
import re
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from ..config import MAX_SEED
from ..errors import DreamAudioError, InputError
from ..file_names import name_problem
from ..files import atomic_write
from .reference import GAIN_RANGE, MAX_STRENGTH, Reference, chosen_part, load_reference
from .rows import Columns, read_rows
from .timeline import MISSING_CHOICES, Placement, parse_placement, parse_starts

SCENES = "scenes.jsonl"
"""Name of the scene file in the folder of a test set."""
MAX_REPORTED = 10
MAX_NAME = 200
"""Bytes of a name; file systems allow 255 with a suffix."""
MAX_GUIDANCE = 30.0
LENGTHS = (0.001, 3600.0)

Resolve = Callable[[str, str], Path]
"""From a file name and the field that holds it to a file that exists."""


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


class _FieldError(InputError):
    """A value that does not fit its field."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


@dataclass(frozen=True)
class SceneReference:
    """A reference of a scene: a sound file with its caption, or what stands for the file.

    Parameters
    ----------
    audio
        The file; None where `label` or `seconds` stands for it.
    caption
        What it sounds like.
    start
        Seconds at which it sounds, once at each; None leaves that to the arranger.
    placements
        A whole timeline instead of `start`.
    gain
        Level in the result against the file, in dB.
    strength
        Guidance scale of this reference alone.
    label
        Label of a sound bank, of which any recording will do.
    seconds
        Length of the sound, all that an arranger knows of it.
    name
        What it is called, such as the name of the file.
    begin, end
        Seconds of the file from and up to which it is used, instead of without the silence around
        it; None is the end of the file.
    extra
        Further fields of the file.
    """

    audio: Path | None
    caption: str = ""
    start: tuple[float, ...] | None = None
    placements: tuple[Placement, ...] | None = None
    gain: float = 0.0
    strength: float = 1.0
    label: str = ""
    seconds: float | None = None
    name: str = ""
    begin: float = 0.0
    end: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def file(self, label: str = "reference") -> Path:
        """The sound file; an InputError where a label or a length stands for it."""
        if self.audio is None:
            raise InputError(f"{label}: audio: expected a sound file, found none")
        return self.audio

    def load(self, label: str = "reference") -> Reference:
        """The sound, prepared for the model.

        Raises
        ------
        InputError, AudioError
            If there is no file, or it cannot be used; `label` is how the message names it.
        """
        reference = load_reference(
            self.file(label),
            self.caption,
            self.strength,
            label=label,
            gain=self.gain,
            part=chosen_part(self.begin, self.end),
        )
        if self.placements is not None:
            reference = replace(reference, placements=self.placements)
        elif self.start is not None:
            reference = reference.at(self.start)
        return replace(reference, name=self.name) if self.name else reference


@dataclass(frozen=True)
class Scene:
    """One sound to generate; what is None is the model's own.

    Parameters
    ----------
    prompt
        Description of the whole sound; may be empty where references say it all.
    references
        Its references, in any order.
    name
        Distinguishes it from the others of its file, and names the files made from it.
    seconds
        Length.
    seed
        Random seed.
    negative_prompt
        What to avoid.
    missing
        What becomes of parts of the prompt without a reference: `auto`, `generate`, `silence` or
        `library`.
    free
        Whether the network places the references, as in the paper.
    steps, solver, guidance, reference_guidance, shift, detail, sample_rate, variation
        See `DreamAudio.generate`.
    target
        The true sound that an evaluation compares with, where there is one.
    expected
        What an evaluation expects of the timeline, see `evaluation.timelines`.
    extra
        Further fields of the file.
    """

    prompt: str
    references: tuple[SceneReference, ...] = ()
    name: str = ""
    seconds: float | None = None
    seed: int = 0
    negative_prompt: str = ""
    missing: str = "auto"
    free: bool = False
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    shift: float | None = None
    detail: float | None = None
    sample_rate: str = "auto"
    variation: float = 0.0
    target: Path | None = None
    expected: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def load(self) -> tuple[Reference, ...]:
        """The references, prepared for the model."""
        prefix = f"{self.name}: " if self.name else ""
        return tuple(r.load(f"{prefix}reference {k}") for k, r in enumerate(self.references, 1))

    def settings(self) -> dict[str, Any]:
        """Fields apart from prompt and references that the scene sets, and does not leave to the
        model; always its seed.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        names = ("seconds", "negative_prompt", *SETTINGS)
        given = {name: getattr(self, name) for name in names}
        return {"seed": self.seed, **{n: v for n, v in given.items() if v != defaults[n]}}

    def arguments(self) -> dict[str, Any]:
        """Keywords of `DreamAudio.generate`, with the references loaded."""
        given = {name: getattr(self, name) for name in (*_PLAIN, *SETTINGS)}
        return {**given, "references": self.load(), "seeds": (self.seed,)}


_PLAIN = ("prompt", "seconds", "negative_prompt")
SETTINGS: tuple[str, ...] = (
    "missing",
    "free",
    "steps",
    "solver",
    "guidance",
    "reference_guidance",
    "shift",
)
SETTINGS += ("detail", "sample_rate", "variation")
"""Fields of a scene that are settings of `DreamAudio.generate`."""
SCENE_FIELDS = tuple(f.name for f in dataclasses.fields(Scene) if f.name != "extra")
REFERENCE_FIELDS = tuple(f.name for f in dataclasses.fields(SceneReference) if f.name != "extra")
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
                raise _FieldError("name", f"{scene.name!r} is already that of {names[key]}")
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


# Fields


def _scene(row: Any, index: int, resolve: Resolve) -> Scene:
    if isinstance(row, InputError):
        raise row
    if not isinstance(row, dict):
        raise _unexpected("a JSON object", row)
    extra = _extra(row, SCENE_FIELDS, "")
    listed = row.get("references") or []
    if not isinstance(listed, list):
        raise _unexpected("a list", listed, "references")
    prompt = _text(row.get("prompt"), "prompt").strip()
    if not prompt and not (listed and "prompt" in row):
        raise _unexpected("a text", row.get("prompt"), "prompt")
    target = row.get("target")
    if target is not None:
        target = _file(target, "target", resolve)
    name = row.get("name") or (target.stem if target else f"{index + 1:05d}")
    return Scene(
        prompt,
        tuple(_reference(r, f"reference {k}", resolve) for k, r in enumerate(listed, 1)),
        _file_name(name),
        None if row.get("seconds") is None else _number(row["seconds"], "seconds", *LENGTHS),
        _seed(row.get("seed"), index),
        _text(row.get("negative_prompt"), "negative_prompt"),
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
            given[name] = _number(value, name, *_RANGES[name])
    if "steps" in given:
        given["steps"] = _whole(given["steps"], "steps", 1, 1000)
    if "free" in given:
        given["free"] = _flag(given["free"], "free")
    if "missing" in given and given["missing"] not in MISSING_CHOICES:
        raise _unexpected(f"one of {', '.join(MISSING_CHOICES)}", given["missing"], "missing")
    if "solver" in given:
        given["solver"] = _text(given["solver"], "solver")
    if given.get("sample_rate", "auto") != "auto":
        given["sample_rate"] = str(_whole(given["sample_rate"], "sample_rate", 1, 10**6))
    return given


def _expected(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise _unexpected("a JSON object", value, "expected")
    return value


def _reference(row: Any, label: str, resolve: Resolve) -> SceneReference:
    if not isinstance(row, dict):
        raise _unexpected("an object with audio and caption", row, label)
    extra = _extra(row, REFERENCE_FIELDS, f"{label}: ")
    audio = row.get("audio")
    if audio is not None or not (extra or row.get("label") or row.get("seconds")):
        audio = _file(audio, f"{label}: audio", resolve)
    placements = row.get("placements")
    return SceneReference(
        audio,
        _text(row.get("caption"), f"{label}: caption"),
        _starts(row.get("start"), f"{label}: start"),
        None if placements is None else _placements(placements, f"{label}: placements"),
        _number(row.get("gain", 0.0), f"{label}: gain", *GAIN_RANGE),
        _number(row.get("strength", 1.0), f"{label}: strength", 0.0, MAX_STRENGTH),
        _text(row.get("label"), f"{label}: label"),
        None
        if row.get("seconds") is None
        else _number(row["seconds"], f"{label}: seconds", *LENGTHS),
        _text(row.get("name"), f"{label}: name"),
        *_part(row, label),
        extra,
    )


def _part(row: dict[str, Any], label: str) -> tuple[float, float | None]:
    """Begin and end in seconds of what is used of a file; an end of 0 is that of the file."""
    begin, end = (
        _number(row.get(name) or 0.0, f"{label}: {name}", 0.0, LENGTHS[1])
        for name in ("begin", "end")
    )
    if end and end <= begin:
        raise _unexpected(f"seconds after begin, which is {begin:g}", end, f"{label}: end")
    return begin, end or None


def _extra(row: dict[str, Any], known: tuple[str, ...], prefix: str) -> dict[str, Any]:
    """Fields of other names; one that looks like a known name misspelt is an error."""
    extra = {name: value for name, value in row.items() if name not in known}
    for name in extra:
        close = difflib.get_close_matches(name.lower(), known, 1, 0.8)
        if close:
            raise _FieldError("", f"{prefix}unknown field {name!r}; write {close[0]!r}")
    return extra


def _unexpected(expected: str, found: Any, label: str = "") -> _FieldError:
    shown = repr(found)
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    return _FieldError(label, f"expected {expected}, found {shown}")


def _text(value: Any, label: str) -> str:
    # JSON can hold halves of characters, which no file can.
    if value is not None and (not isinstance(value, str) or re.search("[\ud800-\udfff]", value)):
        raise _unexpected("a text", value, label)
    return value or ""


def _number(value: Any, label: str, low: float = 0.0, high: float = math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or number == math.inf:
        limits = f"from {low:g} to {high:g}" if high < math.inf else f"from {low:g}"
        raise _unexpected(f"a number {limits}", value, label)
    return number


def _whole(value: Any, label: str, low: int, high: int) -> int:
    try:
        # Spreadsheets write whole numbers as 1.0.
        number = int(value.removesuffix(".0")) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        number = low - 1
    fraction = isinstance(value, float) and not value.is_integer()
    if isinstance(value, bool) or fraction or not low <= number <= high:
        top = "2**64 - 1" if high == MAX_SEED else high
        raise _unexpected(f"a whole number from {low} to {top}", value, label)
    return number


def _seed(value: Any, default: int) -> int:
    return default if value is None else _whole(value, "seed", 0, MAX_SEED)


def _flag(value: Any, label: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in known:
        raise _unexpected("true or false", value, label)
    return known[str(value).lower()]


def _starts(value: Any, label: str) -> tuple[float, ...] | None:
    if isinstance(value, str):
        if re.fullmatch(r"\d+,\d+", value.strip()):
            raise _FieldError(
                label,
                f"{value!r} is ambiguous; write a decimal with a point as in '0.5', and several "
                "starts with a space after the comma as in '0, 5'",
            )
        with _named(label):
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
        with _named(label):
            places.append(parse_placement(entry, label))
    return tuple(places)


def _file(value: Any, label: str, resolve: Resolve) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _unexpected("the path of a sound file", value, label)
    with _named(label):
        return resolve(value, label)


@contextlib.contextmanager
def _named(label: str) -> Iterator[None]:
    """Errors of others' checks get the field they are about."""
    try:
        yield
    except DreamAudioError as error:
        text = str(error)
        wrong = _FieldError("" if text.startswith(label) else label, text)
        wrong.field = label
        raise wrong from error


def _file_name(name: Any) -> str:
    if (
        not isinstance(name, str)
        or name_problem(name)
        or len(name.encode()) > MAX_NAME
        or name.startswith(".")
    ):
        raise _unexpected("a plain file name without suffix", name, "name")
    return name


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
