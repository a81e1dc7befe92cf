"""Griffin-Lim refinement on a real sound."""

from pathlib import Path

import pytest
import torch

from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.audio.griffin_lim import GriffinLim
from dreamaudio_core.audio.mel import log_mel, silence_log_mel
from dreamaudio_core.config import AudioConfig

CONFIG = AudioConfig()
SOUND = Path(__file__).parent.parent / "dreamaudio_core" / "examples" / "cash_register.flac"


@pytest.fixture(scope="module")
def sound():
    waveform = read_audio(SOUND)
    return waveform[: len(waveform) // 160 * 160][None]


def error(waveform, mel):
    return (log_mel(waveform, CONFIG) - mel).abs().mean().item()


def test_approaches_the_mel_from_noise(sound):
    mel = log_mel(sound, CONFIG)
    noise = 0.1 * torch.randn(sound.shape, generator=torch.Generator().manual_seed(0))
    refine = GriffinLim(CONFIG).refine
    errors = [error(refine(noise, mel, iterations), mel) for iterations in (0, 4, 16)]
    assert errors[0] > 1.0 and errors[1] < 0.3 and errors[2] < 0.15


def test_leaves_what_is_right_alone(sound):
    mel = log_mel(sound, CONFIG)
    assert torch.equal(GriffinLim(CONFIG).refine(sound, mel, 0), sound)
    corrected = GriffinLim(CONFIG).refine(sound, mel, 3)
    assert (corrected - sound).abs().max() < 1e-3 * sound.abs().max()


def test_batch_and_silence(sound):
    pair = torch.cat([sound, sound.flip(-1)])
    mel = log_mel(pair, CONFIG)
    both = GriffinLim(CONFIG).refine(0.5 * pair, mel, 6)
    assert both.shape == pair.shape
    torch.testing.assert_close(
        GriffinLim(CONFIG).refine(0.5 * pair[1:], mel[1:], 6), both[1:], atol=1e-5, rtol=1e-4
    )
    silent = GriffinLim(CONFIG).refine(torch.zeros(1, 16_000), silence_log_mel(100, CONFIG), 6)
    assert torch.isfinite(silent).all() and silent.abs().max() < 1e-3
