"""Reference detail, beds and variations."""

import math
import subprocess
import sys

import pytest
import torch

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.audio.resample import resample
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.errors import InputError
from dreamaudio_core.rendering.beds import crossfade, fill
from dreamaudio_core.rendering.detail import (
    Detail,
    find_placement,
    output_rate,
    parse_rate,
    render_detail,
)
from dreamaudio_core.rendering.events import cut_event, render_events
from dreamaudio_core.rendering.variation import DRAWS, vary
from dreamaudio_core.scene.reference import load_reference, prepare_reference
from dreamaudio_core.scene.timeline import Placement
from dreamaudio_core.weights.info import MODELS

AUDIO = AudioConfig()
EXAMPLES = MODELS.parent / "examples"
LOG_MEL = LogMel(AUDIO)


def noise(*shape, level=-20.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 10.0 ** (level / 20.0) * torch.randn(*shape, generator=generator)


def codec(waveform):
    return LOG_MEL(waveform[None])[0, 0]


def render(references, places, mel_change=0.0, network=None, **options):
    """Detail of references at placements, with a network that changes the mix's mel."""
    seconds = options.pop("seconds", 2.0)
    events = [render_events(r, p) for r, p in zip(references, places)]
    network = torch.zeros(round(seconds * 16_000)) if network is None else network
    from dreamaudio_core.rendering.events import network_mix

    mel = codec(sum(network_mix(e, len(network), 16_000) for e in events) + network) + mel_change
    detail = Detail(options.pop("amount", 1.0), options.pop("rate", None))
    return render_detail(network, mel, events, codec, AUDIO, detail, **options)


@pytest.fixture(scope="module")
def crow():
    return load_reference(EXAMPLES / "crow.flac", "a crow caws")


def sdr(got, want):
    return 10.0 * math.log10(float(want.square().sum() / (got - want).square().sum()))


@pytest.mark.parametrize("start", [0.5, 0.5071, 0.51234])
def test_an_unchanged_reference_returns_exactly_where_it_was_put(crow, start):
    out, rate = render([crow], [(Placement(start, crow.seconds),)])
    want = crow.original.waveform
    begin = round(start * rate)
    assert rate == crow.original.sample_rate == 44_100 and out.shape == (1, 88_200)
    assert sdr(out[:, begin : begin + want.shape[-1]], want) > 60.0
    assert out[:, :begin].abs().max() == 0.0
    assert out[:, begin + want.shape[-1] :].abs().max() == 0.0


def test_what_the_network_changes_is_a_limited_filter(crow):
    place = [(Placement(0.5, crow.seconds),)]
    tilt = torch.linspace(-3.0, 3.0, 64)
    plain, rate = render([crow], place)
    tilted, _ = render([crow], place, tilt)
    # At its own level, within 2 dB in every band and brighter.
    assert tilted.square().sum() / plain.square().sum() == pytest.approx(1.0, rel=1e-4)
    frequency = torch.fft.rfftfreq(plain.shape[-1], 1.0 / rate)
    gains = []
    for low, high in ((300, 600), (1200, 2400), (4800, 7600)):
        band = (frequency > low) & (frequency < high)
        energy = [torch.fft.rfft(x)[0, band].abs().square().sum() for x in (tilted, plain)]
        gains.append(10.0 * math.log10(energy[0] / energy[1]))
    assert gains[0] < gains[1] < gains[2] and gains[2] - gains[0] < 4.1
    assert tilted.diff().abs().max() < 1.6 * plain.diff().abs().max()


@pytest.mark.parametrize("frames, bands", [(3, 4), (12, 8), (60, 32)])
def test_a_sound_alone_stays_above_15_db_whatever_the_network_does(crow, frames, bands):
    blocks = torch.sign(noise(-(-200 // frames), -(-64 // bands), seed=frames))
    change = 5.0 * blocks.repeat_interleave(frames, 0).repeat_interleave(bands, 1)[:200, :64]
    out, rate = render([crow], [(Placement(0.5, crow.seconds),)], change, rest=False)
    want = crow.original.waveform
    begin = round(0.5 * rate)
    assert 15.0 < sdr(out[:, begin : begin + want.shape[-1]], want) < 40.0


@pytest.mark.parametrize("offset", [-1.0, 1.0, 2.0])
def test_levels_are_those_of_the_references_whatever_the_network_does(crow, offset):
    quiet = prepare_reference(0.05 * crow.original.waveform, 44_100, "a crow caws", gain=-6.0)
    out, rate = render([quiet], [(Placement(0.5, quiet.seconds, gain=3.0),)], offset)
    want = quiet.original.waveform * 10 ** (-3 / 20)
    level = out.square().sum() / want.square().sum()
    assert abs(10.0 * math.log10(float(level))) < 0.1


def test_a_quiet_sound_under_a_loud_one_is_left_alone():
    loud = prepare_reference(noise(16_000, level=-10.0), 16_000, "rain")
    tone = 0.02 * torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    quiet = prepare_reference(tone, 16_000, "a beep", gain=0.0)
    # To the right, so that the difference of the channels is the quiet sound alone.
    places = [(Placement(0.2, 1.0),), (Placement(0.2, 1.0, gain=-30.0, pan=1.0),)]
    wobble = 0.5 * torch.sin(torch.arange(200)[:, None] / 3.0).expand(-1, 64)
    out, _ = render([loud, quiet], places, wobble, rest=False)
    want = _placed(tone * 10**-1.5, 3200, 32_000) * 2**0.5
    assert sdr(out[1] - out[0], want) > 25.0
    # By itself it is changed.
    alone, _ = render([quiet], places[1:], wobble, rest=False)
    assert sdr(alone[1], want) < 20.0


def _placed(part, begin, length):
    out = torch.zeros(length)
    out[begin : begin + len(part)] = part
    return out


def test_stereo_keeps_its_image_and_pan_moves_it():
    left = prepare_reference(torch.stack((noise(22_050), torch.zeros(22_050))), 44_100, "a step")
    out, _ = render([left], [(Placement(0.5, left.seconds),)])
    assert out.shape[0] == 2 and out[1].abs().max() == 0.0 and out[0].abs().max() > 0.1
    mono = prepare_reference(noise(22_050), 44_100, "a step")
    out, _ = render([mono], [(Placement(0.5, mono.seconds, pan=1.0),)])
    assert out.shape[0] == 2 and out[0].abs().max() < 1e-5
    power = out.square().sum() / (2.0 * mono.original.waveform.square().sum())
    assert power == pytest.approx(1.0, rel=1e-3)
    out, _ = render([mono], [(Placement(0.5, mono.seconds, pan=-1.0, pan_end=1.0),)])
    begin, end = out[:, 22_050:24_050].abs().amax(1), out[:, 42_000:44_000].abs().amax(1)
    assert begin[0] > 5.0 * begin[1] and end[1] > 5.0 * end[0]
    center, _ = render([mono], [(Placement(0.5, mono.seconds),)])
    assert center.shape[0] == 1


def test_what_no_reference_accounts_for_comes_from_the_network(crow):
    network = torch.zeros(32_000)
    network[24_000:30_000] = noise(6_000, level=-20.0)
    place = [(Placement(0.1, crow.seconds),)]
    out, rate = render([crow], place, network=network)
    want = resample(network, 16_000, rate)
    level = 1.0 / crow.original.scale
    inside = slice(round(1.52 * rate), round(1.85 * rate))
    got, want = out[0, inside], want[inside] * level
    assert abs(10.0 * math.log10(float(got.square().sum() / want.square().sum()))) < 1.0
    silent, _ = render([crow], place, network=network, rest=False)
    assert silent[0, round(1.2 * rate) :].abs().max() < 10 ** (-90 / 20)


def test_what_the_network_adds_is_no_louder_than_the_references(crow):
    network = torch.zeros(32_000)
    network[24_000:30_000] = noise(6_000, level=10.0)
    out, rate = render([crow], [(Placement(0.1, crow.seconds),)], network=network)
    peak = crow.original.waveform.abs().max()
    added = out[0, round(1.3 * rate) :].abs().max()
    assert 0.7 * peak < added < 1.2 * peak
    assert out[0, : round(1.3 * rate)].abs().max() == pytest.approx(float(peak), rel=0.1)


def test_no_detail_is_the_networks_output(crow):
    network = noise(32_000)
    out, rate = render([crow], [(Placement(0.1, 0.4),)], network=network, amount=0.0)
    assert rate == 16_000 and torch.equal(out[0], network)
    half, rate = render([crow], [(Placement(0.1, 0.4),)], network=network, amount=0.5, rate=16_000)
    assert rate == 16_000 and half.abs().max() > 0.0


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_output_rates(crow, rate):
    out, found = render([crow], [(Placement(0.25, crow.seconds),)], rate=rate)
    assert found == rate and out.shape[-1] == 2 * rate
    want = resample(crow.original.waveform, 44_100, rate)
    assert sdr(out[:, rate // 4 : rate // 4 + want.shape[-1]], want) > 40.0


def test_the_high_band_comes_back():
    hiss = prepare_reference(noise(48_000), 48_000, "hiss")
    out, rate = render([hiss], [(Placement(0.25, 1.0),)], torch.linspace(1.0, -3.0, 64))
    energy = [
        torch.fft.rfft(x[0], 2 * 48_000).abs().square()[16_000:].sum()
        for x in (out, hiss.original.waveform)
    ]
    assert rate == 48_000 and abs(10.0 * math.log10(float(energy[0] / energy[1]))) < 3.0


def test_choice_of_the_rate():
    assert output_rate([], 16_000) == 16_000
    assert output_rate([22_050], 16_000) == 24_000
    assert output_rate([44_100, 8_000], 16_000) == 44_100
    assert output_rate([192_000], 16_000) == 48_000
    assert parse_rate("auto") is None and parse_rate(48_000) == 48_000
    with pytest.raises(InputError, match="sample rate"):
        parse_rate("11025")
    with pytest.raises(InputError, match="detail"):
        Detail(1.5)


def test_a_reference_that_the_network_placed_is_found(crow):
    wave = torch.zeros(32_000)
    wave[20_000 : 20_000 + len(crow.waveform)] = 0.5 * crow.waveform[:12_000]
    place, score = find_placement(
        codec(wave + noise(32_000, level=-60.0)), codec(crow.waveform), AUDIO
    )
    assert place.start == pytest.approx(1.25, abs=0.02) and score < 1.0
    _, score = find_placement(codec(noise(32_000)), codec(crow.waveform), AUDIO)
    assert score > 1.0


def levels(waveform, rate, window=0.1):
    frames = waveform[0].unfold(0, round(window * rate), round(window * rate) // 2)
    return 10.0 * frames.square().mean(-1).log10()


@pytest.mark.parametrize("kind", ["rain", "tone", "rain that fades"])
def test_beds_have_no_bangs(kind):
    rate = 16_000
    sound = noise(2, 3 * rate)
    if kind == "tone":
        sound = 0.3 * torch.sin(2 * torch.pi * 220 * torch.arange(3 * rate) / rate).expand(2, -1)
    if kind == "rain that fades":
        sound = sound * (torch.arange(3 * rate) / rate * 2.0).clamp(max=1.0)
        sound = sound * (torch.arange(3 * rate).flip(0) / rate * 2.0).clamp(max=1.0)
    bed = fill(sound, 20 * rate, rate)
    assert bed.shape == (2, 20 * rate)
    level = levels(bed, rate)[12:]
    assert level.max() - level.median() < 2.0 and level.median() - level.min() < 3.0
    assert bed.diff().abs().max() <= 1.2 * sound.diff().abs().max()
    assert torch.equal(fill(sound, rate, rate), sound[:, :rate])


def test_a_long_placement_is_a_bed_with_soft_ends():
    rain = prepare_reference(noise(2 * 16_000), 16_000, "rain falls")
    part = cut_event(rain.original, Placement(0.0, 9.0))
    assert part.shape[-1] == 9 * 16_000
    assert part[:, -16:].abs().max() < 0.02 * part.abs().max()
    event = render_events(rain, (Placement(0.0, 9.0, fade_in=1.0, fade_out=2.0),))[0]
    level = levels(event.waveform, 16_000)
    assert level[0] < level[40] - 15.0 and level[-1] < level[40] - 20.0
    same = crossfade(torch.ones(100), torch.ones(100))
    torch.testing.assert_close(same, torch.ones(100))


def step(seed=3):
    """A footstep: a thud and grit, with a sharp attack, at 44.1 kHz."""
    time = torch.arange(15_000) / 44_100
    grit = noise(15_000, level=-8.0, seed=seed) * torch.exp(-time * 25.0)
    thud = 0.6 * torch.sin(2 * torch.pi * 90 * time) * torch.exp(-time * 40.0)
    return prepare_reference((grit + thud)[None].clamp(-0.95, 0.95), 44_100, "a footstep")


def test_variations_differ_audibly_and_keep_level_and_attack():
    reference = step()
    place = (Placement(0.0, reference.seconds),)
    takes = [render_events(reference, place, 0.5, seed)[0].waveform for seed in range(10)]
    again = render_events(reference, place, 0.5, 3)[0].waveform
    torch.testing.assert_close(again, takes[3], atol=1e-6, rtol=1e-5)
    plain = render_events(reference, place)[0].waveform
    assert torch.equal(plain, reference.original.waveform)
    mels = [codec(resample(take[0], 44_100, 16_000)) for take in takes]
    count = min(len(mel) for mel in mels)
    distances = [
        float((a[:count] - b[:count]).abs().mean()) for i, a in enumerate(mels) for b in mels[:i]
    ]
    assert 0.15 < min(distances) and max(distances) < 0.7
    loud = torch.tensor([float(take.square().sum()) for take in takes]).log10() * 10.0
    assert loud.max() - loud.min() < 2.0
    for take in takes:
        # As steep as the original: a quarter of the peak within 2 ms.
        assert int((take[0].abs() > 0.25 * take.abs().max()).nonzero()[0]) < 88
        assert 0.85 < take.shape[-1] / plain.shape[-1] < 1.15


def test_two_steps_of_one_scene_differ():
    reference = step()
    places = (Placement(0.0, reference.seconds), Placement(1.0, reference.seconds))
    first, second = render_events(reference, places, 0.5, 0)
    count = min(first.waveform.shape[-1], second.waveform.shape[-1])
    assert not torch.allclose(first.waveform[:, :count], second.waveform[:, :count], atol=1e-3)
    short = torch.ones(1, 50)
    assert vary(short, 44_100, 1.0, torch.full((DRAWS,), 0.5)).shape[-1] > 30


MEMORY = """
import sys, time, torch, resource
sys.path.insert(0, "tests")
torch.set_num_threads(1)
from test_detail import noise, render
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import Placement
sound = prepare_reference(noise(2, 60 * 48_000), 48_000, "rain", trim_silence=False)
out, rate = render([sound], [(Placement(0.0, 60.0),)], seconds=60.0)
assert out.shape == (2, 60 * 48_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_minute_of_stereo_fits_in_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2000
