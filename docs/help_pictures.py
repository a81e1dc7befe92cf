"""Draw the pictures of the help pages: each node as it looks after a run, from the templates.

    python docs/help_pictures.py [NODE ...]

Needs what `docs/pictures.py` needs. NODE is a node's id, such as `DreamAudioScene`.
"""

from __future__ import annotations

import io
import json
import sys

from pictures import FOLDER, PACK, Canvas, serving
from PIL import Image

# Workflow that shows a node.
TEMPLATES = {
    "1_quick_start": ("Scene", "LoadReference", "SaveAudio", "MelPreview"),
    "1b_full_chain": (
        *("LoadModel", "EncodeCaption", "ArrangeReferences", "MRCFlowSampler"),
        *("VAEDecode", "BigVGANVocode", "ReferenceDetail"),
    ),
    "5_batch_of_quest_lines": ("LoadScenes",),
    "6_own_voice_or_microphone": ("ReferenceFromAudio",),
    "2d_sound_for_a_video": ("VideoLength", "SaveVideo"),
    "4_variations": ("PreviewAudio",),
    "7_audio_to_audio": ("VAEEncode",),
    "8_own_checkpoints_mixed": ("LoadFlow", "LoadVAE", "LoadVocoder", "LoadTextEncoder"),
    "9_references_found_by_themselves": ("RetrieveReferences",),
}
MARGIN, TITLE, WIDEST = 12, 30, 560
RUN_SECONDS = 400


def _preview_instead_of_saving(workflow: dict) -> None:
    """No template has a Preview Audio."""
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioSaveAudio":
            node["type"] = node["properties"]["Node name for S&R"] = "DreamAudioPreviewAudio"
            node["widgets_values"] = []
            node["inputs"] = [entry for entry in node["inputs"] if "widget" not in entry]


def run(canvas: Canvas, template: str, preview: bool = False) -> None:
    """Open a template, run it and wait for its end."""
    workflow = json.loads((FOLDER / f"{template}.json").read_text(encoding="utf-8"))
    if preview:
        _preview_instead_of_saving(workflow)
    canvas.load(workflow)
    canvas.run("""
        window.ended = false;
        const end = () => { window.ended = true; };
        app.api.addEventListener('execution_success', end, {once: true});
        await app.queuePrompt(0, 1);
    """)
    canvas.until("return window.ended;", RUN_SECONDS)


def draw(canvas: Canvas, node_id: str) -> None:
    """Write the picture of a node of the workflow on the canvas."""
    x, y, width, height = canvas.run(
        """
        const node = app.graph.nodes.find(n => n.type === args[0]);
        const { ds } = app.canvas;
        app.canvas.deselectAll();
        ds.scale = 1;
        ds.offset = [300 - node.pos[0], 160 - node.pos[1]];
        app.canvas.setDirty(true, true);
        await new Promise(done => setTimeout(done, 2000));
        const box = app.canvas.canvas.getBoundingClientRect();
        return [box.left + 300, box.top + 160, ...node.size];
    """,
        node_id,
    )
    picture = Image.open(io.BytesIO(canvas.driver.get_screenshot_as_png())).convert("RGB")
    box = (x - MARGIN, y - TITLE - MARGIN, x + width + MARGIN, y + height + MARGIN)
    picture = picture.crop(tuple(map(round, box)))
    picture.thumbnail((WIDEST, 2 * WIDEST))
    path = PACK / "web" / "docs" / "images" / f"{node_id}.webp"
    path.parent.mkdir(exist_ok=True)
    picture.save(path, quality=80, method=6)
    print(path.relative_to(PACK), path.stat().st_size)


def main(names: list[str]) -> None:
    """Draw what is named, or everything."""
    nodes = {f"DreamAudio{n}": t for t, shown in TEMPLATES.items() for n in shown}
    unknown = sorted(set(names) - set(nodes))
    if unknown:
        raise SystemExit(f"expected {', '.join(nodes)}, found {unknown[0]}")
    wanted = names or list(nodes)
    with serving() as (server, base):
        canvas = Canvas(server.url(""), base / "profile")
        try:
            for template in dict.fromkeys(nodes[name] for name in wanted):
                run(canvas, template, preview=template == "4_variations")
                for name in wanted:
                    if nodes[name] == template:
                        draw(canvas, name)
        finally:
            canvas.close()


if __name__ == "__main__":
    main(sys.argv[1:])
