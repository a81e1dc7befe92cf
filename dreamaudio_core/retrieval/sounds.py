"""Sound files on their way into a library: finding them, and measuring each one."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.checks import SILENT_PEAK
from ..audio.decode import SUFFIXES, open_sound
from ..errors import AudioError, InputError
from ..json_text import parse_json
from .caption_sources import sidecar_stamp, sidecars


@dataclass(frozen=True)
class FoundFile:
    """A sound file as its folder or list has it.

    Parameters
    ----------
    path : Path
        The file, absolute.
    size, mtime : int
        Bytes, and nanoseconds of its last change.
    stamp : str
        Changes when its caption may have changed.
    sidecars : tuple of Path
        Files that may hold its caption.
    caption : str
        Its caption, if a list gives one.
    """

    path: Path
    size: int
    mtime: int
    stamp: str
    sidecars: tuple[Path, ...] = ()
    caption: str = ""


def is_regular(status: os.stat_result) -> bool:
    """Whether this is a regular file: reading a pipe or a device may never end."""
    return stat.S_ISREG(status.st_mode)


def find_sounds(folder: Path) -> list[FoundFile]:
    """Sound files of a folder and its sub-folders, sorted by path.

    Hidden files and folders, and what is not a regular file, are passed over.

    Raises
    ------
    InputError
        If the folder does not exist or has no sounds.
    """
    if not folder.is_dir():
        found_instead = "a file" if folder.exists() else "nothing"
        raise InputError(
            f"{folder}: expected a folder of sounds or a list (.jsonl), found {found_instead}"
        )
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        present = set(names)
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            try:
                status = path.stat()
            except OSError:  # a dangling link, or deleted since
                continue
            if is_regular(status):
                captions = tuple(sidecars(path, present))
                stamp = sidecar_stamp(captions)
                found.append(FoundFile(path, status.st_size, status.st_mtime_ns, stamp, captions))
    if not found:
        raise InputError(
            f"{folder}: holds no sound files; expected names that end in {', '.join(SUFFIXES)}"
        )
    return found


def read_sound_list(path: Path) -> list[FoundFile]:
    """Sounds with their captions from JSON lines.

    A line is an object with `path`, relative to the list, and `caption`, as in the manifest of a
    bank. Of several lines for one file the first counts.

    Raises
    ------
    InputError
        If the list cannot be read, or names a file that does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a list of sounds (JSON lines), found no file")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    found: dict[Path, FoundFile] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            file = _listed(line, path.parent, f"{path}: line {number}")
            found.setdefault(file.path, file)
    if not found:
        raise InputError(f"{path}: lists no sounds")
    return list(found.values())


def _listed(line: str, folder: Path, where: str) -> FoundFile:
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not readable JSON ({error})") from error
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object with path and caption")
    name, caption = _text("path", entry, where), " ".join(_text("caption", entry, where).split())
    if entry.get("offset") is not None:
        raise InputError(
            f"{where}: this sound lies inside a packed bank; list the sounds before they are packed"
        )
    path = Path(os.path.abspath(folder / name))
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {path} does not exist; correct the path") from error
    if not is_regular(status):
        raise InputError(f"{where}: {path} is not a regular file")
    return FoundFile(path, status.st_size, status.st_mtime_ns, f"listed:{caption}", caption=caption)


def _text(field: str, entry: dict[str, Any], where: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {field}: expected a text, found {value!r}")
    return value


def measure_sound(path: Path) -> tuple[float, tuple[str, ...]]:
    """Seconds, title and comment of a file, which is decoded completely to check it.

    Raises
    ------
    AudioError
        If it cannot be decoded, or is empty, silent, or holds NaN.
    """
    samples, peak = 0, 0.0
    with open_sound(path, label="sound") as sound:
        for block in sound.blocks:
            peak = max(peak, float(np.abs(block.mean(axis=1)).max(initial=0.0)))
            samples += len(block)
    if not samples:
        raise AudioError(f"{sound.name} holds no samples: remove it")
    if peak < SILENT_PEAK:
        raise AudioError(f"{sound.name} is silent: remove it")
    return samples / sound.sample_rate, sound.tags
