"""Filling a workflow in ComfyUI's API format from a scene.

Fields of the scene go to the inputs of the same name of all DreamAudio nodes, and its references to
Load Reference nodes in front of Encode Caption or Scene. Nodes of other packs can have placeholders
in their texts: `{{prompt}}`, `{{seed}}`, `{{audio1}}`, `{{caption1}}` ...
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json
from ..scene.scenes import Scene, SceneReference

Graph = dict[str, dict[str, Any]]
PREFIX = "DreamAudio"
ENCODERS = ("DreamAudioEncodeCaption", "DreamAudioScene")
LOAD = "DreamAudioLoadReference"
_PLACEHOLDER = re.compile(r"\{\{ *([a-z_]+[0-9]*) *\}\}")
_SLOT = "references."
# Inputs of Load Reference that scenes do not set, where the workflow has no such node.
_DEFAULTS = {"pan": 0.0, "fade_in": 0.0, "fade_out": 0.0, "trim": "silence"}


def read_workflow(path: Path) -> Graph:
    """A workflow as ComfyUI's "Export (API)" writes it.

    Raises
    ------
    InputError
        If the file is none.
    """
    try:
        graph = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--workflow: {path}: cannot be read as JSON ({error})") from error
    if not isinstance(graph, dict) or not graph or "nodes" in graph:
        raise InputError(f"--workflow: {path}: expected API format; use ComfyUI's Export (API)")
    for name, node in graph.items():
        whole = isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        if not whole or not isinstance(node.get("class_type"), str):
            raise InputError(
                f"--workflow: {path}: node {name}: expected class_type and inputs; use ComfyUI's "
                "Export (API)"
            )
    return graph


def fill_workflow(graph: Graph, scene: Scene, uploaded: list[str], prefix: str) -> Graph:
    """A copy of a graph that makes the sound of a scene.

    Parameters
    ----------
    uploaded
        Names that the references' files have in the server's input folder.
    prefix
        Prefix of the files that the server saves.

    Raises
    ------
    InputError
        If the scene has a field that the graph has no place for.
    """
    graph = copy.deepcopy(graph)
    given = {"prompt": scene.prompt, **scene.settings()}
    references = [_inputs(r, name) for r, name in zip(scene.references, uploaded)]
    numbered = {f"{k}{n}": v for n, r in enumerate(references, 1) for k, v in r.items()}
    everything = {"name": scene.name, "seconds": "", "negative_prompt": "", **given, **numbered}
    placed = _fill_placeholders(graph, everything)
    for node in graph.values():
        inputs = node["inputs"]
        if isinstance(inputs.get("filename_prefix"), str) and "name" not in placed:
            inputs["filename_prefix"] = prefix
        if not node["class_type"].startswith(PREFIX):
            continue
        if "timeline" in inputs:
            # One that was edited for another scene.
            inputs["timeline"] = ""
        for name in set(given) & set(inputs):
            inputs[name] = given[name]
            placed.add(name)
    encoders = [node for node in graph.values() if node["class_type"] in ENCODERS]
    if encoders and not any(name.startswith("audio") for name in placed):
        _place_references(graph, encoders, references)
        placed |= set(numbered)
    for name in (*given, *(f"audio{n}" for n in range(1, len(references) + 1))):
        if name not in placed:
            raise InputError(
                f"{name}: the workflow has no DreamAudio node with such an input and no "
                f"{{{{{name}}}}}; leave the field out, or add one of them"
            )
    return graph


def _inputs(reference: SceneReference, audio: str) -> dict[str, Any]:
    """Inputs of a Load Reference node."""
    if reference.placements is not None:
        raise InputError("placements: cannot be given to a workflow; write start")
    start = "auto" if reference.start is None else ", ".join(f"{s:g}" for s in reference.start)
    return {
        "audio": audio,
        "caption": reference.caption,
        "strength": reference.strength,
        "start": start,
        "gain": reference.gain,
        "begin": reference.begin,
        "end": reference.end or 0.0,
    }


def _place_references(
    graph: Graph, encoders: list[dict[str, Any]], references: list[dict[str, Any]]
) -> None:
    """Put a Load Reference node for each reference in front of the encoders, in place of what is
    linked there.
    """
    known: dict[str, Any] = next(
        (n["inputs"] for n in graph.values() if n["class_type"] == LOAD), _DEFAULTS
    )
    links = []
    for number, inputs in enumerate(references):
        name = f"scene_reference{number}"
        graph[name] = {"class_type": LOAD, "inputs": {**known, **inputs}}
        links.append([name, 0])
    for node in encoders:
        kept = {k: v for k, v in node["inputs"].items() if not k.startswith(_SLOT)}
        slots = {f"{_SLOT}reference{k}": link for k, link in enumerate(links)}
        node["inputs"] = {**kept, **slots}


def _fill_placeholders(graph: Graph, values: dict[str, Any]) -> set[str]:
    """Fill the placeholders of all texts; the names that were found."""
    found: set[str] = set()

    def value(match: re.Match) -> Any:
        name = match[1]
        if name not in values:
            raise InputError(f"{{{{{name}}}}}: the scene has no such field; give it one")
        found.add(name)
        return values[name]

    for node in graph.values():
        for key, text in node["inputs"].items():
            if not isinstance(text, str):
                continue
            whole = _PLACEHOLDER.fullmatch(text.strip())
            # Alone it keeps its type: a seed is a number.
            filled = value(whole) if whole else _PLACEHOLDER.sub(lambda m: str(value(m)), text)
            node["inputs"][key] = filled
    return found
