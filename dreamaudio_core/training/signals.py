"""What a training run makes of Ctrl-C and of being asked to end."""

from __future__ import annotations

import signal
import threading
from typing import Any

import torch


class StopFlag:
    """Set by the first SIGINT or SIGTERM, which lets the step finish; a second one interrupts at
    once.
    """

    def __init__(self) -> None:
        self.raised = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self.raised = True
        self._restore()


def ignore_interrupts(worker: int) -> None:
    """Start of a loading process."""
    # Ctrl-C reaches every process of the terminal; the workers have to outlive the last step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
