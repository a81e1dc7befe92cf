"""Draw `dreamaudio_core/example_videos/ball.mp4`, the film of the template for video: a ball that
hits the ground at the times in `HITS`.

    python docs/example_video.py
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

TARGET = Path(__file__).resolve().parents[1] / "dreamaudio_core" / "example_videos" / "ball.mp4"
FPS, SECONDS = 24, 3.0
HITS = (0.5, 1.5, 2.25, 2.75)
SIZE, GROUND, RADIUS = (320, 240), 200, 18
GRAVITY = 700.0
SKY, EARTH, BALL = (40, 44, 66), (92, 74, 60), (240, 150, 60)


def height(time: float) -> float:
    """Height of the ball above the ground in pixels: free flight between hits."""
    before = max((hit for hit in HITS if hit <= time), default=-HITS[0])
    after = min((hit for hit in HITS if hit > time), default=before + 0.4)
    return max(0.0, 0.5 * GRAVITY * (time - before) * (after - time))


def picture(time: float) -> Image.Image:
    """The film at a time."""
    image = Image.new("RGB", SIZE, SKY)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, GROUND, *SIZE), EARTH)
    x = 40 + (SIZE[0] - 80) * time / SECONDS
    y = GROUND - RADIUS - height(time)
    draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), BALL)
    return image


def main() -> None:
    """Write the film."""
    with av.open(str(TARGET), "w") as film:
        stream = film.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "30", "preset": "veryslow"}
        for k in range(round(SECONDS * FPS)):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture(k / FPS)), "rgb24")
            for packet in stream.encode(frame):
                film.mux(packet)
        for packet in stream.encode(None):
            film.mux(packet)
    print(TARGET.name, TARGET.stat().st_size)


if __name__ == "__main__":
    main()
