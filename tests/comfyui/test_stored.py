"""Graphs in API format that were kept from earlier releases still run."""

import json

import pytest
from comfy_server import PACK

FILES = sorted((PACK / "tests" / "stored").glob("*/api/*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parts[-3]}/{p.stem}")
def test_a_kept_graph_runs(server, path):
    graph = json.loads(path.read_text(encoding="utf-8"))
    own_parts = any(node["class_type"] == "DreamAudioLoadFlow" for node in graph.values())
    for node in graph.values():
        inputs = node["inputs"]
        # A small model and few steps, for the time; other inputs are those of then.
        if "model_name" in inputs and not own_parts:
            inputs["model_name"] = "tiny"
        if "steps" in inputs:
            inputs["steps"] = 1
        if "quality" in inputs:
            inputs["quality"] = "draft"
    run = server.run(graph)
    assert run.error is None, run.message
    assert any(output.get("audio") for output in run.outputs.values())
