"""The report of evaluations on one test set: `report-NAME.json` and `report-NAME.md`, with the
paper's figures for that set. `tables` joins reports.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_write
from .evaluate import Evaluation
from .tables import HEADINGS, paper_figures

_CAVEAT = (
    "The paper's figures are those of its Tables III and IV, on its own test items and weights of "
    "the metrics; they compare with ours as far as both agree."
)


@dataclass(frozen=True)
class Section:
    """One part of a report: a test set and the systems scored on it.

    Parameters
    ----------
    test_set : str or None
        Name of the test set; with one of the paper's, its figures are shown next to these.
    evaluations : list of Evaluation
        One for each system.
    ratings : dict of str to dict, optional
        Mean `ovl` and `rel` by system, from listening tests.
    plots : list of (str, Path), optional
        Heading and PNG file of plots.
    """

    test_set: str | None
    evaluations: list[Evaluation]
    ratings: dict[str, dict[str, float]] = field(default_factory=dict)
    plots: list[tuple[str, Path]] = field(default_factory=list)


def report_json(sections: list[Section]) -> dict[str, Any]:
    """All figures as plain values, scores of single clips included."""
    return {
        "sections": [
            {
                "test_set": section.test_set,
                "paper": paper_figures(section.test_set or ""),
                "systems": [
                    {
                        "name": e.name,
                        "scores": e.scores | section.ratings.get(e.name, {}),
                        "clips": len(e.pairing.stems),
                        "per_clip": e.clips,
                        "notes": list(e.notes),
                        "weights": e.weights,
                    }
                    for e in section.evaluations
                ],
            }
            for section in sections
        ]
    }


def report_markdown(sections: list[Section], folder: Path | None = None) -> str:
    """The report as Markdown; plots are linked relative to `folder`."""
    lines = ["# Evaluation", ""]
    for section in sections:
        lines += [f"## {(section.test_set or 'Clips').capitalize()}", ""]
        paper = paper_figures(section.test_set or "")
        rows = [(f"{_cell(name)} (paper)", "", figures) for name, figures in paper.items()]
        rows += [
            (
                f"**{_cell(e.name)}**",
                str(len(e.pairing.stems)),
                e.scores | section.ratings.get(e.name, {}),
            )
            for e in section.evaluations
        ]
        columns = [key for key in HEADINGS if any(key in figures for *_, figures in rows)]
        lines.append("| system | clips | " + " | ".join(HEADINGS[key][0] for key in columns) + " |")
        lines.append("|---|---|" + "---|" * len(columns))
        for name, count, figures in rows:
            cells = [
                _figure(figures[key], HEADINGS[key][1]) if key in figures else "" for key in columns
            ]
            lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
        lines.append("")
        if paper:
            lines += [_CAVEAT, ""]
        for evaluation in section.evaluations:
            found = [f"- {_cell(note)}" for note in evaluation.notes]
            found += [
                f"- {network}: {_cell(source)}" for network, source in evaluation.weights.items()
            ]
            lines += [f"{_cell(evaluation.name)}:", "", *found, ""] if found else []
        for heading, plot in section.plots:
            link = (
                os.path.relpath(plot, folder).replace(os.sep, "/")
                if folder is not None
                else str(plot)
            )
            lines += [f"![{_cell(heading)}](<{link}>)", ""]
    return "\n".join(lines).rstrip() + "\n"


def write_report(folder: str | Path, sections: list[Section]) -> tuple[Path, Path]:
    """Write the report into `folder`, as JSON and as Markdown; each appears whole or not at all.

    The files are named after the test set, as `report-overlay.md`, so that reports of several test
    sets lie side by side; `report.md` is that of clips of no test set.

    Returns
    -------
    (Path, Path)
        The JSON and the Markdown file.

    Raises
    ------
    InputError
        If a score is not finite or the folder cannot be written.
    """
    folder = Path(folder)
    for section in sections:
        for evaluation in section.evaluations:
            for key, value in evaluation.scores.items():
                if not math.isfinite(value):
                    raise InputError(
                        f"report: the {key} of {evaluation.name} is {value}; check its clips and "
                        "weights"
                    )
    name = "-".join(["report", *(section.test_set for section in sections if section.test_set)])
    as_json, as_markdown = folder / f"{name}.json", folder / f"{name}.md"
    write_text(as_json, json.dumps(report_json(sections), indent=1, ensure_ascii=False) + "\n")
    write_text(as_markdown, report_markdown(sections, folder))
    return as_json, as_markdown


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from error


def _figure(value: float, places: int) -> str:
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    return f"{round(value, places) + 0.0:.{places}f}"


def _cell(text: str) -> str:
    return (
        " ".join(text.split())
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("[", "\\[")
        .replace("]", "\\]")
    )
