"""Checkpoints of a training run: written whole, the newest few kept.

`accelerate`'s own `save_state` does not serve here: it writes in place, so that a run killed while
saving leaves a half-written newest checkpoint; it stores the keys of the distributed wrapper, so
that a run cannot continue on another number of processes; and it ignores random states that it
cannot read, so that a run silently continues otherwise than it would have.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError, InputError
from ..files import atomic_write
from ..weights.checkpoint import read_pickle

_NAME = re.compile(r"step-(\d{8})\.pt")


def saved_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of the checkpoints of a run, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    )


def write_checkpoint(run: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `state` to a temporary file, rename it, then remove all but the newest `keep`.

    Raises
    ------
    CheckpointError
        If it cannot be written, such as on a full disk; earlier checkpoints stay as they are.
    """
    path = run / "checkpoints" / f"step-{step:08d}.pt"
    try:
        with atomic_write(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError of its archive writer.
        raise CheckpointError(
            f"{path}: cannot be written ({_first_line(error)}); free disk space, then the same "
            "command continues from the checkpoint before"
        ) from error
    for _, old in saved_checkpoints(run)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path, step: int) -> dict[str, Any]:
    """Contents of a checkpoint.

    Raises
    ------
    CheckpointError
        If it is damaged, of another step than its name says, or holds weights that are not finite.
    """
    state = read_pickle(path)
    if state.get("step") != step or not isinstance(state.get("settings"), dict):
        raise CheckpointError(f"{path}: expected the state of step {step}, found another one")
    if not is_finite({"losses": state.get("losses"), "ema": state.get("ema")}):
        raise CheckpointError(f"{path}: some of its weights are not finite")
    return state


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, so that it neither is the newest nor counts as one to keep."""
    path.rename(path.with_suffix(".damaged"))


def remove_partial_files(run: Path) -> None:
    """Remove what writers that were killed have left in a run folder."""
    for folder in (run, run / "checkpoints"):
        for path in folder.glob("*.part"):
            path.unlink(missing_ok=True)


def is_finite(value: Any) -> bool:
    """Whether all floating-point tensors of nested dictionaries are finite."""
    if isinstance(value, dict):
        return all(is_finite(part) for part in value.values())
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return bool(torch.isfinite(value).all())
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def rng_state() -> dict[str, Any]:
    """States of the global random generators of this process, in plain containers."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Set the global random generators of this process to what `rng_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


def check_settings(
    state: dict[str, Any], task: str, settings: dict[str, Any], folder: Path
) -> None:
    """Refuse a checkpoint of another task or of other settings, with an InputError."""
    if state.get("task") != task:
        raise InputError(
            f"{folder}: this run trains {state.get('task')!r}, not {task!r}; choose another folder"
        )
    for name in sorted({*state["settings"], *settings}):
        before, now = state["settings"].get(name), settings.get(name)
        if before != now:
            raise InputError(
                f"{folder}: {name} was {_short(before)} in this run, found {_short(now)}; "
                "continue with the same value or choose another folder"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
