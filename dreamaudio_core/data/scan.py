"""From a published collection to entries of a bank manifest.

Files that are missing or cannot be read are reported and left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import soundfile

from ..errors import InputError
from .bank import BankEntry
from .readers import LAYOUTS, Row

LONGEST_EVENT = 5.0


@dataclass
class Scan:
    """Entries of a collection and one line for each file that could not be used."""

    entries: list[BankEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def scan(
    layout: str,
    folder: str | os.PathLike,
    base: str | os.PathLike,
    known: dict[str, float] | None = None,
    license: str | None = None,
    longest: float | None = None,
    each: Callable[[BankEntry | None], Any] | None = None,
) -> Scan:
    """Entries of a collection.

    Parameters
    ----------
    layout
        A key of `LAYOUTS`.
    folder
        Top folder of the collection.
    base
        Folder of the manifest; paths are relative to it.
    known
        Seconds of paths that were measured before.
    license
        In place of the layout's own.
    longest
        Sounds of this many seconds or more are left out (paper, section IV-A: WavCaps' clips of
        less than 10 s).
    each
        Called for each row with its entry, or None where it was left out.

    Raises
    ------
    InputError
        If the folder does not have the layout, or nothing in it can be used.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}")
    known, result = known or {}, Scan()
    for row in LAYOUTS[layout](Path(folder)):
        try:
            entry = _entry(row, base, known, license, longest)
            result.entries.append(entry)
        except _LeftOut as reason:
            entry = None
            result.problems.append(f"{row.name}: {reason}")
        if each is not None:
            each(entry)
    if not result.entries:
        raise InputError(
            f"{folder}: found no usable sound of the layout {layout!r} ({len(result.problems)} "
            "listed files are "
            "missing or "
            f"unreadable{', the first: ' + result.problems[0] if result.problems else ''})"
        )
    return result


class _LeftOut(Exception):
    """Why a file is not an entry."""


def _entry(
    row: Row,
    base: str | os.PathLike,
    known: dict[str, float],
    license: str | None,
    longest: float | None,
) -> BankEntry:
    if row.excluded:
        raise _LeftOut(row.excluded)
    if row.file is None:
        raise _LeftOut("no such file")
    path = Path(os.path.relpath(row.file, base)).as_posix()
    try:
        seconds = known.get(path) or round(soundfile.info(str(row.file)).duration, 4)
    except (soundfile.SoundFileError, OSError) as error:
        raise _LeftOut(f"cannot be read ({' '.join(str(error).split())})") from error
    if seconds <= 0:
        raise _LeftOut("cannot be read (no samples)")
    if longest is not None and seconds >= longest:
        raise _LeftOut(f"{seconds:g} s, and only sounds under {longest:g} s are wanted")
    return BankEntry(
        path,
        row.caption,
        row.label,
        row.split,
        seconds,
        row.source,
        license or row.license,
        "event" if seconds <= LONGEST_EVENT else "ambience",
    )
