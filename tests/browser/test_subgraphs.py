"""Subgraph blueprints: found by the node search as a user does it, and run."""

import io

import pytest
import soundfile
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

# Name and the length that it comes with.
NAMES = {"DreamAudio Scene with Two Sounds": 5.12, "DreamAudio Full Chain": 3.0}


def open_search(canvas):
    """Double-click an empty place of the canvas; again if a slow machine made it two clicks."""
    page = canvas.driver.find_element("id", "graph-canvas")
    for _ in range(20):
        double_click = ActionChains(canvas.driver).move_to_element_with_offset(page, -200, 150)
        double_click.double_click().perform()
        try:
            canvas.until("return document.activeElement?.tagName === 'INPUT'", 5)
            return
        except AssertionError:
            continue
    raise AssertionError("the node search does not open")


def insert(canvas, name):
    """Put a blueprint on an empty canvas by a double click and its name."""
    canvas.run("app.graph.clear(); app.canvas.ds.reset(); app.canvas.setDirty(true, true);")
    open_search(canvas)
    ActionChains(canvas.driver).send_keys(name).perform()
    # The search answers after a pause in typing.
    canvas.until(
        "return [...document.querySelectorAll('li, [role=option], [data-testid=result-item]')]"
        f".some(e => e.textContent.replace(/\\s+/g, ' ').includes('{name}'))"
    )
    ActionChains(canvas.driver).send_keys(Keys.ENTER).perform()
    canvas.until("return app.graph.nodes.length === 1")


def connected(canvas, audio):
    """API format of the graph with sounds, if it takes some, and Save Audio connected."""
    canvas.run(
        """
        const node = app.graph.nodes[0];
        const save = LiteGraph.createNode('DreamAudioSaveAudio');
        app.graph.add(save);
        node.connect(node.outputs.findIndex(o => o.name === 'audio'), save, 0);
        if (!args[0]) return;
        const reference = LiteGraph.createNode('DreamAudioLoadReference');
        app.graph.add(reference);
        reference.widgets.find(w => w.name === 'audio').value = args[0];
        reference.widgets.find(w => w.name === 'caption').value = 'a crow caws';
        reference.connect(0, node, node.inputs.findIndex(i => i.name === 'sound_1'));
    """,
        audio,
    )
    return canvas.prompt()


@pytest.mark.parametrize("name", NAMES)
def test_a_blueprint_is_inserted_by_its_name_and_runs(canvas, server, name):
    insert(canvas, name)
    assert canvas.run("return app.graph.nodes[0].title") == name
    assert canvas.run("return app.graph.nodes[0].isSubgraphNode()")
    graph = connected(canvas, "dreamaudio_crow.flac" if "Chain" in name else None)
    references = 0
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
        if "quality" in node["inputs"]:
            node["inputs"]["quality"] = "draft"
        references += sum(key.startswith("references.") for key in node["inputs"])
    assert references == (1 if "Chain" in name else 2)
    run = server.run(graph)
    assert run.error is None, run.message
    (entry,) = [entry for output in run.outputs.values() for entry in output.get("audio", [])]
    samples, rate = soundfile.read(io.BytesIO(server.fetch(entry)))
    assert abs(len(samples) / rate - NAMES[name]) < 0.02
    assert abs(samples).max() > 0.05


def test_what_is_typed_on_a_blueprint_reaches_the_nodes_inside(canvas):
    insert(canvas, "DreamAudio Scene with Two Sounds")
    canvas.run("""
        const set = (name, value) => {
          const widget = app.graph.nodes[0].widgets.find(w => w.name === name);
          widget.value = value;
          widget.callback?.(value);
        };
        set('caption_2', 'a bell rings');
        set('seconds', 2.5);
    """)
    nodes = {node["class_type"]: node["inputs"] for node in canvas.prompt().values()}
    assert nodes["DreamAudioScene"]["seconds"] == 2.5
    assert nodes["DreamAudioLoadReference"]["caption"] == "a bell rings"
