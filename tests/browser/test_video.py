"""The timeline of a sound for a video has the video's length and frames, and the film is shown."""

from test_canvas import complaints, workflow_of


def test_the_timeline_takes_length_and_frames_of_the_video(canvas):
    workflow = workflow_of("2d_sound_for_a_video")
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioLoadModel":
            node["widgets_values"][0] = "tiny"
        if node["type"] == "DreamAudioArrangeReferences":
            node["widgets_values"][0] = 9.0
        if node["type"] == "DreamAudioMRCFlowSampler":
            node["widgets_values"][2] = 2
    canvas.load(workflow)
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
