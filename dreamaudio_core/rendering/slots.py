"""References as slots of the network: one a reference, and one for references that overlap.

Placed references that sound at the same time are mixed as waveforms before they are encoded. The
network would otherwise have to add log-mels that it only knows as features, which it does badly:
the log-mel of a mix is not the sum of its parts'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from .events import Event

# Numbers of references, or of slots, in rising order.
Numbers = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Slot:
    """What one slot holds.

    Parameters
    ----------
    members
        References that sound in it; none in an empty one.
    events
        Their events; `None` for a reference that the network places itself.
    """

    members: Numbers = ()
    events: Sequence[Event] | None = ()


@dataclass(frozen=True, eq=False)
class ReferenceSlots:
    """Latents R of references, and which references sound in each slot.

    Parameters
    ----------
    latents
        [S, C, T, F] for references joined on channels, silence in empty slots; [S, C + 2, T, F] for
        placed ones, with two marker channels.
    members
        References that sound in each of the slots; none in an empty one.
    choices
        For each set of sounding references that guidance evaluates: the slots that hold these and
        no others.
    """

    latents: Tensor
    members: tuple[Numbers, ...]
    choices: dict[Numbers, Numbers]

    def to(self, device: torch.device | str) -> ReferenceSlots:
        """The same with its latents on `device`."""
        return ReferenceSlots(self.latents.to(device), self.members, self.choices)


def mix_overlaps(events: dict[int, Sequence[Event]], frame_seconds: float) -> list[Slot]:
    """Slots of the events of placed references, by their numbers.

    Events of different references share a slot if they overlap by more than `frame_seconds`, the
    length of a latent frame, or one lies within the other; so a reference is in several slots if it
    sounds alone in one place and under another reference in the next.
    """
    groups: list[tuple[float, list[tuple[int, Event]]]] = []
    pairs = [(number, event) for number, each in events.items() for event in each]
    for number, event in sorted(pairs, key=lambda pair: pair[1].start):
        end = event.start + event.seconds
        if groups and min(event.start + frame_seconds, end) <= groups[-1][0]:
            last, members = groups[-1]
            groups[-1] = (max(last, end), [*members, (number, event)])
        else:
            groups.append((end, [(number, event)]))
    slots: dict[Numbers, list[Event]] = {}
    for _, members in groups:
        key = tuple(sorted({number for number, _ in members}))
        slots.setdefault(key, []).extend(event for _, event in members)
    return [Slot(members, each) for members, each in slots.items()]


def plan_slots(
    events: Sequence[Sequence[Event] | None],
    subsets: Sequence[Numbers],
    frame_seconds: float,
    mix: bool,
) -> tuple[list[Slot], dict[Numbers, Numbers]]:
    """Slots that hold every subset of the references, and the slots of each.

    Parameters
    ----------
    events
        Of each reference; `None` for one that the network places itself.
    subsets
        Sets of references that guidance evaluates.
    mix
        Whether references that overlap share a slot.

    Returns
    -------
    tuple
        The slots, and `ReferenceSlots.choices`.
    """
    slots: list[Slot] = []
    known: dict[tuple[Numbers, tuple[int, ...] | None], int] = {}

    def number_of(slot: Slot) -> int:
        held = None if slot.events is None else tuple(map(id, slot.events))
        if (slot.members, held) not in known:
            known[slot.members, held] = len(slots)
            slots.append(slot)
        return known[slot.members, held]

    choices = {}
    for subset in subsets:
        sounding = [k for k in subset if events[k] is None or events[k]]
        free = [Slot((k,), events[k]) for k in sounding if events[k] is None or not mix]
        placed = {k: events[k] or () for k in sounding if events[k] is not None and mix}
        chosen = [*free, *mix_overlaps(placed, frame_seconds)]
        choices[tuple(sounding)] = tuple(number_of(slot) for slot in chosen)
    return slots, choices
