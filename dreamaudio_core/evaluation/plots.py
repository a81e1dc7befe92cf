"""Spectrograms of references, target and output side by side; needs the optional package
matplotlib.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..audio import log_mel
from ..config import AudioConfig
from ..errors import InputError
from .clips import read_clip


def plot_side_by_side(panels: list[tuple[str, Path]], path: str | Path, title: str = "") -> Path:
    """Draw the log-mel spectrograms of sounds in one row, with one time scale and one colour scale.

    Parameters
    ----------
    panels : list of (str, Path)
        Heading and sound file of each panel.
    path : str or Path
        The PNG file to write; it appears whole or not at all.
    title : str
        Text above the row, such as the prompt.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If matplotlib is not installed, or there are no panels.
    AudioError
        If a sound cannot be read.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "plots need the optional package matplotlib: install it with pip install matplotlib, or choose --plots 0"
        ) from error
    if not panels:
        raise InputError("plots: expected at least one sound, found none")
    config = AudioConfig()
    mels = [log_mel(read_clip(file, config.sample_rate)[None], config)[0, 0] for _, file in panels]
    seconds = [len(mel) * config.hop_length / config.sample_rate for mel in mels]
    top = max(float(mel.max()) for mel in mels)
    figure = Figure(figsize=(3.2 * len(panels), 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    # Captions and prompts are plain text: a dollar sign in one is no formula.
    figure.suptitle(title, fontsize=9, wrap=True, parse_math=False)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (heading, _), mel, length in zip(axes, panels, mels, seconds, strict=True):
        axis.imshow(
            mel.T.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, length, 0, config.n_mels),
            vmin=top - 9,
            vmax=top,
            cmap="magma",
            interpolation="nearest",
        )
        axis.set_xlim(0, max(seconds))
        axis.set_title(heading, fontsize=8, wrap=True, parse_math=False)
        axis.set_xlabel("s", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("mel band", fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        figure.savefig(beside, format="png", dpi=110)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
