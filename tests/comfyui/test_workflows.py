"""The workflows that the pack ships: UI and API files are the same graph, fit the live nodes, and
run untouched.
"""

import json

import numpy as np
import pytest
from comfy_server import PACK
from PIL import Image

from dreamaudio_core.audio.decode import read_original

FOLDER = PACK / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
WIDGETS = {"STRING", "INT", "FLOAT", "COMBO", "BOOLEAN"}
SWITCHED_OFF = 2
BALL_SECONDS = 3.0
MINI = PACK / "dreamaudio_core" / "models" / "mini" / "flow.safetensors"


def read(name):
    """A workflow in UI format and in API format."""
    return tuple(
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for folder in (FOLDER, FOLDER / "api")
    )


@pytest.fixture(scope="module")
def nodes(server):
    return server.object_info()


def widget_names(info):
    """Names of the values in `widgets_values`, in their order."""
    names = []
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            if isinstance(kind, list) or kind in WIDGETS:
                names.append(name)
                if options and options[0].get("control_after_generate"):
                    names.append(f"{name}: control after generate")
    return names


def as_api(workflow, nodes):
    """The graph that a workflow in UI format stands for."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote" or node["mode"] == SWITCHED_OFF:
            continue
        names = widget_names(nodes[node["type"]])
        values = dict(zip(names, node["widgets_values"]))
        assert len(names) == len(node["widgets_values"]), node["type"]
        inputs = {
            name: value
            for name, value in values.items()
            if not name.endswith("control after generate")
        }
        inputs |= {
            entry["name"]: links[entry["link"]]
            for entry in node["inputs"]
            if entry["link"] is not None
        }
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def test_the_list_is_complete():
    numbers = "1 1b 2 2b 2c 2d 3 4 4b 4c 5 6 7 8 9"
    assert [name.split("_")[0] for name in NAMES] == numbers.split()
    assert NAMES == sorted(path.stem for path in (FOLDER / "api").glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_next_and_reads_from_left_to_right(name):
    workflow = read(name)[0]
    (note,) = [n for n in workflow["nodes"] if n["type"] == "MarkdownNote"]
    assert "**Next:**" in note["widgets_values"][0]
    assert workflow["groups"] or len(workflow["nodes"]) < 8
    by_id = {node["id"]: node for node in workflow["nodes"]}
    for _, source, _, target, _, _ in workflow["links"]:
        assert by_id[source]["pos"][0] <= by_id[target]["pos"][0], (source, target)
    boxes = [(*n["pos"], *n["size"]) for n in workflow["nodes"]]
    for k, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:k]:
            assert x + w <= x2 or x2 + w2 <= x or y + h + 30 <= y2 or y2 + h2 + 30 <= y


@pytest.mark.parametrize("name", NAMES)
def test_ui_and_api_files_are_one_graph(name, nodes):
    workflow, api = read(name)
    assert workflow["version"] == 0.4
    assert as_api(workflow, nodes) == {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for key, node in api.items()
    }
    by_id = {node["id"]: node for node in workflow["nodes"]}
    for link_id, source, slot, target, target_slot, kind in workflow["links"]:
        output, entry = by_id[source]["outputs"][slot], by_id[target]["inputs"][target_slot]
        assert link_id in output["links"] and entry["link"] == link_id and output["type"] == kind
        assert entry["type"] in (kind, "*")
    for node in workflow["nodes"]:
        if node["type"].startswith("DreamAudio"):
            assert node["properties"]["cnr_id"] == "dreamaudio" and node["properties"]["ver"]
            assert node["properties"]["Node name for S&R"] == node["type"]
    assert "\\\\" not in json.dumps(api)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_thumbnail(name):
    with Image.open(FOLDER / f"{name}.jpg") as picture:
        assert picture.format == "JPEG" and min(picture.size) >= 250


def saved(output):
    """Files of sounds and of videos that a node saved."""
    videos = [e for e in output.get("images", []) if e["filename"].endswith((".mp4", ".mkv"))]
    return [*output.get("audio", []), *videos]


def seconds_of(graph):
    """Length that a graph asks for; it may come from a footstep or a video."""
    (given,) = [
        node["inputs"]["seconds"]
        for node in graph.values()
        if node["class_type"] in ("DreamAudioArrangeReferences", "DreamAudioScene")
    ]
    video = any(node["class_type"] == "LoadVideo" for node in graph.values())
    return given if isinstance(given, float) else BALL_SECONDS if video else 0.48


@pytest.mark.skipif(not MINI.exists(), reason="the embedded model's weights are not there")
@pytest.mark.parametrize("name", NAMES)
def test_each_runs_untouched(name, server, tmp_path):
    graph, steps = read(name)[1], 4
    expected = {
        "4_variations": 4,
        "4b_ten_footsteps": 10,
        "4c_creature_from_three_sounds": 3,
        "5_batch_of_quest_lines": 3,
    }.get(name, 1)
    for node in graph.values():
        # Fewer steps, for the time; all else is as shipped.
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = steps
        if "quality" in node["inputs"]:
            node["inputs"]["quality"] = "draft"
    run = server.run(graph)
    assert run.error is None, run.message
    files = [entry for output in run.outputs.values() for entry in saved(output)]
    assert len(files) == expected
    for entry in files:
        path = tmp_path / entry["filename"]
        path.write_bytes(server.fetch(entry))
        waveform, rate = read_original(path)
        samples = waveform.T.squeeze(-1).numpy()
        # Those of the references.
        assert rate in (44100, 48000)
        # AAC comes in blocks of 1024 samples.
        assert abs(len(samples) / rate - seconds_of(graph)) < (
            0.05 if path.suffix == ".mp4" else 0.02
        )
        assert np.isfinite(samples).all()
        loud = np.nonzero(np.abs(samples).reshape(len(samples), -1).max(1) > 0.01)[0]
        assert loud[-1] > 0.75 * len(samples), "ends in silence"
        assert 1e-3 < np.sqrt(np.mean(samples**2)) < 0.7
