"""Write the subgraph blueprints in `subgraphs/`, which ComfyUI's node search offers as single
nodes, from the workflows that they stand for.

    python docs/subgraphs.py

A blueprint is a workflow with one node, whose type is the subgraph that it defines. What the node
shows is listed in `BLUEPRINTS`: nodes of the workflow that are kept, and which of their inputs and
outputs lead outside, under which name.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parents[1]
# ComfyUI's ids of the ends of a subgraph.
INPUT_NODE, OUTPUT_NODE = -10, -20
MARGIN, ROW, END_WIDTH, HEAD = 60, 20, 160, 40
VALUE_TYPES = {"STRING", "INT", "FLOAT", "COMBO"}


@dataclass(frozen=True)
class Blueprint:
    """`inputs` and `outputs`: name outside, id of the node in the workflow, name at that node."""

    workflow: str
    name: str
    description: str
    search_aliases: tuple[str, ...]
    keep: tuple[int, ...]
    inputs: tuple[tuple[str, int, str], ...]
    outputs: tuple[tuple[str, int, str], ...]
    size: tuple[int, int]
    # Sockets for references that the workflow's node does not show yet.
    more_references: tuple[int, int] = (0, 0)


BLUEPRINTS = (
    Blueprint(
        workflow="1_quick_start",
        name="DreamAudio Scene with Two Sounds",
        description="Two of your sounds with a caption each, a prompt that says when they play, "
        "and the result: the quick start in one node.",
        search_aliases=("sound effect", "sfx", "foley", "ambience", "text to audio"),
        keep=(1, 2, 3),
        inputs=(
            ("sound_1", 1, "audio"),
            ("caption_1", 1, "caption"),
            ("sound_2", 2, "audio"),
            ("caption_2", 2, "caption"),
            ("prompt", 3, "prompt"),
            ("seconds", 3, "seconds"),
            ("seed", 3, "seed"),
            ("quality", 3, "quality"),
            ("more_sounds", 3, "references.reference2"),
            ("model", 3, "model"),
        ),
        outputs=(("audio", 3, "audio"), ("mel", 3, "mel")),
        size=(400, 420),
    ),
    Blueprint(
        workflow="1b_full_chain",
        name="DreamAudio Full Chain",
        description="Model, captions, arrangement, sampler, decoder, vocoder and reference detail "
        "in one node; open it to edit the timeline or to exchange a part.",
        search_aliases=("sound effect", "sfx", "foley", "text to audio", "timeline", "vocoder"),
        keep=(2, 4, 5, 6, 7, 8, 9),
        inputs=(
            *((f"sound_{k + 1}", 4, f"references.reference{k}") for k in range(4)),
            ("model_name", 2, "model_name"),
            ("prompt", 4, "prompt"),
            ("negative_prompt", 4, "negative_prompt"),
            ("seconds", 5, "seconds"),
            ("seed", 6, "seed"),
            ("steps", 6, "steps"),
            ("guidance", 6, "guidance"),
            ("reference_guidance", 6, "reference_guidance"),
            ("variation", 6, "variation"),
        ),
        outputs=(("audio", 9, "audio"), ("mel", 7, "mel"), ("arrangement", 5, "arrangement")),
        size=(400, 420),
        more_references=(4, 5),
    ),
)


def _id(*parts: str) -> str:
    """The same id for the same parts, so that a rebuilt blueprint is the same file."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("dreamaudio", *parts))))


def _kept_nodes(blueprint: Blueprint, workflow: dict) -> dict[int, dict]:
    """The nodes that are kept, with no link outside and with sockets for more references."""
    nodes = {node["id"]: node for node in workflow["nodes"] if node["id"] in blueprint.keep}
    links = {link[0] for link in workflow["links"] if link[1] in nodes and link[3] in nodes}
    for node in nodes.values():
        for entry in node["inputs"]:
            entry["link"] = entry["link"] if entry["link"] in links else None
        for output in node["outputs"]:
            output["links"] = [link for link in output["links"] or [] if link in links] or None
    if blueprint.more_references[1]:
        id, count = blueprint.more_references
        inputs = nodes[id]["inputs"]
        first = next(k for k, e in enumerate(inputs) if e["name"].startswith("references."))
        template = inputs[first]
        rest = [e for e in inputs if not e["name"].startswith("references.")]
        rest[first:first] = [
            {**template, "name": f"references.reference{k}", "label": f"reference{k}", "link": None}
            for k in range(count)
        ]
        nodes[id]["inputs"] = rest
    return nodes


def _inner_links(workflow: dict, nodes: dict[int, dict]) -> list[dict]:
    """Links between the kept nodes, as subgraphs store them."""
    found = []
    for id, source, slot, target, _, kind in workflow["links"]:
        if source in nodes and target in nodes:
            slots = [entry["link"] for entry in nodes[target]["inputs"]]
            found.append(_link(id, source, slot, target, slots.index(id), kind))
    return found


def _link(id: int, source: int, slot: int, target: int, target_slot: int, kind: str) -> dict:
    return {
        "id": id,
        "origin_id": source,
        "origin_slot": slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": kind,
    }


def _ends(nodes: dict[int, dict], rows: int, right: bool) -> dict:
    """Position and size of the subgraph's input or output node, beside its nodes."""
    left = min(node["pos"][0] for node in nodes.values()) - MARGIN - END_WIDTH
    edge = max(node["pos"][0] + node["size"][0] for node in nodes.values()) + MARGIN
    top = min(node["pos"][1] for node in nodes.values())
    id = OUTPUT_NODE if right else INPUT_NODE
    return {"id": id, "bounding": [edge if right else left, top, END_WIDTH, HEAD + ROW * rows]}


def _value(node: dict, name: str):
    """Value of a widget; that of a seed is followed by what happens to it after a run."""
    names = []
    for entry in node["inputs"]:
        if "widget" in entry:
            names += [entry["name"]] + ["control"] * (entry["name"] == "seed")
    return node["widgets_values"][names.index(name)]


def build(blueprint: Blueprint) -> dict:
    """The blueprint as ComfyUI stores it."""
    path = PACK / "workflows" / f"{blueprint.workflow}.json"
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = _kept_nodes(blueprint, workflow)
    links = _inner_links(workflow, nodes)
    last = workflow["last_link_id"]
    subgraph_id = _id(blueprint.name)
    outer_inputs, outer_outputs, inputs, outputs, values = [], [], [], [], []
    for position, (name, id, inner) in enumerate(blueprint.inputs):
        last += 1
        slot = next(k for k, e in enumerate(nodes[id]["inputs"]) if e["name"] == inner)
        entry = nodes[id]["inputs"][slot]
        entry["link"] = last
        links.append(_link(last, INPUT_NODE, position, id, slot, entry["type"]))
        common = {"name": name, "type": entry["type"], "label": name.replace("_", " ")}
        inputs.append({"id": _id(blueprint.name, "in", name), **common, "linkIds": [last]})
        outer_inputs.append({**common, "link": None})
        if "widget" in entry:
            outer_inputs[-1]["widget"] = {"name": name}
            values.append(_value(nodes[id], inner))
    for position, (name, id, inner) in enumerate(blueprint.outputs):
        last += 1
        slot = next(k for k, e in enumerate(nodes[id]["outputs"]) if e["name"] == inner)
        output = nodes[id]["outputs"][slot]
        output["links"] = [*(output["links"] or []), last]
        links.append(_link(last, id, slot, OUTPUT_NODE, position, output["type"]))
        common = {"name": name, "type": output["type"]}
        outputs.append({"id": _id(blueprint.name, "out", name), **common, "linkIds": [last]})
        outer_outputs.append({**common, "links": None})
    version = nodes[blueprint.keep[0]]["properties"]
    instance = {
        "id": 1,
        "type": subgraph_id,
        "pos": [40, 70],
        "size": list(blueprint.size),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": outer_inputs,
        "outputs": outer_outputs,
        "title": blueprint.name,
        "properties": {
            "proxyWidgets": [["-1", entry["name"]] for entry in outer_inputs if "widget" in entry],
            "cnr_id": version["cnr_id"],
            "ver": version["ver"],
        },
        "widgets_values": values,
    }
    subgraph = {
        "id": subgraph_id,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(nodes),
            "lastLinkId": last,
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "inputNode": _ends(nodes, len(inputs), right=False),
        "outputNode": _ends(nodes, len(outputs), right=True),
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": list(nodes.values()),
        "groups": [],
        "links": links,
        "extra": {},
        "category": "DreamAudio",
        "description": blueprint.description,
    }
    return {
        "id": _id(blueprint.name, "workflow"),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [instance],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": {
            "BlueprintDescription": blueprint.description,
            "BlueprintSearchAliases": list(blueprint.search_aliases),
        },
        "version": 0.4,
    }


def text(blueprint: Blueprint) -> str:
    """What its file holds."""
    return json.dumps(build(blueprint), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for blueprint in BLUEPRINTS:
        target = PACK / "subgraphs" / f"{blueprint.name}.json"
        target.write_text(text(blueprint), encoding="utf-8")
        print(target.relative_to(PACK))
