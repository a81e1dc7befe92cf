"""Test sets on disk: prompts with their references and targets.

A test set is a folder with `items.jsonl`, one JSON object a line:

    {"id": "0001", "prompt": "a dog barks, then a bell rings",
     "references": [{"path": "references/dog.wav", "caption": "a dog barks"}], "target":
     "targets/0001.wav"}

`prompt` is required. `id` names the item's files and is the target's stem, or else the number of
the line, where it is left out. `references` may be empty and `target` null (Customized-Fantasy has
none). Paths are relative to the folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

ITEMS = "items.jsonl"
_FIELDS = {"id", "prompt", "references", "target"}
_NOT_IN_NAMES = set('/\\:*?"<>|')


@dataclass(frozen=True)
class ItemReference:
    """A reference concept of an item: its sound file and caption."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Item:
    """One item of a test set; `target` is None where there is none."""

    id: str
    prompt: str
    references: tuple[ItemReference, ...]
    target: Path | None


def read_items(folder: str | Path) -> list[Item]:
    """Items of a test-set folder, in the file's order.

    Raises
    ------
    InputError
        Names the line and field that does not fit, or the file that is missing.
    """
    folder = Path(folder).expanduser()
    items: list[Item] = []
    seen: dict[str, int] = {}
    for number, values in _lines(folder / ITEMS):
        where = f"{folder / ITEMS}: line {number}"
        item = _item(values, folder, number, where)
        if item.id in seen:
            raise InputError(
                f"{where}: the id {item.id!r} is already that of line {seen[item.id]}; give each item its own"
            )
        seen[item.id] = number
        items.append(item)
    if not items:
        raise InputError(f"{folder / ITEMS}: holds no items")
    return items


def read_prompts(path: str | Path) -> dict[str, str]:
    """Prompts by stem, from a JSON object `{stem: prompt}`, from `items.jsonl`, or from a test-set
    folder.

    Raises
    ------
    InputError
        If the file is missing, empty or of another form.
    """
    path = Path(path).expanduser()
    if path.is_dir() or path.suffix == ".jsonl":
        file = path / ITEMS if path.is_dir() else path
        items = [
            _item(values, file.parent, number, f"{file}: line {number}", check_files=False)
            for number, values in _lines(file)
        ]
        prompts = {item.id: item.prompt for item in items}
    else:
        try:
            prompts = json.loads(_text(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
    if (
        not isinstance(prompts, dict)
        or not prompts
        or not all(isinstance(p, str) for p in prompts.values())
    ):
        raise InputError(
            f"{path}: expected a JSON object of prompts by stem, or the lines of an items.jsonl"
        )
    return prompts


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read ({reason})") from error


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: line {number}: not readable JSON ({error})") from error
        if not isinstance(values, dict):
            raise InputError(
                f"{path}: line {number}: expected a JSON object, found {type(values).__name__}"
            )
        found.append((number, values))
    return found


def _item(
    values: dict[str, Any], folder: Path, number: int, where: str, check_files: bool = True
) -> Item:
    unknown = sorted(set(values) - _FIELDS)
    if unknown:
        raise InputError(
            f"{where}: unknown field {unknown[0]!r}; known fields are {', '.join(sorted(_FIELDS))}"
        )
    prompt = values.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"{where}: prompt: expected a text, found {prompt!r}")
    target = values.get("target")
    if target is not None:
        target = _file(target, folder, f"{where}: target", check_files)
    name = values.get("id", target.stem if target else f"{number:05d}")
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 200
        or not name.isprintable()
        or _NOT_IN_NAMES & set(name)
        or name.startswith(".")
        or name != name.strip()
    ):
        raise InputError(f"{where}: id: expected a plain file name without suffix, found {name!r}")
    listed = values.get("references") or []
    if not isinstance(listed, list):
        raise InputError(f"{where}: references: expected a list, found {type(listed).__name__}")
    references = []
    for index, reference in enumerate(listed, 1):
        what = f"{where}: reference {index}"
        if not isinstance(reference, dict) or set(reference) - {"path", "caption"}:
            raise InputError(
                f"{what}: expected an object with path and caption, found {reference!r}"
            )
        caption = reference.get("caption", "")
        if not isinstance(caption, str):
            raise InputError(f"{what}: caption: expected a text, found {caption!r}")
        references.append(
            ItemReference(
                _file(reference.get("path"), folder, f"{what}: path", check_files), caption
            )
        )
    return Item(name, prompt, tuple(references), target)


def _file(value: Any, folder: Path, what: str, check: bool) -> Path:
    if not isinstance(value, str) or not value:
        raise InputError(f"{what}: expected the path of a sound file, found {value!r}")
    path = folder / value
    if check and not path.is_file():
        raise InputError(f"{what}: {path} does not exist")
    return path
