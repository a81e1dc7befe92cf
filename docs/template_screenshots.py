"""Draw the screenshots of `docs/templates.md`: each template after a run, as a laptop shows it.

    python docs/template_screenshots.py [NAME ...]

Needs what `docs/pictures.py` needs.
"""

from __future__ import annotations

import io
import sys

from help_pictures import run
from pictures import NAMES, PACK, Canvas, serving
from PIL import Image

WINDOW, WIDTH = (1440, 900), 1200
FOLDER = PACK / "docs" / "templates"


def draw(canvas: Canvas, name: str) -> None:
    """Run a template and write what the page shows then, without the menus around the canvas."""
    run(canvas, name)
    left, top, right, bottom = canvas.run("""
        await app.extensionManager.command.execute('Comfy.Canvas.FitView');
        await new Promise(done => setTimeout(done, 2500));
        app.canvas.deselectAll();
        const box = app.canvas.canvas.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom];
    """)
    picture = Image.open(io.BytesIO(canvas.driver.get_screenshot_as_png())).convert("RGB")
    picture = picture.crop((round(left), round(top), round(right), round(bottom)))
    picture.thumbnail((WIDTH, WIDTH))
    path = FOLDER / f"{name}.webp"
    picture.save(path, quality=75, method=6)
    print(path.relative_to(PACK), path.stat().st_size, flush=True)


def main(names: list[str]) -> None:
    """Draw what is named, or everything."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise SystemExit(f"expected {', '.join(NAMES)}, found {unknown[0]}")
    FOLDER.mkdir(exist_ok=True)
    with serving() as (server, base):
        canvas = Canvas(server.url(""), base / "profile")
        canvas.driver.set_window_size(*WINDOW)
        try:
            # Without the panels that lie over the canvas.
            canvas.run(
                "await app.ui.settings.setSettingValueAsync('Comfy.Minimap.Visible', false);"
            )
            for name in names or NAMES:
                draw(canvas, name)
        finally:
            canvas.close()


if __name__ == "__main__":
    main(sys.argv[1:])
