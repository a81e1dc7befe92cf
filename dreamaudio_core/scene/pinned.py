"""Placements that a user has set by hand, kept while the rest follows a new reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from .timeline import Arrangement, Placement


def keep_pinned(reading: Arrangement, given: Arrangement) -> Arrangement:
    """A new reading of the prompt, with the pinned placements of `given` left where they are.

    Each pinned placement takes the part of the placement of the reading that is nearest to it, so
    that a sound occurs as often as the prompt says; what is pinned beyond that is kept as well. A
    reference that `given` has muted stays muted. Where the two hold different numbers of
    references, those that both have are merged.
    """
    references = list(reading.references)
    for k, (read, old) in enumerate(zip(reading.references, given.references)):
        pinned = [place for place in old.placements or () if place.pinned]
        if pinned:
            places = _merged(read.placements or (), pinned)
            references[k] = replace(
                read, used=old.used, placements=places, reason=f"{read.reason}; pinned by hand"
            )
        elif old.placements and not old.used and read.placements:
            references[k] = replace(read, used=False)
    return replace(reading, references=tuple(references))


def _merged(read: Sequence[Placement], pinned: Sequence[Placement]) -> tuple[Placement, ...]:
    free = list(read)
    for place in pinned:
        if free:
            free.remove(min(free, key=lambda other: abs(other.start - place.start)))
    return tuple(sorted((*free, *pinned), key=lambda place: place.start))
