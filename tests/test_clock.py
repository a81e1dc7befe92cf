"""A clock that is set back, or forward: nothing is taken for older or newer than it is."""

import ast
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core import files
from dreamaudio_core.cli import main
from dreamaudio_core.training.run_state import saved_checkpoints, write_checkpoint

PACKAGE = Path(dreamaudio_core.__file__).parent
NODES = PACKAGE.parent / "nodes"
WALL_CLOCK = {"time", "time_ns", "now", "utcnow", "today"}
YEAR = 365 * 86_400


def reads_the_clock(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in WALL_CLOCK
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
        for node in ast.walk(tree)
    )


def test_only_the_age_of_leftovers_is_told_by_the_clock():
    """Waits and durations are measured by clocks that cannot be set."""
    paths = [*PACKAGE.rglob("*.py"), *NODES.glob("*.py")]
    assert [path.relative_to(PACKAGE) for path in paths if reads_the_clock(path)] == [
        Path("files.py")
    ]


@pytest.mark.parametrize("shift", [-YEAR, YEAR])
def test_a_file_is_written_whatever_the_clock_says(tmp_path, monkeypatch, shift):
    plain = time.time
    monkeypatch.setattr(files.time, "time", lambda: plain() + shift)
    target = tmp_path / "a.txt"
    with files.atomic_write(target) as temporary:
        temporary.write_text("begun")
        # Another process writes beside it, and looks for leftovers.
        monkeypatch.setattr(files, "_swept", set())
        with files.atomic_write(tmp_path / "b.txt") as other:
            other.write_text("other")
    assert target.read_text() == "begun" and (tmp_path / "b.txt").read_text() == "other"


def test_the_newest_checkpoint_is_that_of_the_last_step(tmp_path):
    for step in (1, 2):
        state = {"step": step, "settings": {}, "losses": {"a": torch.zeros(3)}, "ema": {}}
        write_checkpoint(tmp_path, step, state, keep=2)
        path = saved_checkpoints(tmp_path)[-1][1]
        os.utime(path, (plain := time.time() - step * YEAR, plain))
    assert [step for step, _ in saved_checkpoints(tmp_path)] == [1, 2]
    write_checkpoint(tmp_path, 3, {**state, "step": 3}, keep=2)
    assert [step for step, _ in saved_checkpoints(tmp_path)] == [2, 3]


def test_a_sound_with_an_older_time_is_indexed_anew(tmp_path, capsys):
    sounds, library = tmp_path / "sounds", str(tmp_path / "my.sqlite")
    sounds.mkdir()
    target = sounds / "a sound.flac"
    examples = PACKAGE / "examples"
    shutil.copy(examples / "crow.flac", target)
    assert main(["library", "add", str(sounds), "--library", library]) == 0
    first = capsys.readouterr().out
    shutil.copy(examples / "guitar.flac", target)
    os.utime(target, (0, 0))
    assert main(["library", "add", str(sounds), "--library", library]) == 0
    second = capsys.readouterr().out
    assert "1 added" in first and "1 updated" in second, (first, second)
