"""Subgraph blueprints are served, and are those that their workflows make."""

import json
import runpy

import requests
from comfy_server import PACK

FOLDER = PACK / "subgraphs"


def test_the_server_offers_each(server):
    offered = requests.get(server.url("global_subgraphs"), timeout=60).json()
    ours = {
        entry["name"]: key
        for key, entry in offered.items()
        if entry["info"].get("node_pack") == "custom_nodes.dreamaudio"
    }
    assert set(ours) == {path.stem for path in FOLDER.glob("*.json")} and len(ours) == 2
    for name, key in ours.items():
        answer = requests.get(server.url(f"global_subgraphs/{key}"), timeout=60).json()
        (node,) = json.loads(answer["data"])["nodes"]
        assert node["title"] == name


def test_each_is_what_its_workflow_makes():
    """After a change of a workflow: `python docs/subgraphs.py`."""
    made = runpy.run_path(str(PACK / "docs" / "subgraphs.py"))
    assert {b.name for b in made["BLUEPRINTS"]} == {path.stem for path in FOLDER.glob("*.json")}
    for blueprint in made["BLUEPRINTS"]:
        path = FOLDER / f"{blueprint.name}.json"
        assert path.read_text(encoding="utf-8") == made["text"](blueprint), blueprint.name
