"""TensorBoard curves, sounds and spectrograms of a run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio.picture import colorize
from ..errors import InputError

# Value of the brightest colour (natural logarithm), the same in all pictures of a run.
LOUDEST = 2.0


class Logger:
    """TensorBoard writer; on processes other than the main one it accepts everything and writes
    nothing.

    Parameters
    ----------
    folder
        Log folder; None writes nothing.
    step
        Steps done before this session: points that a stopped session has written beyond them are
        replaced.
    sample_rate
        Sample rate of the sounds, in Hz.

    Raises
    ------
    InputError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path | None, step: int = 0, sample_rate: int = 16_000):
        self.sample_rate = sample_rate
        self.writer = None
        if folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError(
                    f"training needs the package tensorboard ({error}); install it with: "
                    "pip install 'dreamaudio[training]'"
                ) from error
            self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Points of curves."""
        for name, value in values.items():
            if self.writer is not None:
                self.writer.add_scalar(name, value, step)

    def audio(self, name: str, waveform: Tensor, step: int) -> None:
        """A mono sound [T]."""
        if self.writer is not None:
            self.writer.add_audio(
                name, waveform.detach().float().cpu().clamp(-1, 1), step, self.sample_rate
            )

    def spectrogram(self, name: str, mels: list[Tensor], step: int) -> None:
        """Log-mels [frames, bands], stacked, with a white line between them."""
        if self.writer is None:
            return
        width = max(mel.shape[-2] for mel in mels)
        rows: list[np.ndarray] = []
        for mel in mels:
            image = colorize(mel, LOUDEST)
            rows += [
                np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0))),
                np.full((2, width, 3), 255, np.uint8),
            ]
        self.writer.add_image(
            name, torch.from_numpy(np.concatenate(rows[:-1])), step, dataformats="HWC"
        )

    def close(self) -> None:
        """Write what is buffered."""
        if self.writer is not None:
            self.writer.close()


class Curves:
    """Means of the scalars of several steps, and the time that a step takes."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the steps so far."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.steps, self.since = 0, time.monotonic()

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the scalars of a step; not every step has all of them."""
        self.steps += 1
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, Tensor]:
        """Mean of each scalar over the steps that have it."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    @property
    def seconds_per_step(self) -> float:
        """Wall-clock time of a step."""
        return (time.monotonic() - self.since) / max(1, self.steps)
