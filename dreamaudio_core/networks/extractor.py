"""What the networks that describe sounds (VGGish, Cnn14, CLAP ...) share: their interface."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..files import file_digest


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


class FileExtractor:
    """An extractor whose network is read from one weight file, when the first clip comes.

    Parameters
    ----------
    path : str or Path
        Weight file.
    device : torch.device or str
        Where the network runs.

    Raises
    ------
    CheckpointError
        If there is no such file.
    """

    label: str
    published: str
    load: Callable[[Path, torch.device | str], nn.Module]

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        self.source = require_file(path, self.label, self.published)
        self.device = device
        self.digest = file_digest(self.source)

    @cached_property
    def network(self) -> nn.Module:
        """The network, read from the file."""
        return self.load(self.source, self.device)


def require_file(path: str | Path, network: str, published: str) -> Path:
    """Path of a network's weight file that exists.

    Raises
    ------
    CheckpointError
        Names the file and says where it is published; nothing is downloaded.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise CheckpointError(
            f"{path}: expected a file with {network} weights, found {found}; {published}"
        )
    return path
