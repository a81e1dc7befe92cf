"""Progress bars, drawn on terminals only."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


def progress_bar(total: int, label: str, show: bool = True) -> tqdm:
    """Bar over `total` steps, drawn only where standard error is a terminal and `show` is set."""
    return tqdm(total=total, desc=label, unit="clip", disable=None if show else True, leave=False)


# Gets how much is done, and of how much; whoever listens stops the work by an exception.
Progress = Callable[[int, int], None]


def part_of(progress: Progress | None, index: int, count: int) -> Progress | None:
    """Progress of the part `index` of `count` equal ones."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)
