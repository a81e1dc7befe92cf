"""Pictures of spectrograms."""

import numpy as np
import pytest
import torch

from dreamaudio_core.audio.picture import (
    INK,
    LANE_COLOURS,
    LEFT,
    PALETTE,
    TOP,
    Panel,
    band_positions,
    colorize,
    draw_spectrograms,
    time_step,
)
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.errors import InputError
from dreamaudio_core.scene.timeline import Placement

CONFIG = AudioConfig()


def mel(frames=100, level=-11.5):
    return torch.full((frames, 64), level)


def test_colours_run_from_dark_to_bright_with_low_bands_at_the_bottom():
    values = mel()
    values[50, 3] = 0.0
    found = colorize(values)
    assert found.shape == (64, 100, 3) and found.dtype == np.uint8
    assert tuple(found[60, 50]) == tuple(PALETTE[-1]) and tuple(found[0, 0]) == tuple(PALETTE[0])
    lightness = PALETTE @ [0.2, 0.7, 0.1]
    assert (np.diff(lightness) > 0).all()
    # A common scale makes a quiet sound dark.
    assert tuple(colorize(values, top=9.0)[60, 50]) == tuple(PALETTE[0])
    assert np.array_equal(colorize(values[None]), found)


def test_ticks_are_round_and_bands_lie_where_their_filters_do():
    assert [time_step(s) for s in (0.5, 2.56, 10.24, 60.0)] == [0.05, 0.5, 2, 10]
    positions = dict(band_positions(CONFIG, (100, 1000, 4000, 16000)))
    assert set(positions) == {100, 1000, 4000}
    assert positions[100] < positions[1000] < positions[4000] < 64


def test_panels_share_one_time_axis_and_one_colour_scale():
    pytest.importorskip("PIL")
    loud, quiet = mel(200, 0.0), mel(100, -4.5)
    picture = np.asarray(draw_spectrograms([Panel(loud), Panel(quiet)], CONFIG, size=(400, 50)))
    assert picture.shape[1] > 400
    first, second = picture[TOP + 25], picture[TOP + 50 + 10 + 25]
    assert tuple(first[LEFT + 390]) == tuple(PALETTE[-1])
    assert tuple(second[LEFT + 100]) == tuple(PALETTE[3])
    # The shorter one ends in the middle.
    assert tuple(second[LEFT + 190]) == tuple(PALETTE[3]) != tuple(second[LEFT + 210])


def test_timelines_have_a_bar_for_each_place():
    pytest.importorskip("PIL")
    places = (Placement(0.25, 0.25), Placement(0.75, 0.125))
    panel = Panel(mel(), timeline=[("a bell", places), ("a crow", ()), ("a dog", None)])
    picture = np.asarray(draw_spectrograms([panel], CONFIG, "a prompt", size=(400, 50))).astype(int)
    titled = TOP + 22
    lane = picture[titled + 4]
    coloured = [tuple(lane[LEFT + x]) for x in (50, 150, 250, 310, 390)]
    bar = np.array(LANE_COLOURS[0]) * 150 / 255
    near = [np.abs(np.array(c) - bar).max() < 40 for c in coloured]
    assert near == [False, True, False, True, False]
    # The lanes of the others hold text alone.
    assert any(
        tuple(p) != tuple(picture[0, 0]) for p in picture[titled + 22 + 11, LEFT : LEFT + 200]
    )
    assert tuple(INK) in {tuple(p) for p in picture[-40:].reshape(-1, 3)}


def test_nothing_to_draw_is_refused():
    with pytest.raises(InputError, match="at least one"):
        draw_spectrograms([], CONFIG)
