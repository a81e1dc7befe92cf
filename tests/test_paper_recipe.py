"""The paper's recipe: its plan fits the commands, and a short rehearsal goes the whole way."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dreamaudio_core.cli.main import COMMANDS
from dreamaudio_core.errors import InputError
from dreamaudio_core.scene.scene_files import parse_scenes
from scripts import load_script

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "paper"
# Of the flow runs only two, which share their weights' shape, and fewer of everything else.
SHORT = """
[flow.ddpm]
tests = ["overlay"]
[flow.base]
data = ["concatenation:6", "overlay", "general"]
[align]
milestones = [0, 1]
names = [0, 10_000]
[evaluation]
tests = ["concatenation", "overlay", "fantasy"]
also = { base-retrieved = ["base", "general-retrieved"] }
listening = ["base"]
options = { steps = 1, device = "cpu" }
[systems]
re-audioldm-idea = { tests = ["general"] }
[run]
only = ["base", "ddpm"]
"""


@pytest.fixture
def recipe(monkeypatch):
    """Its modules."""
    monkeypatch.syspath_prepend(str(RECIPE))
    module = load_script("recipes/paper/run")
    yield module
    for name in ("plan", "runner", "steps", "measures", "splits", "stand_ins"):
        sys.modules.pop(name, None)


def plan_of(recipe, work, **changes):
    config = recipe.read_config([RECIPE / "paper.toml"])
    config["run"].update(changes)
    data = {name: work / name for name in recipe.COLLECTIONS}
    return recipe.Plan(config, work, data, None)


def test_every_command_of_the_plan_is_one_that_dreamaudio_has(recipe, tmp_path):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    steps = plan_of(recipe, tmp_path).steps()
    for name in {step.words[0] for step in steps if step.words}:
        module = COMMANDS[name][0]
        importlib.import_module(module, "dreamaudio_core").add_parser(commands)
    for step in steps:
        if step.words:
            parser.parse_args(step.words)
    stages = [step.stage for step in steps]
    assert set(stages) == set(recipe.STAGES)
    assert [recipe.STAGES.index(s) for s in stages] == sorted(map(recipe.STAGES.index, stages))
    # Each table has all its rows, as far as they are ours to run.
    systems = {system for system, *_ in plan_of(recipe, tmp_path).evaluations()}
    from dreamaudio_core.evaluation.tables import paper_tables

    others = set(recipe.read_config([RECIPE / "paper.toml"])["systems"])
    rows = {row.system for table in paper_tables() for row in table.rows}
    assert rows == systems | others
    # Of others' systems only the one that runs on our own model needs no weights.
    assert others & systems == {"re-audioldm-idea"}
    ddpm = plan_of(recipe, tmp_path, only=["ddpm"]).evaluations()
    assert {system for system, *_ in ddpm} == {"ddpm"}


def test_the_paper_s_numbers(recipe, tmp_path):
    from dreamaudio_core.data.datasets import COUNTS

    config = recipe.read_config([RECIPE / "paper.toml"])
    for name in ("concatenation", "overlay", "general"):
        assert {s: config["sets"][name][s] for s in ("train", "test")} == COUNTS[name]
        assert ("audiocaps" in config["sets"][name]["collections"]) == (name == "general")
    written = Counter()
    for step in plan_of(recipe, tmp_path).steps():
        if step.words[:2] in (["train", "flow"], ["train", "align"]):
            assert step.words[step.words.index("--lr") + 1] == "5e-05"
            written[step.name.split(" ")[0]] += step.written
    assert len(written) == len(config["flow"]) + 1
    # A checkpoint of L takes 14 GB; every thousand steps they would be 36 TB.
    assert all(0 < amount < 0.5e12 for amount in written.values()), written


def test_wrong_configurations_are_named(recipe, tmp_path):
    (tmp_path / "x.toml").write_text("[sest]\n")
    with pytest.raises(InputError, match="unknown section 'sest'"):
        recipe.read_config([RECIPE / "paper.toml", tmp_path / "x.toml"])
    with pytest.raises(InputError, match="run.only: 'big' is none of base"):
        plan_of(recipe, tmp_path, only=["big"])
    plan = plan_of(recipe, tmp_path)
    plan.config["flow"]["base"]["data"] = ["overlay", "musdb"]
    with pytest.raises(InputError, match="'musdb' is none of the sets"):
        plan.steps()


def test_the_scenarios_have_three_sounds_each_of_the_listed_packages():
    listed = (RECIPE / "fantasy_sounds.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in listed if not line.startswith("#")]
    text = (RECIPE / "fantasy.jsonl").read_text(encoding="utf-8")
    scenes = parse_scenes(text, lambda name, label: Path(name))
    assert len(scenes) == 25 and all(len(scene.references) == 3 for scene in scenes)
    used = {(str(r.audio), r.caption) for scene in scenes for r in scene.references}
    assert len(used) == len(listed) == 60
    assert sorted(audio for audio, _ in used) == sorted(listed)
    assert len({caption for _, caption in used}) == 60


def test_a_short_rehearsal_goes_from_datasets_to_tables(recipe, tmp_path, capsys):
    (tmp_path / "short.toml").write_text(SHORT)
    words = [str(tmp_path / "work"), "--rehearsal", "--config", str(tmp_path / "short.toml")]
    found = subprocess.run(
        [sys.executable, RECIPE / "run", "all", *words], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    work = tmp_path / "work"
    tables = json.loads((work / "tables" / "tables.json").read_text(encoding="utf-8"))
    ours = {
        number: {row["system"]: row["ours"] for row in tables[number]["rows"] if row["ours"]}
        for number in ("III", "IV", "V", "VI")
    }
    assert set(ours["III"]) == {"base", "ddpm"}
    assert set(ours["IV"]) == {"base-retrieved", "re-audioldm-idea"}
    assert set(ours["V"]) == {"base", "align-0", "align-10000"} and set(ours["VI"]) == {"base"}
    assert {"fad", "kl", "clap", "clap_a"} <= set(ours["III"]["base"]["concatenation"])
    assert {"ovl", "rel"} <= set(ours["III"]["base"]["fantasy"])
    assert ours["VI"]["base"]["ctta"]["clap_a"] == pytest.approx(
        sum(ours["III"]["base"][name]["clap_a"] for name in ("concatenation", "overlay")) / 2
    )
    splits = json.loads((work / "splits.json").read_text(encoding="utf-8"))
    assert splits["wavcaps"]["found"]["test"] and splits["wavcaps"]["paper"] == {"all": 163_818}
    assert "blacklist" in found.stderr and "only sounds under 10 s" in found.stderr
    for name in ("align-0", "align-10000"):
        assert (work / "models" / name / "flow.safetensors").exists()
    # The milestone that was kept is not the last step.
    kept = [work / "runs" / "base" / f"flow-{step}.safetensors" for step in (2, 3)]
    assert kept[0].read_bytes() != kept[1].read_bytes()
    # Once more: everything is done but the tables, which are cheap.
    assert recipe.main(["all", *words]) == 0
    again = capsys.readouterr().out
    assert again.count("== ") == 1 and "tables: tables" in again
