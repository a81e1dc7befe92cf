"""Progress bars, drawn on terminals only."""

from __future__ import annotations

from tqdm import tqdm


def progress_bar(total: int, label: str, show: bool = True) -> tqdm:
    """Bar over `total` steps, drawn only where standard error is a terminal and `show` is set."""
    return tqdm(total=total, desc=label, unit="clip", disable=None if show else True, leave=False)
