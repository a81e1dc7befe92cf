"""Tables III to VI: what stands in them, and what they say of rows that were not run."""

from __future__ import annotations

import json
import re

import pytest

from dreamaudio_core.cli.main import main
from dreamaudio_core.evaluation.tables import (
    make_tables,
    paper_figures,
    paper_tables,
    table_markdown,
)

SCORES = {
    "concatenation": {"fad": 1.0, "kl_softmax": 0.5, "kl_sigmoid": 9.0, "clap": 40, "clap_a": 80},
    "overlay": {"fad": 3.0, "kl_softmax": 1.5, "kl_sigmoid": 9.0, "clap": 50, "clap_a": 90},
    "fantasy": {"pq": 6.0, "cu": 5.0},
    "general": {"fad": 2.0, "kl_softmax": 1.25, "clap": 45},
}


def reports(folder, *test_sets):
    """Reports as `evaluate ctta` writes them."""
    folder.mkdir()
    for name in test_sets or SCORES:
        system = {"name": "x", "clips": 25 if name == "fantasy" else 200, "scores": SCORES[name]}
        text = json.dumps({"sections": [{"test_set": name, "systems": [system]}]})
        (folder / f"report-{name}.json").write_text(text)
    return folder


def by_number(tables):
    return {table.number: table for table in tables}


def test_the_paper_s_figures():
    assert list(by_number(paper_tables())) == ["III", "IV", "V", "VI"]
    rows = {row.system: row for row in by_number(paper_tables())["III"].rows}
    assert list(rows) == [
        "re-audioldm",
        "re-audioldm-idea",
        "ddpm",
        "unet",
        "sencoder",
        "base",
        "l",
    ]
    assert rows["base"].paper["concatenation"]["fad"] == 0.50
    # Its Table VI gives the mean of both sets.
    ablation = by_number(paper_tables())["VI"].rows[0]
    for column in ("fad", "clap_a"):
        mean = rows["base"].paper["ctta"][column]
        assert ablation.paper["ctta"][column] == pytest.approx(mean, abs=0.005)
    assert paper_figures("fantasy")["DreamAudio-L"]["rel"] == 4.17 and paper_figures("x") == {}


def test_ours_stand_next_to_the_paper_s(tmp_path):
    systems = {
        "base": reports(tmp_path / "b"),
        "align-10000": reports(tmp_path / "a", "concatenation"),
        "mini": reports(tmp_path / "m", "general"),
    }
    ratings = {"base": {"ovl": 4.25, "rel": 3.5, "ratings": 8}, "unheard": {"ovl": 1, "rel": 1}}
    tables = by_number(make_tables(systems, ratings))
    third = table_markdown(tables["III"])
    lines = [line for line in third.splitlines() if "**ours**" in line]
    assert lines == [
        "| | **ours** | 200/200/25 | 1.00 | 0.50 | 40.0 | 80.0 | 3.00 | 1.50 | 50.0 | 90.0 "
        "| 6.00 | 5.00 | 4.25 | 3.50 |"
    ]
    assert "| DreamAudio | paper | | 0.50 | 0.90 | 52.0 | 86.3 | 0.78 |" in third
    # What was not run shows the paper's figures, marked, and what it takes.
    assert "| DreamAudio-L † | paper | | 0.46 |" in third
    assert "- † DreamAudio-L: not run here; it needs a training run of dreamaudio-l." in third
    assert "| DreamAudio-UNet † | paper | | – |" in third
    rows = {row.system: row.ours for row in tables["VI"].rows}
    assert rows["base"]["ctta"] == {
        "fad": 2.0,
        "kl_softmax": 1.0,
        "kl_sigmoid": 9.0,
        "kl": 1.0,
        "clap": 45,
        "clap_a": 85,
    }
    assert not rows["mask-0"]
    rows = {row.system: row.ours for row in tables["V"].rows}
    assert rows["align-10000"]["concatenation"]["clap_a"] == 80 and not rows["align-50000"]
    # A system that the paper does not know has rows of its own where it was scored.
    assert [r.system for r in tables["IV"].rows].count("mini") == 1
    assert "mini" not in [r.system for r in tables["III"].rows]


def test_the_command_writes_all_and_names_bad_input(tmp_path, capsys):
    out = tmp_path / "tables"
    system = f"base={reports(tmp_path / 'b')}"
    words = ["evaluate", "tables", "--system", system, "--out", str(out)]
    assert main([*words, "--plots", "--note", "A rehearsal."]) == 0
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "A rehearsal." in text
    content = json.loads((out / "tables.json").read_text(encoding="utf-8"))
    for number in ("III", "IV", "V", "VI"):
        assert f"## Table {number}: " in text and content[number]["rows"]
        assert (out / f"table-{number}.png").stat().st_size > 10_000
    assert content["III"]["rows"][5]["ours"]["overlay"]["fad"] == 3.0
    (tmp_path / "b/report-overlay.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for given, message in (
        (system, "report-overlay.json: expected the report of one system"),
        (f"l={tmp_path / 'empty'}", "expected reports .report-concatenation.json"),
        ("base", "--system: expected ID=FOLDER"),
    ):
        assert main(["evaluate", "tables", "--system", given, "--out", str(out)]) == 2
        assert re.search(message, capsys.readouterr().err)
