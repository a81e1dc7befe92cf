"""The clips of a folder: found, checked and identified by their content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..audio.decode import SUFFIXES, read_audio, read_original
from ..errors import InputError
from ..files import file_digest


@dataclass(frozen=True)
class Clip:
    """A sound file that has been read once and found usable.

    Parameters
    ----------
    path : Path
        The file.
    rate : int
        Its sample rate in Hz.
    samples : int
        Its samples per channel.
    digest : str
        SHA-256 of its bytes, hexadecimal.
    """

    path: Path
    rate: int
    samples: int
    digest: str


def list_clips(folder: str | Path, label: str = "folder") -> list[Path]:
    """Sound files directly in a folder, sorted by name; hidden files and other suffixes are passed
    over.

    Raises
    ------
    InputError
        If the folder is missing or holds no sound files, or two files share a stem.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"{label} {folder}: expected a folder of sound files, found "
            f"{'a file' if folder.exists() else 'nothing'}"
        )
    paths = sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not paths:
        raise InputError(
            f"{label} {folder}: holds no sound files; expected names that end in "
            f"{', '.join(SUFFIXES)}"
        )
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise InputError(
                f"{label} {folder}: {stems[path.stem].name} and {path.name} have the same stem; "
                "clips are paired "
                "by it, so remove one of them"
            )
        stems[path.stem] = path
    return paths


def inspect_clip(path: Path) -> Clip:
    """Read a file completely, check it and identify it.

    Silence is accepted: a silent output is a result that the metrics have to count.

    Raises
    ------
    AudioError
        If the file cannot be read or decoded, or its samples are missing, NaN or infinite.
    """
    waveform, rate = read_original(path, label="clip", silent=True)
    return Clip(path, rate, waveform.shape[-1], file_digest(path))


def read_clip(path: str | os.PathLike, sample_rate: int) -> Tensor:
    """Mono waveform [T] of a file at `sample_rate`, float32; channels are averaged.

    Raises
    ------
    AudioError
        As `inspect_clip`.
    """
    return read_audio(path, sample_rate, label="clip", silent=True)
