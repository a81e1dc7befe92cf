"""What only a browser shows: widgets, players, uploads, dropped files, saved and reloaded
workflows.
"""

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
from comfy_server import PACK

FOLDER = PACK / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
# ComfyUI's own requests for files that a fresh installation does not have, and what 0.8 says of any
# mp3 that it opens.
FOREIGN = (
    "user.css",
    "userdata",
    "templates/",
    "comfyui-workflow-templates",
    "Error loading core workflow templates",
    "i18n",
    "favicon",
    "Invalid file signature",
)


# Widgets that only show something, which some frontends take for inputs.
SHOWN = ("audioUI", "video-preview", "preview", "previewMode")


def workflow_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def graph_of(prompt):
    """Node types and inputs; older frontends add the player, and keep another order of the keys."""
    return {
        key: (
            node["class_type"],
            {k: value_of(k, v) for k, v in node["inputs"].items() if k not in SHOWN},
        )
        for key, node in prompt.items()
    }


def value_of(name, value):
    """A value; a timeline as what its JSON says."""
    return json.loads(value) if name == "timeline" and value else value


def complaints(canvas):
    return [line for line in canvas.errors() if not any(word in line for word in FOREIGN)]


def node_state(canvas, node_type):
    """Names of a node's widgets, and the source of its player."""
    return canvas.run(
        """
        const node = app.graph.nodes.find(n => n.type === args[0]);
        const player = node.widgets.find(w => w.name === 'audioUI');
        return {widgets: node.widgets.map(w => w.name), player: player?.element?.src ?? null,
                duration: player?.element?.duration ?? null, id: String(node.id)};
    """,
        node_type,
    )


@pytest.mark.parametrize("name", NAMES)
def test_workflows_open_without_a_complaint(canvas, name):
    canvas.load(workflow_of(name))
    api = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert graph_of(canvas.prompt()) == graph_of(api)
    assert (
        canvas.run(
            "return app.graph.nodes.filter(n => n.has_errors || !n.constructor.nodeData && "
            "n.type !== 'MarkdownNote')"
            ".map(n => n.type)"
        )
        == []
    )
    assert complaints(canvas) == []


def test_text_is_readable_on_a_laptop(canvas):
    """Fitted into a window of 1440 x 900, no workflow is so small that its text is left out."""
    before = canvas.driver.get_window_size()
    canvas.driver.set_window_size(1440, 900)
    try:
        for name in NAMES:
            canvas.load(workflow_of(name))
            canvas.run("await app.extensionManager.command.execute('Comfy.Canvas.FitView')")
            canvas.settle()
            small = canvas.run("return [app.canvas.low_quality, app.canvas.ds.scale]")
            assert not small[0], (name, small[1])
    finally:
        canvas.driver.set_window_size(before["width"], before["height"])


def tiny_quick_start():
    workflow = workflow_of("1b_full_chain")
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioLoadModel":
            node["widgets_values"][0] = "tiny"
        if node["type"] == "DreamAudioMRCFlowSampler":
            node["widgets_values"][2] = 5
    return workflow


def test_the_quick_start_runs_with_progress_and_ends_in_a_player(canvas):
    workflow = tiny_quick_start()
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioMRCFlowSampler":
            # Of its own: a result that another test has made is not made again.
            node["widgets_values"][0] = 4711
    canvas.load(workflow)
    canvas.run("""
        window.heard = [];
        const sampler = app.graph.nodes.find(n => n.type === 'DreamAudioMRCFlowSampler').id;
        app.api.addEventListener('progress', e => {
          if (String(e.detail.node) === String(sampler)) window.heard.push(e.detail.value);
        });
        await app.queuePrompt(0, 1);
    """)
    canvas.until(
        "return app.graph.nodes.find(n => n.type === 'DreamAudioSaveAudio').widgets"
        ".find(w => w.name === 'audioUI').element.duration > 1"
    )
    assert canvas.run("return window.heard")[-1] == 5
    saved = node_state(canvas, "DreamAudioSaveAudio")
    assert "type=output" in saved["player"] and abs(saved["duration"] - 3.0) < 0.2
    images = canvas.run(
        "const node = app.graph.nodes.find(n => n.type === 'DreamAudioMelPreview');"
        "return app.nodeOutputs[String(node.id)].images.length"
    )
    assert images == 1
    assert complaints(canvas) == []


def test_an_uploaded_wav_is_chosen_played_and_used(canvas, server):
    canvas.load(tiny_quick_start())
    state = node_state(canvas, "DreamAudioLoadReference")
    assert {"audio", "caption", "strength", "start", "audioUI", "upload"} <= set(state["widgets"])
    canvas.until(
        "return app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference').widgets"
        ".find(w => w.name === 'audioUI').element.duration > 0"
    )
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.4 * np.sin(np.arange(12000) * 0.2), 16000, format="WAV")
    canvas.run(
        """
        const bytes = Uint8Array.from(atob(args[0]), c => c.charCodeAt(0));
        const file = new File([bytes], 'mine.wav', {type: 'audio/wav'});
        const node = app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference');
        const data = new DataTransfer();
        data.items.add(file);
        await node.onDragDrop({dataTransfer: data, preventDefault() {}, stopPropagation() {}});
    """,
        base64.b64encode(buffer.getvalue()).decode(),
    )
    canvas.until(
        "return app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference').widgets[0].value "
        "=== 'mine.wav'"
    )
    canvas.until(
        "return Math.abs(app.graph.nodes.find(n => n.type === 'DreamAudioLoadReference').widgets"
        ".find(w => w.name === 'audioUI').element.duration - 0.75) < 0.01"
    )
    assert (server.base / "input" / "mine.wav").is_file()
    run = server.run(canvas.prompt())
    assert run.error is None
    assert complaints(canvas) == []


def test_a_workflow_from_before_an_input_was_added_opens_with_its_default(canvas):
    workflow = workflow_of("1b_full_chain")
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioMRCFlowSampler":
            assert node["widgets_values"].pop() == 1.0
            node["inputs"] = [entry for entry in node["inputs"] if entry["name"] != "denoise"]
    canvas.load(workflow)
    api = json.loads((FOLDER / "api" / "1b_full_chain.json").read_text(encoding="utf-8"))
    assert graph_of(canvas.prompt()) == graph_of(api)
    assert complaints(canvas) == []


def test_saved_and_reloaded_is_the_same(canvas):
    canvas.load(workflow_of("2b_cut_scene_on_a_timeline"))
    before, saved = canvas.prompt(), canvas.workflow()
    canvas.open()
    canvas.errors()
    canvas.load(saved)
    assert canvas.prompt() == before
    assert complaints(canvas) == []


@pytest.mark.parametrize("format", ["flac", "wav", "mp3", "opus"])
def test_a_saved_file_dropped_on_the_canvas_opens_its_workflow(canvas, server, format):
    workflow = tiny_quick_start()
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioSaveAudio":
            node["widgets_values"][1] = format
    canvas.load(workflow)
    prompt, saved = canvas.prompt(), canvas.workflow()
    run = server.run(prompt, saved)
    output = next(o["audio"][0] for o in run.outputs.values() if "audio" in o)
    data = base64.b64encode(server.fetch(output)).decode()
    types = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg"}
    canvas.run("app.graph.clear();")
    canvas.run(
        """
        const bytes = Uint8Array.from(atob(args[0]), c => c.charCodeAt(0));
        await app.handleFile(new File([bytes], args[1], {type: args[2]}), 'file_drop');
    """,
        data,
        output["filename"],
        types[format],
    )
    canvas.until("return app.graph.nodes.length > 0")
    canvas.settle()
    assert graph_of(canvas.prompt()) == graph_of(prompt)
    assert complaints(canvas) == []


def test_tokens_of_a_file_name_are_replaced(canvas):
    canvas.load(tiny_quick_start())
    canvas.run("""
        const save = app.graph.nodes.find(n => n.type === 'DreamAudioSaveAudio');
        save.widgets.find(w => w.name === 'filename_prefix').value =
          'take/%date:yyyy%_%DreamAudioMRCFlowSampler.steps%';
    """)
    nodes = canvas.prompt().values()
    save = next(n for n in nodes if n["class_type"] == "DreamAudioSaveAudio")
    assert re.fullmatch(r"take/20\d\d_5", save["inputs"]["filename_prefix"])


def test_a_new_reference_input_appears(canvas):
    canvas.load(workflow_of("3_text_only"))

    def inputs():
        return canvas.run(
            "return app.graph.nodes.find(n => n.type === 'DreamAudioEncodeCaption').inputs"
            ".filter(i => i.name.startsWith('references.')).length"
        )

    counts = [inputs()]
    for k in range(3):
        canvas.run(
            """
            const reference = LiteGraph.createNode('DreamAudioLoadReference');
            app.graph.add(reference);
            const target = app.graph.nodes.find(n => n.type === 'DreamAudioEncodeCaption');
            reference.connect(0, target, target.inputs.findIndex(i => i.name === 'references.reference' + args[0]));
        """,
            k,
        )
        canvas.wait(lambda: inputs() > counts[-1])
        counts.append(inputs())
    assert counts == [1, 2, 3, 4]
    captions = next(
        n for n in canvas.prompt().values() if n["class_type"] == "DreamAudioEncodeCaption"
    )
    assert sum(name.startswith("references.") for name in captions["inputs"]) == 3


def test_our_types_have_their_colours(canvas):
    assert canvas.run(
        "return app.canvas.default_connection_color_byType.DREAMAUDIO_MEL === '#f06292' && "
        "app.canvas.constructor.link_type_colors.DREAMAUDIO_MEL === '#f06292'"
    )
