"""Sound files on their way into a library: finding them, and checking each one."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..audio.checks import SILENT_PEAK
from ..audio.decode import SUFFIXES, open_sound
from ..audio.resample import resample
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


@dataclass(frozen=True)
class Sound:
    """A decoded file: its length, its title and comment, and its beginning [T] if asked for."""

    seconds: float
    tags: tuple[str, ...]
    head: Tensor | None


def is_regular(status: os.stat_result) -> bool:
    """Whether this is a regular file: reading a pipe or a device may never end."""
    return stat.S_ISREG(status.st_mode)


def find_sounds(folder: Path, recursive: bool = True) -> list[FoundFile]:
    """Sound files of a folder, sorted by path.

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
        folders[:] = sorted(n for n in folders if not n.startswith(".")) if recursive else []
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

    A line is an object with `path` or `audio`, relative to the list, and `caption`, as in the
    manifest of a bank; or a scene, whose `references` are such objects. Of several lines for one
    file the first counts.

    Raises
    ------
    InputError
        If the list cannot be read, or names a file that does not exist.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if lines is None:
        raise InputError(f"{path}: expected a list of sounds (JSON lines), found no file")
    found: dict[Path, FoundFile] = {}
    for number, line in enumerate(lines, 1):
        for entry in _entries(line, f"{path}: line {number}"):
            file = _listed(entry, path.parent, f"{path}: line {number}")
            found.setdefault(file.path, file)
    if not found:
        raise InputError(f"{path}: lists no sounds")
    return list(found.values())


def _entries(line: str, where: str) -> list[dict[str, Any]]:
    if not line.strip():
        return []
    try:
        values = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: not readable JSON ({error})") from error
    entries = values.get("references", [values]) if isinstance(values, dict) else [None]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{where}: expected an object with path and caption, or a scene")
    return entries


def _listed(entry: dict[str, Any], folder: Path, where: str) -> FoundFile:
    name = _text("path", entry.get("path", entry.get("audio")), where)
    caption = _text("caption", entry.get("caption"), where)
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
    caption = " ".join(caption.split())
    return FoundFile(path, status.st_size, status.st_mtime_ns, f"listed:{caption}", caption=caption)


def _text(field: str, value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {field}: expected a text, found {value!r}")
    return value


def inspect_sound(path: Path, head_rate: int | None = None, head_seconds: float = 10.0) -> Sound:
    """Decode a file completely, block by block, and check it.

    Parameters
    ----------
    path : Path
        The file.
    head_rate : int, optional
        Rate in Hz of the mono beginning to return; none is kept without it.
    head_seconds : float
        Length of that beginning.

    Raises
    ------
    AudioError
        If it cannot be decoded, or is empty, silent, or holds NaN.
    """
    kept: list[np.ndarray] = []
    samples = missing = 0
    peak = 0.0
    with open_sound(path, what="sound", max_seconds=math.inf) as sound:
        rate = sound.sample_rate
        missing = round(head_seconds * rate) if head_rate else 0
        for block in sound.blocks:
            mono = block.mean(axis=1)
            peak = max(peak, float(np.abs(mono).max(initial=0.0)))
            samples += len(mono)
            if missing > 0:
                kept.append(mono[:missing])
                missing -= len(kept[-1])
    if not samples:
        raise AudioError(f"{sound.name} holds no samples: remove it")
    if peak < SILENT_PEAK:
        raise AudioError(f"{sound.name} is silent: remove it")
    head = resample(torch.from_numpy(np.concatenate(kept)), rate, head_rate) if head_rate else None
    return Sound(samples / rate, sound.tags, head)
