"""Choosing sounds by their similarities to the events of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, takewhile

Scored = tuple[int, float]
"""Index of a sound and its similarity."""


def distribute(
    rankings: Sequence[Iterable[Scored]],
    count: int,
    min_score: float,
    identity: Callable[[int], str | None],
) -> list[tuple[int, int, float]]:
    """Give each event of a prompt sounds of its own.

    Every round gives each event one more sound. Events with the best match choose first, so that
    none takes what fits another better.

    Parameters
    ----------
    rankings : sequence of iterables
        Sounds for each event, the best first; they are asked for no more than are looked at.
    count : int
        How many sounds at most.
    min_score : float
        Least similarity.
    identity : callable
        Content of a sound, by its index: sounds of equal content are chosen once; None passes over
        a sound.

    Returns
    -------
    list of (int, int, float)
        Event, sound and similarity of each choice, in the order of events, best match first.
    """
    queues: dict[int, Iterator[Scored]] = {}
    best: dict[int, float] = {}
    for event, ranking in enumerate(rankings):
        queue = takewhile(lambda scored: scored[1] >= min_score, ranking)
        first = next(queue, None)
        if first is not None:
            queues[event], best[event] = chain([first], queue), first[1]
    taken: set[str] = set()
    chosen: list[tuple[int, int, float]] = []

    def next_sound(event: int) -> Scored | None:
        for index, score in queues[event]:
            content = identity(index)
            if content is not None and content not in taken:
                taken.add(content)
                return index, score
        return None

    active = sorted(queues, key=lambda event: -best[event])
    while active and len(chosen) < count:
        for event in list(active):
            if len(chosen) == count:
                break
            found = next_sound(event)
            if found is None:
                active.remove(event)
            else:
                chosen.append((event, *found))
    return sorted(chosen, key=lambda choice: (choice[0], -choice[2]))
