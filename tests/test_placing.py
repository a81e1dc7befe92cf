"""Placing of references on the target's time axis."""

from dataclasses import replace

import pytest
import torch

from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.networks.vae import AutoencoderKL
from dreamaudio_core.rendering.events import cut_event, render_events
from dreamaudio_core.rendering.placing import (
    canvas,
    encode_sound,
    encode_sounds,
    free_canvas,
    placed_canvas,
    quiet_frames,
    silence_latent,
)
from dreamaudio_core.scene.reference import Reference
from dreamaudio_core.scene.timeline import Placement
from dreamaudio_core.weights.info import MODELS
from dreamaudio_core.weights.load import load_part
from small_configs import SMALL_VAE

AUDIO = AudioConfig()
EXAMPLE = MODELS.parent / "examples" / "cash_register.flac"


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return AutoencoderKL(replace(SMALL_VAE, scale_factor=1.0)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sound():
    return read_audio(EXAMPLE)


def test_cut_takes_the_loudest_stretch():
    wave = torch.zeros(48_000)
    wave[30_000:34_000] = 0.5
    original = Reference(wave, "a click").source
    part = cut_event(original, Placement(0.0, 0.25))
    assert part.shape == (1, 4000)
    assert part[0, 100:-100].mean() == pytest.approx(0.5, rel=1e-3)
    assert part[0, 0] == pytest.approx(0.0, abs=1e-3)
    early = cut_event(original, Placement(0.0, 0.25, offset=0.0))
    assert early.abs().max() == 0
    whole = cut_event(original, Placement(0.0, 3.0))
    assert torch.equal(whole, wave[None])


def test_canvas_overlap_and_end():
    silence = torch.full((4, 1, 8), -1.0)
    a, b = torch.full((4, 5, 8), 1.0), torch.full((4, 5, 8), 2.0)
    out = canvas([(2, a), (5, b), (28, a)], silence, 30, placed=True)
    assert out.shape == (6, 30, 8)
    first = out[0, :, 0].tolist()
    assert first == [-1.0] * 2 + [1.0] * 3 + [2.0] * 5 + [-1.0] * 18 + [1.0] * 2
    assert out[4, :, 0].tolist() == [float(v != -1.0) for v in first]
    assert (out[5] == 1).all() and (canvas([], silence, 30, placed=False)[4:] == 0).all()


def test_quiet_frames_keep_a_distance_from_every_sound():
    timeline = [(Placement(0.32, 0.16),), None, (), (Placement(0.96, 0.2),)]
    quiet = quiet_frames(timeline, 20, 0.08).nonzero()[:, 0].tolist()
    assert quiet == [0, 1, 8, 9, 17, 18, 19]
    assert quiet_frames([()], 5, 0.08).all()
    # A sound of exactly two frames takes no third one.
    assert quiet_frames([(Placement(0.0, 0.16),)], 5, 0.08).tolist() == [False] * 4 + [True]


def test_silence_hardly_depends_on_its_length(vae, sound):
    log_mel = LogMel(AUDIO)
    alone = silence_latent(vae, AUDIO)
    assert alone.shape == (4, 1, 8)
    longer = encode_sound(vae, log_mel, torch.zeros(12_800)) - alone
    loud = encode_sound(vae, log_mel, sound[:12_800]) - alone
    assert longer.abs().mean() < 0.25 * loud.abs().mean()


def test_placed_and_free_references(vae, sound):
    log_mel = LogMel(AUDIO)
    silence = silence_latent(vae, AUDIO)
    twice = (Placement(0.48, 0.8), Placement(2.4, 0.8))
    reference = Reference(sound, "a cash register rings")
    placed = placed_canvas(vae, log_mel, silence, render_events(reference, twice), 64)
    starts = [i for i in range(64) if placed[4, i, 0] and not (i and placed[4, i - 1, 0])]
    assert starts == [6, 30]
    torch.testing.assert_close(placed[:4, 6:16], placed[:4, 30:40])
    free = free_canvas(vae, log_mel, silence, sound, 64)
    assert free[4, 0, 0] == 1 and (free[5] == 0).all()
    gone = placed_canvas(vae, log_mel, silence, [], 64)
    assert (gone[4] == 0).all()


def test_starts_are_exact_to_the_sample(vae, sound):
    log_mel = LogMel(AUDIO)
    silence = silence_latent(vae, AUDIO)
    reference = Reference(sound[:8000], "a cash register rings")
    place = Placement(0.5071, 0.5)
    placed = placed_canvas(vae, log_mel, silence, render_events(reference, (place,)), 64)
    shift = round(0.5071 * 16_000) - 6 * 1280
    shifted = encode_sound(vae, log_mel, torch.cat((torch.zeros(shift), sound[:8000])))
    torch.testing.assert_close(placed[:4, 6 : 6 + shifted.shape[1]], shifted)


def test_events_that_share_frames_are_mixed(vae, sound):
    log_mel = LogMel(AUDIO)
    silence = silence_latent(vae, AUDIO)
    reference = Reference(sound[:8000], "a cash register rings")
    places = (Placement(0.48, 0.5), Placement(0.72, 0.5))
    placed = placed_canvas(vae, log_mel, silence, render_events(reference, places), 64)
    assert placed[4, :, 0].nonzero()[:, 0].tolist() == list(range(6, 16))
    mix = torch.zeros(10 * 1280)
    mix[:8000] += sound[:8000]
    mix[3840:11840] += sound[:8000]
    torch.testing.assert_close(placed[:4, 6:16], encode_sound(vae, log_mel, mix))


@pytest.mark.skipif(
    not (MODELS / "mini" / "vae.safetensors").exists(),
    reason="the embedded model's weights are not here",
)
def test_embedded_vae_reconstructs_a_real_sound(sound):
    vae = load_part("vae", MODELS / "mini" / "vae.safetensors")
    mel = LogMel(AUDIO)(sound[: len(sound) // 1280 * 1280][None])
    assert (vae.decode(vae.encode(mel)) - mel).abs().mean() < 0.25


def test_sounds_of_one_length_go_through_the_vae_together(vae, monkeypatch):
    log_mel, encode, passes = LogMel(AUDIO), vae.encode, []
    monkeypatch.setattr(vae, "encode", lambda mel: passes.append(len(mel)) or encode(mel))
    generator = torch.Generator().manual_seed(0)
    # Sounds of 7,681 and 8,000 samples have as many frames.
    sounds = [torch.randn(n, generator=generator) for n in (8000, 3000, 8000, 7681, 8000)]
    found = encode_sounds(vae, log_mel, sounds, batch=3)
    assert passes == [1, 3, 1]
    for waveform, latent in zip(sounds, found, strict=True):
        torch.testing.assert_close(latent, encode_sound(vae, log_mel, waveform))
