"""What the networks behind the metrics share: an interface, and the identity of their weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from ..errors import CheckpointError


class Extractor(Protocol):
    """A network that turns clips into arrays.

    Attributes
    ----------
    name : str
        Short name, also of its folder in the feature cache.
    digest : str
        Identity of weights and settings: equal digests give equal features.
    sample_rate : int
        Rate in Hz of the waveforms it takes.
    source : Path or str
        Where its weights were found.
    """

    name: str
    digest: str
    sample_rate: int
    source: Path | str

    def extract(self, waveforms: list[Tensor]) -> list[np.ndarray]:
        """One array for each waveform [T]."""


def require_file(path: str | Path, what: str, published: str) -> Path:
    """Path of a weight file that exists.

    Raises
    ------
    CheckpointError
        Names the file and says where it is published; nothing is downloaded.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise CheckpointError(f"{path}: expected a file with {what}, found {found}; {published}")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: Path, suffixes: tuple[str, ...]) -> str:
    """SHA-256 over the names and bytes of a model folder's files with the given suffixes,
    hexadecimal.
    """
    digest = hashlib.sha256()
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in suffixes
    }
    for name, path in sorted(files.items()):
        if path.is_file():
            digest.update(f"{name}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()
