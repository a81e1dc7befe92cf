"""Checkpoints of a training run: written whole, the newest few kept."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError
from ..weights.checkpoint import read_pickle

_NAME = re.compile(r"step-(\d{8})\.pt")


def saved_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of the complete checkpoints of a run, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    )


def write_checkpoint(run: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `state` beside its place, rename it, then remove all but the newest `keep`."""
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    beside = path.with_suffix(".part")
    try:
        torch.save(state, beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    for _, old in saved_checkpoints(run)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run, or None where there is none.

    Raises
    ------
    CheckpointError
        If it is damaged; the message names the file to remove.
    """
    found = saved_checkpoints(run)
    if not found:
        return None
    path = found[-1][1]
    try:
        return read_pickle(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; remove this file to continue from the checkpoint before it"
        ) from error


def rng_state() -> dict[str, Any]:
    """States of the global random generators of this process, in plain containers."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Set the global random generators of this process to what `rng_state` gave."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
