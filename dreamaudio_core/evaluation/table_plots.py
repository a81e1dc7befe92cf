"""A picture of each table: one panel a column, the paper's figures and ours side by side."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from .tables import HEADINGS, TEST_SETS, Table

_PAPER, _OURS = "#9aa5b1", "#d9480f"
_COLUMNS = 4


def plot_table(table: Table, path: Path) -> None:
    """Write a PNG of a table; cells without a figure stay empty.

    Raises
    ------
    InputError
        If matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "plots need matplotlib: pip install 'dreamaudio[plots]', or leave --plots out"
        ) from error
    cells = table.cells()
    across = min(_COLUMNS, len(cells))
    down = -(-len(cells) // across)
    names = [row.name for row in table.rows]
    height = 0.9 + 0.32 * len(names)
    figure = Figure(figsize=(2.2 + 2.4 * across, height * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    places = range(len(names))
    for panel, (test_set, column) in zip(panels, cells):
        for shift, colour, label, side in (
            (-0.19, _PAPER, "paper", "paper"),
            (0.19, _OURS, "ours", "ours"),
        ):
            values = [getattr(row, side).get(test_set, {}).get(column, 0.0) for row in table.rows]
            panel.barh([p + shift for p in places], values, 0.36, color=colour, label=label)
        panel.set_title(f"{TEST_SETS[test_set]} {HEADINGS[column][0]}", fontsize=9)
        panel.set_yticks(list(places), names, fontsize=8)
        panel.tick_params(axis="x", labelsize=7)
        panel.invert_yaxis() if panel is panels[0] else None
    for panel in panels[len(cells) :]:
        panel.set_axis_off()
    panels[0].legend(fontsize=7, loc="best")
    figure.suptitle(f"Table {table.number}: {table.title}", fontsize=10)
    FigureCanvasAgg(figure)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
