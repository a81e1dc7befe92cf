"""Small banks of made-up sounds."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dreamaudio_core.data.bank import BankWriter

FIELDS = {"source": "p", "license": "CC0"}
Draw = Callable[[np.random.Generator, int], np.ndarray]


def fill_bank(
    folder: Path,
    nouns: Iterable[str],
    event: Draw,
    caption: Callable[[str, str], str] = lambda noun, split: f"a {noun} calls",
    loudness: float = 0.02,
) -> Path:
    """Manifest of a bank with an event for each noun and 11 s each of noise as rain and as music,
    once for training and once for tests.

    Parameters
    ----------
    event
        Samples of event number n, at 16 kHz.
    caption
        Of a noun, in a split.
    loudness
        Standard deviation of the noise.
    """
    rng = np.random.default_rng(0)
    with BankWriter(folder) as writer:
        for split in ("train", "test"):
            for number, noun in enumerate(nouns):
                writer.add(
                    event(rng, number).astype(np.float32),
                    path=noun,
                    caption=caption(noun, split),
                    label=f"{split}/{noun}",
                    split=split,
                    kind="event",
                    **FIELDS,
                )
            for kind, text in (("ambience", "rain falls"), ("music", "music plays")):
                writer.add(
                    loudness * rng.standard_normal(16_000 * 11).astype(np.float32),
                    path=kind,
                    caption=text,
                    label=f"{split}/{kind}",
                    split=split,
                    kind=kind,
                    **FIELDS,
                )
    return folder / "manifest.jsonl"
