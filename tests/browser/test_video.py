"""A sound for a video: the timeline has its length and frames, the film keeps the graph."""

import base64
import re

from test_canvas import complaints, graph_of, workflow_of


def tiny():
    """The template with a tiny model and few steps, and another length at first."""
    workflow = workflow_of("2d_sound_for_a_video")
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioLoadModel":
            node["widgets_values"][0] = "tiny"
        if node["type"] == "DreamAudioArrangeReferences":
            node["widgets_values"][0] = 9.0
        if node["type"] == "DreamAudioMRCFlowSampler":
            node["widgets_values"][2] = 2
    return workflow


def test_the_timeline_takes_length_and_frames_of_the_video(canvas):
    canvas.load(tiny())
    canvas.run("await app.queuePrompt(0, 1);")
    timeline = (
        "app.graph.nodes.find(n => n.type === 'DreamAudioArrangeReferences')"
        ".widgets.find(w => w.name === 'timeline').timeline"
    )
    canvas.until(f"return {timeline}.snapSelect.value === '24 fps'")
    assert canvas.run(f"return {timeline}.view.fps") == 24
    canvas.until("""
        const save = app.graph.nodes.find(n => n.type === 'DreamAudioSaveVideo');
        return app.nodeOutputs[String(save.id)]?.images?.[0]?.filename?.endsWith('.mp4');
    """)
    canvas.until(f"return Math.abs({timeline}.timeline.seconds - 3) < 0.01")
    assert complaints(canvas) == []


def test_a_saved_film_dropped_on_the_canvas_opens_its_workflow(canvas, server):
    canvas.load(tiny())
    canvas.run("""
        const save = app.graph.nodes.find(n => n.type === 'DreamAudioSaveVideo');
        save.widgets.find(w => w.name === 'filename_prefix').value =
          'film/%date:yyyy%_%DreamAudioMRCFlowSampler.steps%';
    """)
    graph = canvas.prompt()
    run = server.run(graph, canvas.workflow())
    assert run.error is None, run.message
    (entry,) = [e for o in run.outputs.values() for e in o.get("images", []) if "mp4" in str(e)]
    assert re.fullmatch(r"20\d\d_2_\d{5}_\.mp4", entry["filename"])
    canvas.run("app.graph.clear();")
    canvas.run(
        """
        const bytes = Uint8Array.from(atob(args[0]), c => c.charCodeAt(0));
        await app.handleFile(new File([bytes], args[1], {type: 'video/mp4'}), 'file_drop');
    """,
        base64.b64encode(server.fetch(entry)).decode(),
        entry["filename"],
    )
    canvas.until("return app.graph.nodes.some(n => n.type === 'DreamAudioSaveVideo')")
    assert graph_of(canvas.prompt()) == graph_of(graph)
    assert complaints(canvas) == []
