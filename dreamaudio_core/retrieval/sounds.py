"""What a library needs to know of a sound file before it takes it in."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio.checks import SILENT_PEAK
from ..audio.decode import SUFFIXES, open_sound
from ..audio.resample import resample
from ..errors import AudioError, InputError
from .caption_sources import sidecar_stamp, sidecars


@dataclass(frozen=True)
class FoundFile:
    """A sound file as its folder lists it.

    Parameters
    ----------
    path : Path
        The file, absolute.
    size, mtime : int
        Bytes, and nanoseconds of its last change.
    beside : tuple of Path
        Files that may hold its caption.
    stamp : str
        Changes when one of those does.
    """

    path: Path
    size: int
    mtime: int
    beside: tuple[Path, ...]
    stamp: str


@dataclass(frozen=True)
class Sound:
    """A decoded file: its length, its title and comment, and its beginning [T] where that was asked
    for.
    """

    seconds: float
    tags: tuple[str, ...]
    head: Tensor | None


def find_sounds(folder: Path, recursive: bool) -> list[FoundFile]:
    """Sound files of a folder, sorted by path; hidden files and folders are passed over.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of sounds, found {'a file' if folder.exists() else 'nothing'}"
        )
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = (
            sorted(name for name in folders if not name.startswith(".")) if recursive else []
        )
        present = set(names)
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            try:
                status = path.stat()
            except OSError:  # a link to nowhere, or gone since
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            beside = tuple(sidecars(path, present))
            found.append(
                FoundFile(path, status.st_size, status.st_mtime_ns, beside, sidecar_stamp(beside))
            )
    return found


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
            peak = max(peak, float(np.abs(mono).max()))
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


def read_tags(path: Path) -> tuple[str, ...]:
    """Title and comment of a file that has been inspected before; empty where it cannot be opened
    any more.
    """
    try:
        with open_sound(path, what="sound") as sound:
            return sound.tags
    except AudioError:
        return ()
