"""Checking the fields of a scene: from what a file holds to values, or an error that names the
field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from pathlib import Path
from typing import Any, Callable, Iterator

from ..config import MAX_SEED
from ..errors import DreamAudioError, InputError
from ..file_names import name_problem
from .timeline import Placement, parse_placement, parse_starts

MAX_NAME = 200
"""Bytes of a name; file systems allow 255 with a suffix."""

Resolve = Callable[[str, str], Path]
"""From a file name and the field that holds it to a file that exists."""


class FieldError(InputError):
    """A value that does not fit its field."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


def unexpected(expected: str, found: Any, label: str = "") -> FieldError:
    shown = repr(found)
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    return FieldError(label, f"expected {expected}, found {shown}")


def text(value: Any, label: str) -> str:
    # JSON can hold halves of characters, which no file can.
    if value is not None and (not isinstance(value, str) or re.search("[\ud800-\udfff]", value)):
        raise unexpected("a text", value, label)
    return value or ""


def number(value: Any, label: str, low: float = 0.0, high: float = math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or number == math.inf:
        limits = f"from {low:g} to {high:g}" if high < math.inf else f"from {low:g}"
        raise unexpected(f"a number {limits}", value, label)
    return number


def whole(value: Any, label: str, low: int, high: int) -> int:
    try:
        # Spreadsheets write whole numbers as 1.0.
        number = int(value.removesuffix(".0")) if isinstance(value, str) else int(value)
    except (TypeError, ValueError, OverflowError):
        number = low - 1
    fraction = isinstance(value, float) and not value.is_integer()
    if isinstance(value, bool) or fraction or not low <= number <= high:
        top = "2**64 - 1" if high == MAX_SEED else high
        raise unexpected(f"a whole number from {low} to {top}", value, label)
    return number


def flag(value: Any, label: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in known:
        raise unexpected("true or false", value, label)
    return known[str(value).lower()]


def starts(value: Any, label: str) -> tuple[float, ...] | None:
    if isinstance(value, str):
        if re.fullmatch(r"\d+,\d+", value.strip()):
            raise FieldError(
                label,
                f"{value!r} is ambiguous; write a decimal with a point as in '0.5', and several "
                "starts with a space after the comma as in '0, 5'",
            )
        with named(label):
            return parse_starts(value, label)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    return tuple(sorted(number(entry, label) for entry in values))


def placements(value: Any, label: str) -> tuple[Placement, ...]:
    known = {f.name for f in dataclasses.fields(Placement)}
    places = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict) or not {"start", "duration"} <= set(entry) <= known:
            raise unexpected("a list of objects with start and duration in seconds", value, label)
        with named(label):
            places.append(parse_placement(entry, label))
    return tuple(places)


def file(value: Any, label: str, resolve: Resolve) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise unexpected("the path of a sound file", value, label)
    with named(label):
        return resolve(value, label)


@contextlib.contextmanager
def named(label: str) -> Iterator[None]:
    """Errors of others' checks get the field they are about."""
    try:
        yield
    except DreamAudioError as error:
        text = str(error)
        wrong = FieldError("" if text.startswith(label) else label, text)
        wrong.field = label
        raise wrong from error


def file_name(name: Any) -> str:
    if (
        not isinstance(name, str)
        or name_problem(name)
        or len(name.encode()) > MAX_NAME
        or name.startswith(".")
    ):
        raise unexpected("a plain file name without suffix", name, "name")
    return name
