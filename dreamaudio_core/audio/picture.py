"""Pictures of log-mel spectrograms: the colours alone with NumPy, and with axes and timelines with
Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..config import AudioConfig
from ..errors import InputError
from .mel import mel_filterbank

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    from ..scene.timeline import Placements

# What is shown below the loudest value, in units of the natural logarithm: 9 are 78 dB.
DYNAMIC_RANGE = 9.0
# Dark to bright in steps of even lightness, so that it also reads in grey.
PALETTE = np.array(
    [
        [6, 4, 20],
        [62, 14, 95],
        [130, 32, 108],
        [196, 62, 80],
        [240, 120, 42],
        [250, 196, 70],
        [252, 252, 190],
    ],
    float,
)
BACKGROUND, INK = (24, 24, 28), (225, 225, 230)
LANE_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (160, 160, 160),
)
LEFT, TOP, RIGHT, BOTTOM = 70, 16, 20, 46
LANE, TITLE, GAP = 22, 22, 10
HERTZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)


def colorize(mel: Tensor, top: float | None = None) -> np.ndarray:
    """Colours [bands, frames, 3] (uint8, low bands at the bottom) of a log-mel.

    Parameters
    ----------
    mel
        [frames, bands] or [1, frames, bands], natural logarithm.
    top
        Value of the brightest colour; that of the loudest point by default.
    """
    values = mel.detach().float().cpu().reshape(mel.shape[-2:]).numpy().T[::-1]
    top = float(values.max()) if top is None else top
    scaled = np.clip((values - top) / DYNAMIC_RANGE + 1, 0, 1)
    places = np.linspace(0, 1, len(PALETTE))
    channels = [np.interp(scaled, places, PALETTE[:, c]) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


@dataclass(frozen=True)
class Panel:
    """One spectrogram of a picture.

    Parameters
    ----------
    mel
        Log-mel [frames, bands], natural logarithm.
    title
        Line above it.
    seconds
        Length; frames beyond it are left out. All frames by default.
    timeline
        (caption, placements) of each reference; each gets a lane with bars where it sounds.
    """

    mel: Tensor
    title: str = ""
    seconds: float | None = None
    timeline: Sequence[tuple[str, Placements]] = field(default_factory=tuple)

    def length(self, config: AudioConfig) -> float:
        """Seconds shown."""
        if self.seconds is not None:
            return self.seconds
        return len(self.mel) * config.hop_length / config.sample_rate


def draw_spectrograms(
    panels: Sequence[Panel],
    config: AudioConfig,
    title: str = "",
    size: tuple[int, int] = (960, 320),
) -> Image.Image:
    """Spectrograms below one another, over one time axis.

    Parameters
    ----------
    panels
        From top to bottom; their colours share one scale.
    config
        Front-end of the log-mels.
    title
        Line above all, such as the prompt.
    size
        Width of the longest spectrogram and height of each, in pixels.

    Raises
    ------
    InputError
        If there are no panels, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(
            "pictures need the package Pillow: install it with pip install pillow"
        ) from error
    if not panels:
        raise InputError("spectrograms: expected at least one, found none")
    longest = max(panel.length(config) for panel in panels)
    loudest = max(float(_visible(panel, config).max()) for panel in panels)
    tops, y = [], TOP + (TITLE if title else 0)
    for panel in panels:
        y += TITLE if panel.title else 0
        tops.append(y)
        y += LANE * len(panel.timeline) + size[1] + GAP
    picture = Image.new("RGB", (LEFT + size[0] + RIGHT, y - GAP + BOTTOM), BACKGROUND)
    canvas = _Canvas(picture, config, longest, size)
    if title:
        canvas.text((LEFT, TOP), _cut(title, size[0] // 7))
    for panel, top in zip(panels, tops):
        canvas.panel(panel, top, loudest)
    canvas.time_axis(y - GAP)
    return picture


def _visible(panel: Panel, config: AudioConfig) -> Tensor:
    frames = max(1, round(panel.length(config) * config.sample_rate / config.hop_length))
    return panel.mel[:frames]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def band_positions(config: AudioConfig, hertz: Sequence[int]) -> list[tuple[int, float]]:
    """Those of `hertz` that the mel bands reach, with the band index (fractional) of each."""
    loudest = mel_filterbank(config).argmax(dim=1).double().numpy()
    centres = loudest * config.sample_rate / config.n_fft
    return [
        (f, float(np.interp(f, centres, np.arange(len(centres)))))
        for f in hertz
        if config.fmin <= f <= config.fmax
    ]


def time_step(seconds: float) -> float:
    """Distance of the ticks on the time axis: 1, 2 or 5 times a power of ten, for five to a dozen
    ticks.
    """
    rough = seconds / 10
    power = 10 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    # Pillow before 10.1 has one built-in size only.
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


class _Canvas:
    """Draws into a picture whose time axis is `seconds` long."""

    def __init__(
        self, picture: Image.Image, config: AudioConfig, seconds: float, size: tuple[int, int]
    ):
        from PIL import ImageDraw

        self.picture, self.config, self.seconds = picture, config, seconds
        self.width, self.height = size
        self.draw: ImageDraw.ImageDraw = ImageDraw.Draw(picture, "RGBA")
        self.font, self.small = _font(14), _font(13)

    def x(self, second: float) -> float:
        """Position of a time."""
        return LEFT + self.width * second / self.seconds

    def text(self, place: tuple[float, float], text: str, anchor: str = "la") -> None:
        """Plain text."""
        self.draw.text(place, text, INK, self.font, anchor=anchor)

    def panel(self, panel: Panel, top: int, loudest: float) -> None:
        """A spectrogram with its title above `top` and its lanes below."""
        from PIL import Image

        if panel.title:
            self.text((LEFT, top - TITLE + 2), _cut(panel.title, self.width // 8))
        first = top + LANE * len(panel.timeline)
        seconds = min(panel.length(self.config), self.seconds)
        shape = (max(1, round(self.width * seconds / self.seconds)), self.height)
        colours = colorize(_visible(panel, self.config), loudest)
        plot = Image.fromarray(colours).resize(shape, Image.Resampling.BILINEAR)
        self.picture.paste(plot, (LEFT, first))
        self.frequency_axis(first + self.height, panel.mel.shape[-1])
        self.timeline(panel.timeline, top, first + self.height)

    def time_axis(self, floor: int) -> None:
        """Ticks and seconds below `floor`."""
        step = time_step(self.seconds)
        for index in range(int(self.seconds / step + 1e-6) + 1):
            x = self.x(index * step)
            self.draw.line((x, floor, x, floor + 5), INK)
            self.text((x, floor + 7), f"{index * step:g}", "ma")
        self.text((LEFT + self.width / 2, floor + 26), "seconds", "ma")

    def frequency_axis(self, floor: int, bands: int) -> None:
        """Ticks and Hz of a spectrogram that stands on `floor`."""
        lowest: float = floor + LANE
        for hertz, band in band_positions(self.config, HERTZ):
            y = floor - self.height * (band + 0.5) / bands
            if lowest - y < 14:
                continue
            lowest = y
            self.draw.line((LEFT - 5, y, LEFT, y), INK)
            self.text((LEFT - 8, y), f"{hertz}", "rm")
        self.text((8, floor - self.height), "Hz")

    def timeline(self, timeline: Sequence[tuple[str, Placements]], top: int, floor: int) -> None:
        """Lanes from `top` on, whose bars reach down to `floor` with thin lines."""
        for index, (caption, places) in enumerate(timeline):
            colour, y = LANE_COLOURS[index % len(LANE_COLOURS)], top + index * LANE
            label = (caption or f"reference {index + 1}")[:80]
            if not places:
                note = "placed by the network" if places is None else "not asked for by the prompt"
                place = (LEFT + 4, y + LANE / 2)
                self.draw.text(place, f"{label}: {note}", (*colour, 255), self.small, anchor="lm")
                continue
            for part in places:
                begin = self.x(part.start)
                end = self.x(min(self.seconds, part.start + part.duration))
                bar = (begin, y + 2, max(end, begin + 2), y + LANE - 3)
                self.draw.rectangle(bar, fill=(*colour, 150))
                self.draw.line((begin, y + LANE - 3, begin, floor), (*colour, 190))
                self.draw.line((end, y + LANE - 3, end, floor), (*colour, 90))
            latest = LEFT + self.width - self.draw.textlength(label, self.small) - 4
            self.draw.text(
                (min(self.x(places[0].start) + 5, latest), y + LANE / 2),
                label,
                (255, 255, 255, 255),
                self.small,
                anchor="lm",
                stroke_width=1,
                stroke_fill=(0, 0, 0, 200),
            )
