"""Choosing where to compute."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from .errors import InputError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Device of that name; `auto` takes a GPU if there is one.

    Raises
    ------
    InputError
        If there is no such device on this machine.
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"device: {str(name)!r} cannot be used ({reason}); try cpu") from error
    return device


T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, that of a GPU or the computer's."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # PyTorch has no type of its own for the computer's memory.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def with_less_memory(run: Callable[[], T], smaller: Callable[[], T] | None, stage: str) -> T:
    """Result of `run`; where memory runs out, that of `smaller`, which computes it in smaller
    pieces.

    Parameters
    ----------
    smaller
        None where there are no smaller pieces: `run` again, with the memory that was given back.
    stage
        What is done, such as ``"decoding"``, for the error.

    Raises
    ------
    torch.OutOfMemoryError
        If memory runs out again; of this type so that ComfyUI unloads its models.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Here, as within the handler the error's frames would still hold what was computed.
    release_memory()
    try:
        return (smaller or run)()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_memory()
    tried = ", also in smaller pieces" if smaller else ""
    raise torch.OutOfMemoryError(
        f"out of memory while {stage}{tried}; generate fewer seconds or fewer sounds at once, or "
        "close other programs"
    )


def release_memory() -> None:
    """Give back what nothing uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
