"""What the networks that describe sounds (VGGish, Cnn14, CLAP ...) share: their interface."""

from __future__ import annotations

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
