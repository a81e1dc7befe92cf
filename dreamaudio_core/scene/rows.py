"""Rows of scene files: JSON lines, a JSON array, prompts by name, or a table with a header."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..json_text import parse_json

_SEPARATOR = re.compile(r"sep=([,;\t])\s*(?:\r?\n|$)", re.IGNORECASE)
"""What Excel writes, and reads, as the first line of a table."""


@dataclass(frozen=True)
class Columns:
    """Names that a table may have.

    Parameters
    ----------
    scene, reference
        Fields of a scene and, numbered as in `audio2`, of its references.
    decimals
        Those that hold one number, whose decimal sign may be a comma.
    """

    scene: tuple[str, ...]
    reference: tuple[str, ...]
    decimals: tuple[str, ...]

    @property
    def expected(self) -> str:
        """What error messages show."""
        return f"prompt, seed, {', '.join(f'{name}1' for name in self.reference)}, audio2, ..."


def read_rows(text: str, label: str, columns: Columns) -> list[tuple[str, Any]]:
    """(place in the file, row) of every scene; a row that cannot be read is an error object."""
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return _csv_rows(text, label, columns) if text.strip() else []
    try:
        whole = parse_json(text)
    except ValueError:
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
        return parse_json(line)
    except json.JSONDecodeError as error:
        return InputError(f"not readable JSON ({error.msg} at character {error.colno})")
    except ValueError as error:
        return InputError(f"not readable JSON ({error})")


def _csv_rows(text: str, label: str, columns: Columns) -> list[tuple[str, Any]]:
    told = _SEPARATOR.match(text)
    # Blanked rather than cut off, so that lines keep their numbers.
    text = "\n" + text[told.end() :] if told else text
    first = text.lstrip().split("\n", 1)[0]
    delimiter = told[1] if told else max(",;\t", key=first.count)
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
            header = _header(cells, label, columns)
        else:
            rows.append((f"line {begin}", _csv_row(header, cells, delimiter, columns)))


def _header(cells: list[str], label: str, columns: Columns) -> list[str]:
    names = [cell.lower().replace(" ", "_") for cell in cells]
    if "prompt" not in names:
        raise InputError(
            f"{label}: expected JSON lines, or CSV whose first line names the columns "
            f"{columns.expected}; found the columns {', '.join(cells)}"
        )
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise InputError(f"{label}: the column {twice!r} occurs twice; give each its own name")
    return names


def _csv_row(header: list[str], cells: list[str], delimiter: str, columns: Columns) -> Any:
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
        if delimiter != "," and column in columns.decimals:
            cell = cell.replace(",", ".")
        known = column in columns.reference and (number or column not in columns.scene)
        if known or number and difflib.get_close_matches(column, columns.reference, 1, 0.8):
            references.setdefault(int(number or 1), {})[column] = cell
        else:
            row[name] = cell
    return {**row, "references": [references[k] for k in sorted(references)]}
