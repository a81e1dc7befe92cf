"""Choosing sounds by their similarities to the events of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np


def ranked(scores: np.ndarray, min_score: float) -> Iterator[int]:
    """Indices of scores [N] of at least `min_score`, highest first.

    They are sorted in growing portions, only as far as they are asked for: a search of a million
    sounds looks at a few.
    """
    done, size = 0, 32
    while done < len(scores):
        size = min(size, len(scores))
        top = np.argpartition(-scores, size - 1)[:size] if size < len(scores) else np.arange(size)
        top = top[np.lexsort((top, -scores[top]))]
        for index in top[done:]:
            # Sounds without a vector have the score -inf.
            if not scores[index] >= max(min_score, -1.01):
                return
            yield int(index)
        done, size = size, size * 8


def distribute(
    scores: np.ndarray, count: int, min_score: float, identity: Callable[[int], str | None]
) -> list[tuple[int, int]]:
    """Give each event of a prompt sounds of its own.

    Every round gives each event one more sound. Events with the best match choose first, so that
    none takes what fits another better.

    Parameters
    ----------
    scores : np.ndarray
        Similarities [events, sounds].
    count : int
        How many sounds at most.
    min_score : float
        Least similarity.
    identity : callable
        Content of a sound, by its index: sounds of equal content are chosen once; None passes over
        a sound.

    Returns
    -------
    list of (int, int)
        Event and sound of each choice, in the order of events, best match first.
    """
    queues = [ranked(row, min_score) for row in scores]
    taken: set[str] = set()
    chosen: list[tuple[int, int]] = []

    def next_sound(event: int) -> int | None:
        for index in queues[event]:
            content = identity(index)
            if content is not None and content not in taken:
                taken.add(content)
                return index
        return None

    active = sorted(range(len(scores)), key=lambda event: -float(scores[event].max()))
    while active and len(chosen) < count:
        for event in list(active):
            if len(chosen) == count:
                break
            index = next_sound(event)
            if index is None:
                active.remove(event)
            else:
                chosen.append((event, index))
    return sorted(chosen, key=lambda choice: (choice[0], -scores[choice]))
