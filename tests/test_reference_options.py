"""What is set on a reference goes to each of its placements."""

from dataclasses import replace

import pytest
import torch

from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.rendering.events import render_events
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import Placement

RATE = 16_000
GENERATOR = torch.Generator().manual_seed(0)
NOISE = 0.5 * torch.randn(RATE // 2, generator=GENERATOR).clamp(-1, 1)
PLACES = (Placement(0.5, 0.5, pan=0.8, fade_in=0.2), Placement(2.0, 0.5, pan=-0.8))


def test_pan_adds_and_the_longer_fade_counts():
    plain = prepare_reference(NOISE, RATE, "noise", trim_silence=False)
    given = prepare_reference(
        NOISE, RATE, "noise", trim_silence=False, gain=-6.0, pan=-0.5, fade_in=0.1, fade_out=0.25
    )
    before = render_events(replace(plain, placements=PLACES), PLACES)
    after = render_events(replace(given, placements=PLACES), PLACES)
    assert [event.pan for event in after] == pytest.approx([0.3, -1.0])
    for old, new in zip(before, after):
        change = new.waveform.square().sum() / old.waveform.square().sum()
        assert change < 10**-0.6
        middle = slice(round(0.2 * RATE), round(0.25 * RATE))
        ratio = new.waveform[:, middle] / old.waveform[:, middle]
        assert ratio.abs().max() == pytest.approx(10**-0.3, rel=0.02)
        assert new.waveform[0, -1].abs() < 1e-3
    # The first placement's own fade of 0.2 s is longer than the reference's.
    tenth = slice(round(0.1 * RATE), round(0.2 * RATE))
    first, second = (new.waveform[:, tenth].square().sum() for new in after)
    assert first < 0.8 * second


def test_a_kept_tail_ends_with_the_recording():
    tone = 1e-4 * torch.randn(2 * RATE, generator=GENERATOR)
    sound = torch.cat((tone[:RATE], NOISE, tone[RATE:]))
    trimmed, kept, whole = (
        prepare_reference(sound, RATE, "noise", **options).source
        for options in ({}, {"keep_tail": True}, {"trim_silence": False})
    )
    assert trimmed.begin == kept.begin > 0.9 and trimmed.end < 1.8
    assert kept.end == kept.total == whole.end == 2.5 and whole.begin == 0.0
    assert prepare_reference(NOISE, RATE, "noise").scene_seconds >= 1.25 * 0.45


@pytest.mark.parametrize("field, value", [("pan", 1.5), ("fade_in", -1.0), ("fade_out", 1e9)])
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(InputError, match=f"reference: {field} is"):
        prepare_reference(NOISE, RATE, "noise", **{field: value})


def test_a_part_is_used_as_it_is():
    sound = torch.cat((torch.zeros(RATE), NOISE, torch.zeros(RATE)))
    part = prepare_reference(sound, RATE, "noise", part=(0.9, 1.2)).source
    assert (part.begin, part.end, part.total) == (0.9, 1.2, 2.5)
    assert part.waveform.shape[-1] == round(0.3 * RATE)
    assert prepare_reference(sound, RATE, "noise", part=(1.0, None)).source.end == 2.5


@pytest.mark.parametrize("part", [(-1.0, 1.0), (1.2, 1.2), (2.5, None), (1.0, 0.5)])
def test_a_part_that_is_none_is_named(part):
    sound = torch.cat((torch.zeros(RATE), NOISE, torch.zeros(RATE)))
    with pytest.raises(InputError, match="no part of its 2.50 s"):
        prepare_reference(sound, RATE, "noise", part=part)


def test_a_silent_part_is_refused():
    sound = torch.cat((torch.zeros(RATE), NOISE - NOISE.mean(), torch.zeros(RATE)))
    with pytest.raises(AudioError, match="silent from 0.10 to 0.20 s"):
        prepare_reference(sound, RATE, "noise", part=(0.1, 0.2))
