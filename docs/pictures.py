"""Draw the pictures of the workflows with the present weights: thumbnails for the template browser,
and the README's screenshot of the quick start.

    python docs/pictures.py [NAME ...]

Needs what the tests on a real ComfyUI and in a browser need (see CONTRIBUTING.md). Each workflow is
run as it is shipped, in a fresh server; its thumbnail is a square with a title and the spectrogram
of the first file that it saves. NAME is a workflow, or `screenshot` for the README's picture alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

PACK = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PACK), str(PACK / "tests" / "comfyui"), str(PACK / "tests" / "browser")]

from canvas import Canvas  # noqa: E402
from comfy_server import ComfyServer, find_comfyui  # noqa: E402

from dreamaudio_core.audio.decode import read_original  # noqa: E402

FOLDER = PACK / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
SCREENSHOT = "screenshot"
SOUNDS = (".flac", ".wav", ".mp3", ".opus", ".mp4")
SIZE, TITLE_HEIGHT = 512, 150
WINDOW = 1024
LOWEST_HZ, RANGE_DB = 60.0, 80.0
BACKGROUND, TEXT = (24, 24, 32), (240, 240, 245)
# From silence to full level.
COLORS = np.array([[24, 24, 32], [70, 40, 110], [200, 70, 90], [250, 190, 90], [255, 250, 220]])


def spectrogram(samples: np.ndarray, rate: int, width: int, height: int) -> Image.Image:
    """Picture of a sound [T]: time to the right, octaves upwards, 80 dB from dark to bright."""
    hop = max(1, len(samples) // width)
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(
        torch.from_numpy(samples).float(), WINDOW, hop, window=window, return_complex=True
    ).abs()
    octaves = np.linspace(np.log2(rate / 2), np.log2(LOWEST_HZ), height)
    rows = np.clip(np.round(2.0**octaves / rate * WINDOW), 1, WINDOW // 2).astype(int)
    level = 20 * np.log10(spectrum.numpy()[rows] + 1e-9)
    bright = np.clip((level - level.max()) / RANGE_DB + 1.0, 0.0, 1.0)
    steps = np.linspace(0.0, 1.0, len(COLORS))
    pixels = np.stack([np.interp(bright, steps, COLORS[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8)).resize((width, height))


def thumbnail(name: str, samples: np.ndarray, rate: int) -> Image.Image:
    """Title under the spectrogram of a sound [T]; templates have a badge at the top left."""
    number, _, title = name.partition("_")
    picture = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
    picture.paste(spectrogram(samples, rate, SIZE, SIZE - TITLE_HEIGHT), (0, 0))
    lines = "\n".join(textwrap.wrap(title.replace("_", " ").capitalize(), 19))
    draw = ImageDraw.Draw(picture)
    top = SIZE - TITLE_HEIGHT + 20
    draw.text((24, top + 4), number, TEXT, ImageFont.load_default(34))
    draw.text((90, top), lines, TEXT, ImageFont.load_default(42))
    return picture


def draw_thumbnail(server: ComfyServer, name: str) -> None:
    """Run a workflow and write its thumbnail."""
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    run = server.run(graph)
    if run.error is not None:
        raise SystemExit(f"{name}: {run.message}")
    # A video is listed among the images, after the sampler's pictures.
    files = [e for o in run.outputs.values() for e in o.get("audio", []) + o.get("images", [])]
    entry = next(e for e in files if e["filename"].endswith(SOUNDS))
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / entry["filename"]
        saved.write_bytes(server.fetch(entry))
        waveform, rate = read_original(saved)
    path = FOLDER / f"{name}.jpg"
    thumbnail(name, waveform.mean(0).numpy(), rate).save(path, quality=85)
    print(path.relative_to(PACK))


def draw_screenshot(server: ComfyServer, profile: Path) -> None:
    """Run the quick start in a browser and write what it shows then."""
    canvas = Canvas(server.url(""), profile)
    try:
        canvas.load(json.loads((FOLDER / "1_quick_start.json").read_text(encoding="utf-8")))
        # The seed shown is then the one that was used.
        canvas.run(
            "const scene = app.graph.nodes.find(n => n.type === 'DreamAudioScene');"
            "scene.widgets.find(w => w.name === 'control_after_generate').value = 'fixed';"
            "await app.queuePrompt(0, 1);"
        )
        canvas.until(
            "return app.graph.nodes.find(n => n.type === 'DreamAudioSaveAudio').widgets"
            ".find(w => w.name === 'audioUI').element.duration > 1 && !!app.nodeOutputs[String("
            "app.graph.nodes.find(n => n.type === 'DreamAudioMelPreview').id)]"
        )
        canvas.run(
            "await app.extensionManager.command.execute('Comfy.Canvas.FitView');"
            "await new Promise(r => setTimeout(r, 1500));"
        )
        path = PACK / "web" / "quick_start.png"
        canvas.driver.save_screenshot(str(path))
        print(path.relative_to(PACK))
    finally:
        canvas.close()


@contextmanager
def serving() -> Iterator[tuple[ComfyServer, Path]]:
    """A fresh server with the pack, and its base directory."""
    comfyui, reason = find_comfyui()
    if comfyui is None:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "custom_nodes").mkdir()
        (base / "custom_nodes" / "dreamaudio").symlink_to(PACK, target_is_directory=True)
        settings = base / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"Comfy.TutorialCompleted": true}')
        server = ComfyServer(comfyui, base).start()
        try:
            yield server, base
        finally:
            server.stop()


def main(names: list[str]) -> None:
    """Draw what is named, or everything."""
    unknown = sorted(set(names) - {*NAMES, SCREENSHOT})
    if unknown:
        raise SystemExit(f"expected {', '.join([*NAMES, SCREENSHOT])}, found {unknown[0]}")
    with serving() as (server, base):
        for name in names or [*NAMES, SCREENSHOT]:
            if name == SCREENSHOT:
                draw_screenshot(server, base / "profile")
            else:
                draw_thumbnail(server, name)


if __name__ == "__main__":
    main(sys.argv[1:])
