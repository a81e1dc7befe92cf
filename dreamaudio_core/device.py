"""Choosing where to compute."""

from __future__ import annotations

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
