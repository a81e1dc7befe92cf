"""The vocoder at frame rate: exact where it starts, safe in chunks, and told apart by its file."""

import math

import pytest
import torch

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.config import AudioConfig, ModelConfig, VocoderConfig, VocosConfig
from dreamaudio_core.config_values import from_dict
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.networks.vocos import NOISE_FRAMES, Vocos
from dreamaudio_core.weights.checkpoint import save_weights
from dreamaudio_core.weights.info import describe_config
from dreamaudio_core.weights.load import load_part

SMALL = VocosConfig(channels=16, blocks=2, expansion=2)


def network(config=SMALL):
    torch.manual_seed(0)
    return Vocos(config).eval().requires_grad_(False)


def sweep_mel(seconds=1.0, batch=1):
    """Log-mel [B, 1, frames, 64] of a rising tone in noise, and its waveform."""
    torch.manual_seed(2)
    time = torch.arange(int(seconds * 16_000)) / 16_000
    tone = 0.3 * torch.sin(2 * math.pi * (300 * time + 400 * time**2))
    waveform = (tone + 0.02 * torch.randn(len(time))).expand(batch, -1)
    return LogMel(AudioConfig())(waveform), waveform


def test_untrained_it_already_has_the_mel():
    mel, _ = sweep_mel()
    found = LogMel(AudioConfig())(network().vocode(mel)[:, 0])
    assert (found - mel)[:, :, 8:-8].abs().mean() < 0.5


def test_silence_stays_silent():
    mel = torch.full((1, 1, 100, 64), 1e-5).log()
    assert network().vocode(mel).abs().max() < 1e-3


@pytest.mark.parametrize("frames", [1, 3, 4, 37, 300])
def test_any_length(frames):
    waveform = network().vocode(torch.full((2, 1, frames, 64), -5.0))
    assert waveform.shape == (2, 1, 160 * frames) and torch.isfinite(waveform).all()


@pytest.mark.parametrize("chunk", [64, 111])
def test_chunks_give_what_the_whole_gives(chunk):
    mel, _ = sweep_mel(3.0)
    vocoder = network()
    whole = vocoder(mel[:, 0].transpose(1, 2))
    torch.testing.assert_close(vocoder.vocode(mel, chunk_frames=chunk), whole, atol=1e-5, rtol=0)


def test_noise_goes_on_after_its_period():
    mel = torch.full((1, 64, 32), -4.0)
    vocoder = network()
    first, second = vocoder(mel, 0), vocoder(mel, NOISE_FRAMES - 16)
    assert (first - second).abs().max() > 1e-4
    torch.testing.assert_close(vocoder(mel, NOISE_FRAMES * 2), first, atol=1e-5, rtol=1e-4)


def test_every_weight_learns():
    mel, waveform = sweep_mel(0.5, batch=2)
    torch.manual_seed(0)
    vocoder = Vocos(SMALL)
    log_mel = LogMel(AudioConfig())
    optimizer = torch.optim.Adam(vocoder.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        made = vocoder(mel[:, 0].transpose(1, 2))[:, 0]
        loss = (log_mel(made) - mel).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in vocoder.parameters())
    assert losses[-1] < losses[0]


def test_the_file_says_which_vocoder_it_is(tmp_path):
    vocoder = network()
    save_weights(tmp_path / "v.safetensors", vocoder.state_dict(), "vocoder", SMALL)
    again = load_part("vocoder", tmp_path / "v.safetensors")
    mel, _ = sweep_mel(0.3)
    assert isinstance(again, Vocos) and again.config == SMALL
    torch.testing.assert_close(again.vocode(mel), vocoder.vocode(mel), atol=1e-5, rtol=1e-4)
    config = VocoderConfig(upsample_initial_channel=32)
    save_weights(tmp_path / "b.safetensors", BigVGAN(config).state_dict(), "vocoder", config)
    assert isinstance(load_part("vocoder", tmp_path / "b.safetensors"), BigVGAN)


def test_model_configurations_hold_either():
    model = from_dict(ModelConfig, {"name": "x", "vocoder": {"kind": "vocos", "channels": 32}})
    assert model.vocoder == VocosConfig(channels=32)
    assert describe_config(model)["other_parameters"]["vocoder"] > 0
    # Weight files from before there was a choice name none.
    assert from_dict(VocoderConfig, {"num_mels": 64}) == VocoderConfig()
    with pytest.raises(CheckpointError, match="kind.*vocos.*'wavenet'"):
        from_dict(ModelConfig, {"name": "x", "vocoder": {"kind": "wavenet"}}, "here")


@pytest.mark.parametrize("shape", [(1, 64, 10), (1, 1, 10, 32), (1, 1, 0, 64)])
def test_wrong_mels_are_refused(shape):
    with pytest.raises(InputError, match="expected .batch, 1, frames, 64"):
        network().vocode(torch.zeros(shape))
