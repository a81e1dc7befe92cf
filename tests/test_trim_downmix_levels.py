"""What goes in (trimming, downmix) and what comes out (levels)."""

import pytest
import soundfile
import torch

from dreamaudio_core.audio.downmix import downmix, downmix_weights
from dreamaudio_core.audio.levels import (
    check_output,
    keep_headroom,
    loudness,
    set_level,
    true_peak,
)
from dreamaudio_core.audio.trim import find_sound, trim
from dreamaudio_core.errors import AudioError, InputError
from dreamaudio_core.scene.reference import load_reference, prepare_reference
from dreamaudio_core.weights.info import MODELS

EXAMPLES = MODELS.parent / "examples"
RATE = 44_100


@pytest.fixture(scope="module")
def crow():
    samples, rate = soundfile.read(EXAMPLES / "crow.flac", dtype="float32")
    assert rate == RATE
    return torch.from_numpy(samples)


def noise(length, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 10.0 ** (level / 20.0) * torch.randn(length, generator=generator)


@pytest.fixture(scope="module")
def late(crow):
    """A crow after three seconds of nothing, and a second of nothing after it."""
    return torch.cat((torch.zeros(3 * RATE), 0.7 * crow, torch.zeros(RATE)))


def _click(wave):
    wave = wave.clone()
    wave[RATE : RATE + 2] = torch.tensor([0.9, -0.9])
    return wave


DISTURBED = {
    "silence": lambda w: w,
    "offset of 0.01": lambda w: w + 0.01,
    "offset of 0.1": lambda w: w + 0.1,
    "room tone at -65 dB": lambda w: w + noise(len(w), -65),
    "room tone at -55 dB": lambda w: w + noise(len(w), -55),
    "room tone at -45 dB": lambda w: w + noise(len(w), -45),
    "dither": lambda w: w + (torch.rand(len(w)) - 0.5) / 16_384,
    "click before it": _click,
}


@pytest.mark.parametrize("kind", DISTURBED)
def test_the_sound_is_found_whatever_lies_before_it(late, crow, kind):
    begin, end = find_sound(DISTURBED[kind](late), RATE)
    assert begin / RATE == pytest.approx(3.0, abs=0.02)
    # Room tone at -45 dB covers the last of the tail.
    shorter = 0.09 if "-45" in kind else 0.03
    assert -shorter < end / RATE - 3.0 - len(crow) / RATE < 0.03


def test_tails_are_kept():
    time = torch.arange(RATE) / RATE
    slam = noise(RATE, -12) * 10.0 ** (-60.0 * time / 20.0)
    begin, end = find_sound(torch.cat((slam, torch.zeros(RATE))), RATE)
    assert begin == 0 and end / RATE > 0.95
    # A tail that sinks into the floor is kept until it does.
    begin, end = find_sound(torch.cat((slam, torch.zeros(RATE))) + noise(2 * RATE, -60), RATE)
    assert begin == 0 and 0.6 < end / RATE < 1.0


def test_sounds_without_silence_are_kept_whole():
    rain = noise(2 * RATE, -20)
    assert find_sound(rain, RATE) == (0, len(rain))
    hum = 0.3 * torch.sin(2 * torch.pi * 30 * torch.arange(2 * RATE) / RATE)
    begin, end = find_sound(torch.cat((torch.zeros(RATE), hum, torch.zeros(RATE))), RATE)
    assert begin / RATE == pytest.approx(1.0, abs=0.02) and end / RATE > 2.98


def test_equal_short_sounds_are_no_clicks():
    wave = torch.zeros(3 * RATE)
    for i in range(6):
        wave[i * RATE // 2 + 1000 :][:100] = noise(100, -6, i)
    begin, end = find_sound(wave, RATE)
    assert begin <= 1000 and end >= 5 * RATE // 2 + 1100


def test_least_duration_and_shape():
    wave = torch.zeros(2, RATE)
    wave[:, 20_000:20_050] = 0.5
    part, begin, end = trim(wave, RATE)
    assert end - begin >= 0.1 * RATE and part.shape == (2, end - begin)
    assert trim(torch.full((100,), 0.25), RATE)[0].abs().max() < 1e-6


def test_references_tell_what_is_used(late, crow, tmp_path):
    plain = prepare_reference(late, RATE, "a crow caws")
    soundfile.write(tmp_path / "offset.wav", (late + 0.01).numpy(), RATE)
    offset = load_reference(tmp_path / "offset.wav", "a crow caws")
    assert offset.seconds == pytest.approx(plain.seconds, abs=0.01)
    assert offset.original.begin == pytest.approx(3.0, abs=0.02)
    whole = prepare_reference(late, RATE, "a crow caws", trim_silence=False)
    assert whole.seconds == pytest.approx(len(late) / RATE, abs=0.001)
    with pytest.raises(AudioError, match="constant offset"):
        prepare_reference(torch.full((RATE,), 0.1), RATE, "nothing")


def test_originals_keep_rate_channels_and_level(crow):
    stereo = torch.stack((crow, 0.5 * crow)) * 0.1
    reference = prepare_reference(stereo, RATE, "a crow caws", gain=-3.0)
    original = reference.original
    assert original.sample_rate == RATE and original.waveform.shape[0] == 2
    assert original.waveform.abs().max() == pytest.approx(float(stereo.abs().max()), rel=0.01)
    assert reference.waveform.abs().max() == pytest.approx(0.5, rel=1e-5)
    torch.testing.assert_close(original.to_network(original.waveform, 16_000), reference.waveform)
    with pytest.raises(InputError, match="gain"):
        prepare_reference(crow, RATE, "a crow caws", gain=100.0)


def _kept(channels, part):
    """Share of `part`'s energy in the downmix of `channels`, by projection."""
    mono = downmix(channels)
    return float((mono @ part) ** 2 / (part @ part) ** 2)


def test_no_loud_channel_is_lost(crow):
    other = noise(len(crow), -20, 1)
    silent = torch.zeros_like(crow)
    assert downmix_weights(torch.stack((crow, crow))).tolist() == [0.5, 0.5]
    assert _kept(torch.stack((crow, -crow)), crow) == pytest.approx(1.0, rel=1e-3)
    assert _kept(torch.stack((crow, -0.9 * crow)), crow) > 0.8
    # Side only: a steady middle and a sound that is inverted between the channels.
    assert _kept(torch.stack((other + crow, other - crow)), crow) > 0.1
    assert _kept(torch.stack((crow, other)), crow) > 0.05
    for place in range(6):
        surround = [silent] * 6
        surround[place] = crow
        assert _kept(torch.stack(surround), crow) > 0.02
    surround = torch.stack((crow, -crow, 0.5 * crow, silent, other, -other))
    assert _kept(surround, crow) > 0.1 and _kept(surround, other) > 0.05
    # Inverted stereo is no longer refused as silent.
    assert prepare_reference(torch.stack((crow, -crow)), RATE, "a crow caws").seconds > 0.4


def test_true_peak_lies_between_samples():
    tone = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(12_000) * 0.5**0.5
    assert tone.abs().max() < 0.71
    assert true_peak(tone, 48_000) == pytest.approx(1.0, abs=0.02)


def test_headroom_is_kept_by_scaling_the_whole():
    loud = 3.0 * torch.sin(2 * torch.pi * 440 * torch.arange(32_000) / 16_000)[None]
    scaled, gain = keep_headroom(loud, 16_000)
    assert true_peak(scaled, 16_000) == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    torch.testing.assert_close(scaled, loud * 10 ** (gain / 20))
    quiet = 0.1 * loud
    same, gain = keep_headroom(quiet, 16_000)
    assert gain == 0.0 and torch.equal(same, quiet)


def test_levels_for_saving():
    tone = 0.05 * torch.sin(2 * torch.pi * 997 * torch.arange(96_000) / 48_000)[None]
    peak, _ = set_level(tone, 48_000, "peak")
    assert true_peak(peak, 48_000) == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    pytest.importorskip("pyloudnorm")
    # A full-scale 997 Hz tone in one channel reads -3.01 LUFS (BS.1770).
    assert loudness(tone * 20, 48_000) == pytest.approx(-3.01, abs=0.1)
    for name in ("-16 LUFS", "-23 LUFS"):
        out, _ = set_level(tone, 48_000, name)
        assert loudness(out, 48_000) == pytest.approx(float(name.split()[0]), abs=0.1)
    short, _ = set_level(tone[:, :4800], 48_000, "-23 LUFS")
    assert torch.isfinite(short).all()
    assert set_level(torch.zeros(1, 48_000), 48_000, "-23 LUFS")[1] == 0.0
    with pytest.raises(InputError, match="level"):
        set_level(tone, 48_000, "loud")


@pytest.mark.parametrize(
    "bad, says",
    [
        (torch.ones(1, 8, dtype=torch.int16), "int16"),
        (torch.tensor([[0.0, float("nan")]]), "NaN"),
        (torch.tensor([[0.0, float("inf")]]), "infinite"),
    ],
)
def test_what_is_no_sound_does_not_leave(bad, says):
    with pytest.raises(AudioError, match=says):
        check_output(bad)
