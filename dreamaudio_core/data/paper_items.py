"""Items of the paper's datasets: a prompt, a target, and references that may hold several events
each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class GroupEvent:
    """One event of a reference: waveform [T] at 16 kHz, caption, start in the reference (seconds),
    bank entry.
    """

    waveform: Tensor
    caption: str
    start: float
    entry: int


@dataclass(frozen=True)
class ReferenceGroup:
    """One reference audio with the events it holds; `joint` joins the captions of two."""

    events: tuple[GroupEvent, ...]
    joint: str = ", then {b}"

    def caption(self, present: int | None = None) -> str:
        """Caption of the events whose bits are set in `present` (all by default)."""
        chosen = [e for i, e in enumerate(self.events) if present is None or present >> i & 1]
        text = chosen[0].caption
        for event in chosen[1:]:
            text += self.joint.format(b=event.caption)
        return text

    def waveform(self) -> Tensor:
        """The reference audio [T]."""
        ends = [round(e.start * SAMPLE_RATE) + len(e.waveform) for e in self.events]
        out = torch.zeros(max(ends))
        for event, end in zip(self.events, ends):
            out[end - len(event.waveform) : end] += event.waveform
        return out


@dataclass(frozen=True)
class TargetEvent:
    """Where an event lies in the target: start and duration in seconds, level over the base in dB
    (None without a base).
    """

    entry: int
    start: float
    duration: float
    snr_db: float | None = None


@dataclass(frozen=True)
class PaperItem:
    """A prompt, its target [T] (None for Customized-Fantasy), its references, and the events of the
    target.
    """

    prompt: str
    target: Tensor | None
    groups: tuple[ReferenceGroup, ...]
    events: tuple[TargetEvent, ...] = field(default=())
