"""The codec alone: `dreamaudio roundtrip`."""

import math

import pytest
import soundfile
import torch

from dreamaudio_core.cli.main import main
from dreamaudio_core.codec import roundtrip
from dreamaudio_core.loading import load_model
from small_model import make_folder


@pytest.fixture(scope="module")
def model():
    return load_model("mini")


def chirp(seconds=1.2, rate=16_000):
    time = torch.arange(int(seconds * rate)) / rate
    return 0.4 * torch.sin(2 * math.pi * (300 * time + 300 * time**2)) * torch.exp(-2 * time)


def test_the_vae_costs_more_than_the_mel_and_noise_more_still(model):
    sound = chirp()
    mel, latent = roundtrip(model, sound, "mel"), roundtrip(model, sound)
    noisy = roundtrip(model, sound, noise=0.5)
    assert mel.decoded_l1 is None and latent.waveform.shape == (1, len(sound))
    assert 0.0 < mel.waveform_l1 < latent.waveform_l1
    assert latent.decoded_l1 < noisy.decoded_l1
    again = roundtrip(model, sound, noise=0.5).waveform
    torch.testing.assert_close(noisy.waveform, again, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 900, 16_001])
def test_any_length_comes_back_as_long(model, samples):
    found = roundtrip(model, chirp(2.0)[:samples])
    assert found.waveform.shape == (1, samples) and torch.isfinite(found.waveform).all()


def test_command(tmp_path, capsys):
    folder = make_folder(tmp_path / "model")
    soundfile.write(tmp_path / "in.wav", chirp(0.5, 44_100).numpy(), 44_100)
    arguments = [str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav"), "--model"]
    assert main(["roundtrip", *arguments, str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "after the VAE" in printed and "after the vocoder" in printed
    waveform, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 16_000 and len(waveform) == 8_000
    assert main(["roundtrip", *arguments, str(folder), "--through", "mel"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    arguments.insert(1, "--overwrite")
    assert main(["roundtrip", *arguments, str(folder), "--through", "mel"]) == 0
    assert "after the VAE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--noise", "-1"], "--noise"),
        (["--noise", "0.1", "--through", "mel"], "leave out one"),
    ],
)
def test_wrong_values_are_told(tmp_path, capsys, extra, message):
    soundfile.write(tmp_path / "in.wav", chirp(0.3).numpy(), 16_000)
    out = tmp_path / "out.wav"
    assert main(["roundtrip", str(tmp_path / "in.wav"), "--out", str(out), *extra]) == 2
    assert message in capsys.readouterr().err and not out.exists()


def test_the_input_is_not_overwritten(tmp_path, capsys):
    file = tmp_path / "in.wav"
    soundfile.write(file, chirp(0.3).numpy(), 16_000)
    before = file.read_bytes()
    assert main(["roundtrip", str(file), "--out", str(file)]) == 2
    assert "is the input" in capsys.readouterr().err and file.read_bytes() == before
