"""Tables III to VI of the paper: its figures next to those of evaluations of our own.

A system's evaluations are the `report-<test set>.json` files of one folder, as `evaluate ctta`
writes them. Rows and columns, and what the paper says, are in `paper_figures.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json

Figures = dict[str, dict[str, float]]
"""By test set, then by column."""
CTTA = "ctta"
MEASURED = ("concatenation", "overlay", "fantasy", "general")
HEADINGS = {
    "fad": ("FAD ↓", 2),
    "kl": ("KL ↓", 2),
    "kl_softmax": ("KL softmax ↓", 2),
    "kl_sigmoid": ("KL sigmoid ↓", 2),
    "clap": ("CLAP ↑", 1),
    "clap_a": ("CLAP_A ↑", 1),
    "pq": ("PQ ↑", 2),
    "cu": ("CU ↑", 2),
    "ovl": ("OVL ↑", 2),
    "rel": ("REL ↑", 2),
}
"""Heading and decimals of each column."""
TEST_SETS = {
    "concatenation": "CC",
    "overlay": "CO",
    "fantasy": "CF",
    "general": "AudioCaps",
    CTTA: "CTTA",
}
_UNKNOWN = "–"
_OURS_KL = "kl_softmax"


@dataclass(frozen=True)
class Row:
    """A system in a table: the paper's figures, and ours where it was run.

    Parameters
    ----------
    system
        Identifier, by which evaluations are found.
    name
        As shown.
    needs
        What it takes to run it.
    paper, ours
        Figures; an empty one of ours says that it was not run.
    clips
        Clips of each test set that ours are means of.
    """

    system: str
    name: str
    needs: str = ""
    paper: Figures = field(default_factory=dict)
    ours: Figures = field(default_factory=dict)
    clips: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One of the paper's tables; `columns` has the measures of each test set."""

    number: str
    title: str
    columns: dict[str, list[str]]
    rows: list[Row]
    note: str = ""

    def cells(self) -> list[tuple[str, str]]:
        """(test set, measure) of each column."""
        return [(name, column) for name, columns in self.columns.items() for column in columns]


@lru_cache(maxsize=1)
def paper_tables() -> tuple[Table, ...]:
    """The tables with the paper's figures alone."""
    content = parse_json(Path(__file__).with_name("paper_figures.json").read_text("utf-8"))
    return tuple(
        Table(
            table["number"],
            table["title"],
            table["columns"],
            [
                Row(row["system"], row["name"], row["needs"], _with_ctta(row.get("figures", {})))
                for row in table["rows"]
            ],
            table.get("note", ""),
        )
        for table in content["tables"]
    )


def paper_figures(test_set: str) -> Figures:
    """The paper's figures for a test set, by the names of the systems."""
    found: Figures = {}
    for table in paper_tables():
        if table.number in ("III", "IV"):
            found.update({r.name: r.paper[test_set] for r in table.rows if test_set in r.paper})
    return found


def _with_ctta(figures: Figures) -> Figures:
    """Figures with the mean of the two customized test sets, where both are known."""
    pair = [figures.get(name, {}) for name in ("concatenation", "overlay")]
    common = {column for column in pair[0] if column in pair[1]}
    if not common:
        return dict(figures)
    return {**figures, CTTA: {c: (pair[0][c] + pair[1][c]) / 2 for c in common}}


def read_system(folder: Path) -> tuple[Figures, dict[str, int]]:
    """Figures of the reports of one system, and the clips that they are means of.

    Raises
    ------
    InputError
        If the folder has no report, or one is not what `evaluate ctta` writes.
    """
    figures: Figures = {}
    clips: dict[str, int] = {}
    for name in MEASURED:
        path = folder / f"report-{name}.json"
        if not path.is_file():
            continue
        try:
            (section,) = parse_json(path.read_text(encoding="utf-8"))["sections"]
            (system,) = section["systems"]
            scores = {key: float(value) for key, value in system["scores"].items()}
            clips[name] = int(system["clips"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected the report of one system on one test set, found another file "
                f"({error}); evaluate it again"
            ) from error
        figures[name] = {**scores, "kl": scores[_OURS_KL]} if _OURS_KL in scores else scores
    if not figures:
        raise InputError(
            f"{folder}: expected reports (report-concatenation.json, ...), found none; make them "
            f"with: dreamaudio evaluate ctta ... --out {folder}"
        )
    return _with_ctta(figures), clips


def make_tables(
    systems: Mapping[str, Path], ratings: Mapping[str, Mapping[str, float]] | None = None
) -> list[Table]:
    """The paper's tables with our figures.

    Parameters
    ----------
    systems
        Folder of reports by identifier; one that no table has becomes a row of its own in each
        table whose test sets it was scored on, apart from those of ablations.
    ratings
        Mean `ovl` and `rel` by identifier, from listening tests on the scenarios.

    Raises
    ------
    InputError
        As `read_system`.
    """
    found = {name: read_system(folder) for name, folder in systems.items()}
    for name, means in (ratings or {}).items():
        if name in found:
            figures = found[name][0]
            scores = {key: float(means[key]) for key in ("ovl", "rel")}
            figures["fantasy"] = {**figures.get("fantasy", {}), **scores}
    known = {row.system for table in paper_tables() for row in table.rows}
    tables = []
    for table in paper_tables():
        rows = [_filled(row, table, found) for row in table.rows]
        for name in found if table.number in ("III", "IV") else ():
            if name not in known and set(found[name][0]) & set(table.columns):
                rows.append(_filled(Row(name, name), table, found))
        tables.append(Table(table.number, table.title, table.columns, rows, table.note))
    return tables


def _filled(row: Row, table: Table, found: Mapping[str, tuple[Figures, dict[str, int]]]) -> Row:
    figures, clips = found.get(row.system, ({}, {}))
    ours = {name: figures[name] for name in table.columns if name in figures}
    return Row(row.system, row.name, row.needs, row.paper, ours, clips if ours else {})


def tables_json(tables: list[Table]) -> dict[str, Any]:
    """All tables as plain values."""
    return {
        table.number: {
            "title": table.title,
            "columns": table.columns,
            "rows": [vars(row) for row in table.rows],
            "note": table.note,
        }
        for table in tables
    }


def table_markdown(table: Table) -> str:
    """One table: two lines a system, the paper's figures and ours."""
    heads = [f"{TEST_SETS[name]} {HEADINGS[column][0]}" for name, column in table.cells()]
    lines = [
        f"## Table {table.number}: {table.title}",
        "",
        "| system | | clips | " + " | ".join(heads) + " |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    notes = [table.note] if table.note else []
    for row in table.rows:
        mark = "" if row.ours else " †"
        lines.append(f"| {row.name}{mark} | paper | | {_line(table, row.paper)} |")
        if row.ours:
            scored = ("concatenation", "overlay") if CTTA in table.columns else ()
            names = dict.fromkeys([*scored, *table.columns])
            clips = "/".join(str(row.clips[name]) for name in names if name in row.clips)
            lines.append(f"| | **ours** | {clips} | {_line(table, row.ours)} |")
        elif row.needs:
            notes.append(f"† {row.name}: not run here; it needs {row.needs}.")
    notes.append(
        f"{_UNKNOWN}: not known. The KL of ours is that of softmax; the paper does not say which."
    )
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _line(table: Table, figures: Figures) -> str:
    return " | ".join(
        _cell(figures.get(name, {}).get(column), HEADINGS[column][1])
        for name, column in table.cells()
    )


def _cell(value: float | None, places: int) -> str:
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    return f"{round(value, places) + 0.0:.{places}f}"
