"""What a node has to tell after a run stands on it, and covers nothing."""

import secrets

from test_canvas import complaints, workflow_of


def test_a_scene_tells_where_each_sound_plays(canvas):
    workflow = workflow_of("1_quick_start")
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioScene":
            # A seed that was not used before: a cached node tells nothing anew.
            node["widgets_values"][2] = secrets.randbelow(1 << 31)
            node["widgets_values"][4] = "draft"
    canvas.load(workflow)
    before = canvas.workflow()["nodes"]
    canvas.run("await app.queuePrompt(0, 1);")
    canvas.until("""
        const node = app.graph.nodes.find(n => n.type === 'DreamAudioScene');
        const { element } = node.widgets.find(w => w.name === 'told');
        const told = /reference 1, 'a crow caws': .*reference 2, /s.test(element.innerText);
        return told && element.offsetHeight > 20;
    """)
    canvas.until("""
        const save = app.graph.nodes.find(n => n.type === 'DreamAudioSaveAudio');
        return app.nodeOutputs[String(save.id)]?.audio?.length === 1;
    """)
    canvas.settle()
    boxes = canvas.run("return app.graph.nodes.map(n => [n.type, ...n.pos, ...n.size]);")
    for k, (name, x, y, width, height) in enumerate(boxes):
        for other, x2, y2, width2, height2 in boxes[:k]:
            beside = x + width <= x2 or x2 + width2 <= x
            assert beside or y + height <= y2 - 29 or y2 + height2 <= y - 29, (name, other, boxes)
    after = {node["id"]: node for node in canvas.workflow()["nodes"]}
    for node in before:
        assert len(node.get("widgets_values", [])) == len(
            after[node["id"]].get("widgets_values", [])
        )
    assert complaints(canvas) == []
