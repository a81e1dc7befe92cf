"""Stored workflows open for years: marks of the release, files kept from earlier states, migrations,
and a word about workflows of later releases.
"""

import json
import re

import pytest
from comfy_server import PACK
from test_canvas import complaints, graph_of, workflow_of

STORED = PACK / "tests" / "stored"
FILES = sorted(STORED.glob("*/workflows/*.json"))
MODULE = "/extensions/dreamaudio/stored/migrate.js"


def ours(workflow):
    """Our nodes of a saved workflow."""
    return [node for node in workflow["nodes"] if node["type"].startswith("DreamAudio")]


@pytest.fixture(scope="module")
def release(canvas):
    """Version and form of the present release, as the page knows them."""
    return canvas.run("const m = await import(args[0]); return [m.VERSION, m.FORMAT];", MODULE)


def test_the_page_knows_the_release_and_a_migration_for_each_form_before(canvas, release):
    version, form = release
    pyproject = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{version}"\n' in pyproject
    steps = canvas.run("return Object.keys((await import(args[0])).MIGRATIONS);", MODULE)
    assert sorted(map(int, steps)) == list(range(1, form))
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parts[-3]}/{p.stem}")
def test_a_kept_workflow_opens_as_it_was_meant(canvas, release, path):
    """Every value of then is still that of the input of its name; what was appended has defaults."""
    canvas.load(json.loads(path.read_text(encoding="utf-8")))
    api = path.parents[1] / "api" / path.name
    wanted = graph_of(json.loads(api.read_text(encoding="utf-8")))
    found = graph_of(canvas.prompt())
    assert set(found) == set(wanted)
    for key, (kind, inputs) in wanted.items():
        assert found[key][0] == kind
        assert {name: found[key][1].get(name) for name in inputs} == inputs, kind
    for node in ours(canvas.workflow()):
        assert [node["properties"]["ver"], node["properties"]["dreamaudio"]] == release
    assert complaints(canvas) == []


def test_new_and_pasted_nodes_are_marked(canvas, release):
    canvas.run("""
        app.graph.clear();
        const node = LiteGraph.createNode('DreamAudioScene');
        app.graph.add(node);
        app.canvas.selectItems([node]);
        app.canvas.copyToClipboard();
        app.canvas.pasteFromClipboard();
    """)
    nodes = ours(canvas.workflow())
    assert len(nodes) == 2
    for node in nodes:
        assert [node["properties"]["ver"], node["properties"]["dreamaudio"]] == release
        assert node["properties"]["cnr_id"] == "dreamaudio"


def test_a_workflow_of_a_newer_release_says_so_and_keeps_its_marks(canvas):
    workflow = workflow_of("1_quick_start")
    for node in ours(workflow):
        node["properties"] |= {"ver": "9.1.0", "dreamaudio": 99}
    canvas.load(workflow)
    said = canvas.until(
        "return [...document.querySelectorAll('.p-toast-message')].map(e => e.innerText)"
        ".find(text => text.includes('newer DreamAudio'))"
    )
    assert re.search(r"saved by DreamAudio 9\.1\.0, and \d+\.\d+\.\d+ is installed", said)
    assert "update DreamAudio" in said
    canvas.run("app.extensionManager.toast.removeAll?.();")
    for node in ours(canvas.workflow()):
        assert [node["properties"]["ver"], node["properties"]["dreamaudio"]] == ["9.1.0", 99]


def test_a_migration_brings_an_older_form_to_the_present(canvas):
    """The worked example: in form 2 a value was put first, in form 3 a node got another name."""
    found = canvas.run(
        """
        const { migrate } = await import(args[0]);
        const migrations = {
          1: { DreamAudioScene: (stored) => stored.widgets_values.unshift('calm') },
          2: { DreamAudioScene: (stored) => { stored.type = 'DreamAudioSoundscape'; } },
        };
        const of = (properties) => ({ type: 'DreamAudioScene', properties, widgets_values: ['rain', 5] });
        const nodes = [{}, { dreamaudio: 2, ver: '0.2.0' }, { dreamaudio: 3 }, { dreamaudio: 4, ver: '0.9' }].map(of);
        nodes.push({ type: 'KSampler', properties: {}, widgets_values: [1] });
        const newer = nodes.map((node) => migrate(node, { migrations, format: 3 }));
        const again = JSON.stringify(nodes);
        nodes.forEach((node) => migrate(node, { migrations, format: 3 }));
        return { nodes, newer, twice: JSON.stringify(nodes) === again };
    """,
        MODULE,
    )
    kinds = [(node["type"], node["widgets_values"]) for node in found["nodes"]]
    assert kinds == [
        ("DreamAudioSoundscape", ["calm", "rain", 5]),
        ("DreamAudioSoundscape", ["rain", 5]),
        ("DreamAudioScene", ["rain", 5]),
        ("DreamAudioScene", ["rain", 5]),
        ("KSampler", [1]),
    ]
    assert found["newer"] == ["", "", "", "0.9", ""]
    assert found["twice"]
    assert [n["properties"].get("dreamaudio") for n in found["nodes"]] == [3, 3, 3, 4, None]
