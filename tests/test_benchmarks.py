"""The benchmarks' harness and the table that their runner writes."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from scripts import load_script

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


harness, runner = load_script("benchmarks/harness.py"), load_script("benchmarks/run")


def test_calls_take_turns_and_the_first_of_each_is_not_counted():
    order = []
    watch = harness.Stopwatch(argparse.Namespace(threads=1, runs=2, device="cpu", clock="wall"))
    times = watch.medians(lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b"] * 3 and len(times) == 2 and min(times) >= 0.0


def test_different_outputs_are_not_compared():
    x = torch.ones(4)
    assert harness.require_equal(x + 1e-6, x) < 1e-5
    for other in (x + 1e-2, x * float("nan")):
        with pytest.raises(SystemExit, match="differ"):
            harness.require_equal(other, x)


def test_results_are_lines_of_json_that_the_table_shows(capsys):
    result = harness.Result("ours against theirs", 0.61234, 0.7, "", {"ours_s": 1.5})
    harness.report(argparse.Namespace(json=True), result)
    line = json.loads(capsys.readouterr().out)
    expected = {"name": "ours against theirs", "ratio": 0.6123, "bar": 0.7, "met": True}
    assert line == {**expected, "unit": "", "ours_s": 1.5}
    row = runner.row(line, "a machine", "2026-01-01")
    assert row == "| ours against theirs | 0.61 | 0.7 | met | a machine | 2026-01-01 |"
    missed = runner.row({**line, "met": False, "unit": "s"}, "a machine", "2026-01-01")
    assert "| 0.61 s | 0.7 s | **missed** |" in missed


def test_every_listed_benchmark_is_a_script():
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in runner.BENCHMARKS)
