"""Frames a second of the timeline while one of many blocks is dragged, in a headless browser.

    python benchmarks/timeline_frames.py [--blocks 60] [--seconds 3]

prints, for both renderers of ComfyUI's canvas, the intervals between frames and the time that our
script and drawing take of each. A machine without a GPU draws the page itself in software, so the
script's time is what the timeline answers for: 60 frames a second leave 16.7 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("browser", "comfyui", "")]

from canvas import Canvas  # noqa: E402
from comfy_server import PACK, ComfyServer, find_comfyui  # noqa: E402

from chromium import find_browser  # noqa: E402

# Moves the block under the pointer to and fro by real pointer events, one a frame.
DRAG = """
    const {area, view, canvas} = timeline, box = canvas.getBoundingClientRect();
    const zoom = box.width / view.width, y = box.top + (22 + 26) * zoom;
    const at = (second) => box.left + view.x(second) * zoom;
    const send = (type, x) => area.dispatchEvent(new PointerEvent(type, {
      bubbles: true, cancelable: true, pointerId: 1, button: 0, buttons: 1, clientX: x,
      clientY: y}));
    area.setPointerCapture = () => {};
    const start = at(timeline.timeline.state.references[0].placements[0].start + 0.03);
    let script = 0;
    const draw = view.draw.bind(view);
    view.draw = () => { const t = performance.now(); draw(); script += performance.now() - t; };
    send('pointerdown', start);
    const intervals = [], own = [], end = performance.now() + args[0] * 1000;
    let last = null, drawn = view.drawn;
    await new Promise(done => {
      const step = (now) => {
        if (last !== null) { intervals.push(now - last); own.push(script); }
        [last, script] = [now, 0];
        if (performance.now() > end) return done();
        const t = performance.now();
        send('pointermove', start + 60 * Math.sin(now / 300));
        script += performance.now() - t;
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    });
    send('pointerup', start);
    delete view.draw;
    return {intervals, own, drawn: view.drawn - drawn};
"""
IDLE = """
    const intervals = [], end = performance.now() + 1000 * args[0];
    let last = null;
    await new Promise(done => {
      const step = (now) => {
        if (last !== null) intervals.push(now - last);
        last = now;
        performance.now() > end ? done() : requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    });
    return intervals;
"""


def arrangement(blocks: int) -> str:
    """A timeline of 10.24 s with so many blocks on three lanes."""
    lanes: list[list[dict]] = [[], [], []]
    for k in range(blocks):
        place = {"start": 0.1 + 10.0 * k / blocks, "duration": 0.3, "gain": -3.0, "fade_in": 0.05}
        lanes[k % 3].append(place)
    references = [{"caption": "", "used": True, "placements": places} for places in lanes]
    return json.dumps({"version": 1, "seconds": 10.24, "references": references})


def open_timeline(canvas: Canvas, blocks: int) -> None:
    """The template of three references with that timeline, at its own zoom."""
    workflow = json.loads((PACK / "workflows" / "2_three_references.json").read_text("utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "DreamAudioArrangeReferences":
            node["size"] = [700, 400]
    canvas.load(workflow)
    canvas.run(
        """
        const node = app.graph.nodes.find(n => n.type === 'DreamAudioArrangeReferences');
        app.canvas.ds.scale = 1;
        app.canvas.ds.offset = [200 - node.pos[0], 150 - node.pos[1]];
        window.timeline = node.widgets.find(w => w.name === 'timeline').timeline;
        timeline.value = args[0];
    """,
        arrangement(blocks),
    )
    canvas.until("return timeline.timeline.references.every(r => r.sound) && timeline.view.drawn")


def share(values: list[float], part: float) -> float:
    """The value that this part of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    comfyui, reason = find_comfyui()
    if comfyui is None or not all(find_browser()):
        sys.exit(reason or "no chromium with chromedriver found on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / "dreamaudio").symlink_to(PACK, target_is_directory=True)
        settings = base / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"Comfy.TutorialCompleted": true}')
        server = ComfyServer(comfyui, base).start()
        canvas = Canvas(server.url(""), Path(folder, "profile"))
        try:
            for name in ("classic", "nodes 2.0"):
                canvas.run(
                    "await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', args[0])",
                    name != "classic",
                )
                open_timeline(canvas, given.blocks)
                idle = canvas.run(IDLE, given.seconds)
                found = canvas.run(DRAG, given.seconds)
                frames, own = found["intervals"], found["own"]
                print(
                    f"{name}: {given.blocks} blocks, {len(frames)} frames, {found['drawn']} drawn: "
                    f"{1000 * len(frames) / sum(frames):.1f} frames a second (page at rest "
                    f"{1000 * len(idle) / sum(idle):.1f}); interval median {share(frames, 0.5):.1f}"
                    f", 95 % {share(frames, 0.95):.1f} ms; own script a frame median "
                    f"{share(own, 0.5):.1f}, 95 % {share(own, 0.95):.1f} ms"
                )
        finally:
            canvas.close()
            server.stop()


if __name__ == "__main__":
    main()
