"""Pictures of mel spectrograms, with axes and the timeline of the references."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..dreamaudio_core.audio import mel_filterbank
from ..dreamaudio_core.config import AudioConfig

PLOT = (960, 320)
MARGINS = (70, 16, 20, 46)  # left, top, right, bottom
LANE = 22
DYNAMIC_RANGE = 9.0
BACKGROUND, INK = (24, 24, 28), (225, 225, 230)
COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (160, 160, 160),
)
# Dark to bright in steps of even lightness.
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
HERTZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)


def _font(size: int) -> ImageFont.ImageFont:
    # Pillow before 10.1 has one built-in size only.
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def band_positions(config: AudioConfig, hertz: tuple[int, ...]) -> list[tuple[int, float]]:
    """Those of `hertz` that the mel bands reach, with the band index (fractional) where each lies."""
    centres = (
        mel_filterbank(config).argmax(dim=1).double().numpy() * config.sample_rate / config.n_fft
    )
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


def draw_mel(
    mel: torch.Tensor, config: AudioConfig, seconds: float, timeline: tuple = ()
) -> torch.Tensor:
    """Picture [H, W, 3] in [0, 1] of a log-mel spectrogram.

    Parameters
    ----------
    mel
        [frames, bands], natural logarithm; what lies beyond `seconds` is left out.
    timeline
        (caption, placements) of each reference; each gets a lane with a bar where it sounds.
    """
    left, top, right, bottom = MARGINS
    lanes = LANE * len(timeline)
    width, height = PLOT
    picture = Image.new("RGB", (left + width + right, top + lanes + height + bottom), BACKGROUND)
    frames = max(1, round(seconds * config.sample_rate / config.hop_length))
    values = mel[:frames].float().numpy().T[::-1]
    scaled = np.clip((values - values.max()) / DYNAMIC_RANGE + 1, 0, 1) * (len(PALETTE) - 1)
    colours = np.stack(
        [np.interp(scaled, np.arange(len(PALETTE)), PALETTE[:, c]) for c in range(3)], -1
    )
    plot = Image.fromarray(colours.astype(np.uint8)).resize(PLOT, Image.Resampling.BILINEAR)
    picture.paste(plot, (left, top + lanes))
    _draw_axes(picture, config, seconds, lanes, mel.shape[1])
    _draw_timeline(picture, seconds, timeline)
    return torch.from_numpy(np.asarray(picture).copy()).float() / 255


def _draw_axes(
    picture: Image.Image, config: AudioConfig, seconds: float, lanes: int, bands: int
) -> None:
    left, top, _, _ = MARGINS
    width, height = PLOT
    draw, font = ImageDraw.Draw(picture), _font(14)
    floor = top + lanes + height
    for index in range(int(seconds / time_step(seconds) + 1e-6) + 1):
        second = index * time_step(seconds)
        x = left + width * second / seconds
        draw.line((x, floor, x, floor + 5), INK)
        draw.text((x, floor + 7), f"{second:g}", INK, font, anchor="ma")
    draw.text((left + width / 2, floor + 26), "seconds", INK, font, anchor="ma")
    lowest = floor + LANE
    for hertz, band in band_positions(config, HERTZ):
        y = floor - height * (band + 0.5) / bands
        if lowest - y < 14:
            continue
        lowest = y
        draw.line((left - 5, y, left, y), INK)
        draw.text((left - 8, y), f"{hertz}", INK, font, anchor="rm")
    draw.text((8, top), "Hz", INK, font, anchor="la")


def _draw_timeline(picture: Image.Image, seconds: float, timeline: tuple) -> None:
    left, top, _, _ = MARGINS
    width, height = PLOT
    draw, font = ImageDraw.Draw(picture, "RGBA"), _font(13)
    floor = top + LANE * len(timeline) + height
    for index, (caption, places) in enumerate(timeline):
        colour = COLOURS[index % len(COLOURS)]
        y = top + index * LANE
        label = (caption or f"reference {index + 1}")[:80]
        if not places:
            note = "placed by the network" if places is None else "not asked for by the prompt"
            draw.text(
                (left + 4, y + LANE / 2), f"{label}: {note}", (*colour, 255), font, anchor="lm"
            )
            continue
        for place in places:
            begin = left + width * place.start / seconds
            end = left + width * min(seconds, place.start + place.duration) / seconds
            draw.rectangle((begin, y + 2, max(end, begin + 2), y + LANE - 3), fill=(*colour, 150))
            draw.line((begin, y + LANE - 3, begin, floor), (*colour, 190))
            draw.line((end, y + LANE - 3, end, floor), (*colour, 90))
        x = min(
            left + width * places[0].start / seconds + 5,
            left + width - draw.textlength(label, font) - 4,
        )
        draw.text(
            (x, y + LANE / 2),
            label,
            (255, 255, 255, 255),
            font,
            anchor="lm",
            stroke_width=1,
            stroke_fill=(0, 0, 0, 200),
        )
