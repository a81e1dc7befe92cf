"""Compositions: a prompt, its target, and the events and references that it is mixed from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.timeline import Placement


@dataclass(frozen=True)
class Event:
    """One event of a composition.

    Parameters
    ----------
    index
        Entry in the bank; -1 for a sound from elsewhere.
    label, caption
        Those of the bank.
    reference
        Its sound [T] as a reference gives it, trimmed, peak 0.5; it may be longer than the part
        that is used.
    reference_caption
        Its caption in a reference.
    phrase
        The words of the prompt for it; None if the prompt does not ask for it.
    placements
        Its occurrences in the target: start, duration, gain from `reference` to the target in dB,
        offset in `reference`.
    background
        Whether it is the base of a mix.
    has_reference
        Whether the model is given its sound.
    """

    index: int
    label: str
    caption: str
    reference: Tensor
    reference_caption: str
    phrase: str | None = None
    placements: tuple[Placement, ...] = ()
    background: bool = False
    has_reference: bool = True

    @property
    def asked(self) -> bool:
        """Whether the prompt asks for it."""
        return self.phrase is not None


@dataclass(frozen=True)
class ReferenceGroup:
    """One reference sound with the events that it holds, one after another; `joint` joins their
    captions.
    """

    events: tuple[Event, ...]
    joint: str = ", then {b}"

    def caption(self, present: int | None = None) -> str:
        """Caption of the events whose bits are set in `present` (all by default)."""
        chosen = [e for i, e in enumerate(self.events) if present is None or present >> i & 1]
        text = chosen[0].reference_caption
        for event in chosen[1:]:
            text += self.joint.format(b=event.reference_caption)
        return text

    def starts(self) -> list[int]:
        """First sample of each event."""
        lengths = torch.tensor([0, *(len(event.reference) for event in self.events[:-1])])
        return lengths.cumsum(0).tolist()

    def waveform(self) -> Tensor:
        """The reference sound [T]."""
        return torch.cat([event.reference for event in self.events])


@dataclass(frozen=True)
class Composition:
    """A prompt with its target and references.

    Parameters
    ----------
    prompt
        Description of the target.
    seconds
        Length of the target.
    target
        Waveform [T], peak 0.5; None for a scenario that nobody has recorded.
    events
        All events, in random order.
    groups
        The reference sounds that the model is given.
    kind
        Name of its layout or dataset.
    """

    prompt: str
    seconds: float
    target: Tensor | None
    events: tuple[Event, ...]
    groups: tuple[ReferenceGroup, ...]
    kind: str

    @property
    def references(self) -> tuple[Event, ...]:
        """The events whose sound is given."""
        return tuple(event for group in self.groups for event in group.events)
