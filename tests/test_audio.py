"""Reading, writing, resampling and analysing real sounds."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

import dreamaudio_core
from dreamaudio_core.audio import decode
from dreamaudio_core.audio.checks import check_waveform
from dreamaudio_core.audio.decode import MAX_SECONDS, have_av, read_audio, read_original
from dreamaudio_core.audio.edit import (
    fade_edges,
    loudest_stretch,
    normalize_reference,
    trim_silence,
)
from dreamaudio_core.audio.mel import (
    LogMel,
    log_mel,
    magnitude_spectrogram,
    mel_filterbank,
    silence_log_mel,
)
from dreamaudio_core.audio.resample import _ratio, resample, resample_blocks, to_mono
from dreamaudio_core.audio.write import write_audio
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.errors import AudioError

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"
CAPTIONS = json.loads((EXAMPLES / "captions.json").read_text(encoding="utf-8"))
CONFIG = AudioConfig()
SOUNDS = sorted(CAPTIONS)


@pytest.fixture(params=SOUNDS)
def sound(request) -> torch.Tensor:
    """One example at 16 kHz, cut to whole hops: [T]."""
    waveform = read_audio(EXAMPLES / request.param)
    return waveform[: len(waveform) // CONFIG.hop_length * CONFIG.hop_length]


def tone(frequency: float, rate: int, seconds: float = 1.0, dtype=torch.float64) -> torch.Tensor:
    return torch.sin(
        2 * math.pi * frequency * torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    ).to(dtype)


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


def test_examples_are_short_distinct_and_captioned():
    assert sorted(path.name for path in EXAMPLES.glob("*.flac")) == SOUNDS and len(SOUNDS) == 3
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in SOUNDS:
        info = soundfile.info(EXAMPLES / name)
        assert (EXAMPLES / name).stat().st_size < 300_000 and info.subtype == "PCM_16"
        assert 0.4 < info.duration < 4
        assert name in readme and CAPTIONS[name] in readme
    assert len(set(CAPTIONS.values())) == 3


# Mel front-end


def librosa_magnitude(sound: torch.Tensor) -> np.ndarray:
    pad = (CONFIG.n_fft - CONFIG.hop_length) // 2
    padded = np.pad(sound.numpy(), pad, mode="reflect")
    return np.abs(
        librosa.stft(
            padded, n_fft=CONFIG.n_fft, hop_length=CONFIG.hop_length, window="hann", center=False
        )
    )


def librosa_basis(config: AudioConfig, dtype=np.float32) -> np.ndarray:
    return librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        norm="slaney",
        htk=False,
        dtype=dtype,
    )


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        AudioConfig(sample_rate=22_050, n_mels=80, hop_length=256),
        AudioConfig(n_mels=40, fmin=125.0, fmax=7500.0),
    ],
)
def test_mel_basis_matches_librosa(config):
    np.testing.assert_allclose(
        mel_filterbank(config).numpy(), librosa_basis(config), atol=1e-7, rtol=1e-5
    )


def test_magnitude_matches_librosa(sound):
    ours = magnitude_spectrogram(sound[None].double(), CONFIG)[0].numpy()
    theirs = librosa_magnitude(sound.double())
    assert ours.shape == theirs.shape == (513, len(sound) // 160)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    single = magnitude_spectrogram(sound[None], CONFIG)[0].numpy()
    np.testing.assert_allclose(single, theirs, atol=1e-4)


def test_linear_mel_matches_librosa_in_float32(sound):
    ours = LogMel(CONFIG).linear(sound[None])[0].numpy()
    theirs = librosa_basis(CONFIG) @ librosa_magnitude(sound)
    assert ours.dtype == np.float32 and theirs.max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_log_mel_matches_librosa_in_float64(sound):
    ours = log_mel(sound[None].double(), CONFIG)
    theirs = np.log(
        np.maximum(librosa_basis(CONFIG, np.float64) @ librosa_magnitude(sound.double()), 1e-5)
    ).T
    assert ours.dtype == torch.float64 and ours.shape == (1, 1, len(sound) // 160, 64)
    np.testing.assert_allclose(ours[0, 0].numpy(), theirs, atol=1e-4)


def test_half_precision_log_mel_is_the_float32_one_rounded(sound):
    ours = log_mel(sound[None].bfloat16(), CONFIG)
    exact = log_mel(sound[None].bfloat16().float(), CONFIG)
    assert ours.dtype == torch.bfloat16 and torch.equal(ours, exact.bfloat16())


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(163_840, 1024), (16_000, 100), (160, 1), (320, 2), (1, 1), (161, 2), (432, 3), (433, 3)],
)
def test_frame_count(samples, frames):
    generator = torch.Generator().manual_seed(0)
    mel = log_mel(torch.rand(2, samples, generator=generator) - 0.5, CONFIG)
    assert mel.shape == (2, 1, frames, 64) and torch.isfinite(mel).all()


def test_frames_lie_on_their_hops():
    waveform = torch.zeros(1, 16_000)
    waveform[0, 50 * 160 + 80] = 1.0
    assert int(log_mel(waveform, CONFIG)[0, 0].mean(-1).argmax()) == 50


def test_silence_is_the_logarithm_of_the_floor():
    silence = silence_log_mel(7, CONFIG)
    assert silence.shape == (1, 1, 7, 64) and silence[0, 0, 0, 0].item() == pytest.approx(
        math.log(1e-5)
    )
    torch.testing.assert_close(log_mel(torch.zeros(1, 7 * 160), CONFIG), silence)


def test_log_mel_is_differentiable(sound):
    start = loudest_stretch(sound, 1600)
    waveform = sound[None, start : start + 1600].double().requires_grad_()
    module = LogMel(CONFIG)
    module(waveform).sum().backward()
    step = torch.zeros_like(waveform)
    step[0, 800] = 1e-7
    with torch.no_grad():
        slope = (module(waveform + step) - module(waveform - step)).sum() / 2e-7
    assert waveform.grad[0, 800].item() == pytest.approx(slope.item(), rel=1e-4)
    silent = torch.zeros(1, 1600, requires_grad=True)
    module(silent).sum().backward()
    assert torch.isfinite(silent.grad).all()


def test_log_mel_buffers_are_not_saved():
    assert not LogMel(CONFIG).state_dict() and len(list(LogMel(CONFIG).buffers())) == 2


# Resampling

RATES = [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize("rate", RATES)
def test_tones_keep_amplitude_and_phase(rate):
    for frequency in (50.0, 440.0, 0.42 * min(rate, 16_000)):
        ours = resample(tone(frequency, rate), rate, 16_000)
        assert len(ours) == 16_000
        error = (ours - tone(frequency, 16_000))[800:-800].abs().max().item()
        assert error < 1e-3, (rate, frequency, error)


@pytest.mark.parametrize("rate", [12_345, 15_999, 44_101, 47_999, 88_211])
def test_odd_rates_keep_tones_and_all_but_the_speed(rate):
    up, down = _ratio(rate, 16_000)
    assert up / down == pytest.approx(16_000 / rate, rel=1e-4) and max(up, down) < 4_000
    frequency = 0.42 * min(rate, 16_000)
    ours = resample(tone(frequency, rate), rate, 16_000)
    assert len(ours) == 16_000
    moments = torch.arange(16_000, dtype=torch.float64) * down / up / rate
    assert (ours - torch.sin(2 * math.pi * frequency * moments))[800:-800].abs().max() < 1e-3


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000, 192_000])
def test_aliases_are_rejected(rate):
    for frequency in np.linspace(8_200, rate / 2 - 200, 7):
        ours = resample(tone(frequency, rate), rate, 16_000)[800:-800]
        assert 20 * math.log10(ours.abs().max().item() + 1e-12) < -60, (rate, frequency)


def test_images_are_rejected():
    ours = resample(tone(3_000, 8_000), 8_000, 16_000)[800:-800].numpy()
    spectrum = np.abs(np.fft.rfft(ours * np.hanning(len(ours))))
    frequencies = np.fft.rfftfreq(len(ours), 1 / 16_000)
    assert spectrum[frequencies > 4_100].max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize(
    ("orig", "new"), [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (16_000, 44_100)]
)
def test_agrees_with_other_resamplers(orig, new):
    noise = np.random.default_rng(0).standard_normal(orig)
    band = scipy.signal.firwin(2001, 0.35 * min(orig, new), fs=orig)
    signal = scipy.signal.fftconvolve(noise, band, mode="same")
    signal /= np.abs(signal).max()
    ours = resample(torch.from_numpy(signal), orig, new).numpy()
    divisor = math.gcd(orig, new)
    scipy_out = scipy.signal.resample_poly(
        signal, new // divisor, orig // divisor, window=("kaiser", 14.0)
    )
    soxr_out = librosa.resample(signal, orig_sr=orig, target_sr=new, res_type="soxr_vhq")
    inner = slice(new // 10, -new // 10)
    assert len(ours) == len(scipy_out) == len(soxr_out) == new
    # scipy's short default filter droops near its band edge, so it is the looser of the two
    # references.
    assert np.abs(ours - soxr_out)[inner].max() < 1e-3
    assert np.abs(ours - scipy_out)[inner].max() < 2e-2


def test_resample_is_independent_of_chunks_and_batch():
    signal = (
        torch.rand(2, 3, 30_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        - 0.5
    )
    whole = resample(signal, 44_100, 16_000)
    assert whole.shape == (2, 3, math.ceil(30_000 * 160 / 441))
    pieces = torch.cat(list(resample_blocks(signal[1, 2].split(700), 44_100, 16_000)))
    torch.testing.assert_close(pieces, whole[1, 2], atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 5, 399, 17_001])
@pytest.mark.parametrize(
    ("orig", "new"), [(44_100, 16_000), (192_000, 16_000), (8_000, 16_000), (44_101, 16_000)]
)
def test_resampled_length(length, orig, new):
    assert len(resample(torch.ones(length), orig, new)) == -(-length * new // orig)


def test_resample_keeps_constants_and_identity():
    ones = torch.ones(20_000, dtype=torch.float64)
    assert (resample(ones, 44_100, 16_000)[200:-200] - 1).abs().max() < 1e-6
    assert resample(ones, 16_000, 16_000) is ones
    with pytest.raises(AudioError, match="sample rate 0 Hz"):
        resample(ones, 0, 16_000)


# Reading


@pytest.mark.parametrize(
    "rate", [8_000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000, 88_200, 96_000, 192_000]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_reads_every_rate_and_channel_count(tmp_path, rate, channels):
    path = tmp_path / "a.wav"
    samples = np.repeat(0.5 * tone(1_000, rate, 0.3).numpy()[:, None], channels, axis=1)
    samples *= np.linspace(0.5, 1.5, channels) if channels > 1 else 1.0
    soundfile.write(path, samples, rate, subtype="FLOAT")
    waveform = read_audio(path)
    assert (
        waveform.shape == (math.ceil(len(samples) * 16_000 / rate),)
        and waveform.dtype == torch.float32
    )
    error = (waveform[:4_800] - 0.5 * tone(1_000, 16_000, 0.3))[800:-800].abs().max()
    assert error < 1e-3


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_24"),
        ("wav", "PCM_U8"),
        ("flac", "PCM_16"),
        ("ogg", "VORBIS"),
        ("ogg", "OPUS"),
        ("mp3", "MPEG_LAYER_III"),
    ],
)
def test_reads_every_format(tmp_path, suffix, subtype):
    if subtype not in soundfile.available_subtypes(suffix.upper()):
        pytest.skip(f"this libsndfile has no {subtype}")
    path = tmp_path / f"ä b.{suffix}"
    soundfile.write(path, 0.5 * tone(500, 48_000).numpy(), 48_000, subtype=subtype)
    waveform = read_audio(path)
    assert abs(len(waveform) - 16_000) < 1_600
    assert waveform.square().mean().sqrt().item() == pytest.approx(0.5 / math.sqrt(2), rel=0.1)


def test_reads_examples_like_librosa():
    for name in SOUNDS:
        theirs, _ = librosa.load(EXAMPLES / name, sr=16_000, mono=True, res_type="soxr_vhq")
        ours = read_audio(EXAMPLES / name).numpy()
        assert len(ours) == len(theirs)
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.03 * np.sqrt(np.mean(theirs**2))


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_reads_a_twentieth_of_a_second(tmp_path, rate):
    path = tmp_path / "short.wav"
    soundfile.write(path, tone(1_000, rate, 0.05).numpy(), rate)
    assert len(read_audio(path)) == 800


def test_reads_ten_minutes(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(0.3 * tone(1_000, 8_000).numpy(), 600), 8_000)
    waveform = read_audio(path)
    assert waveform.shape == (600 * 16_000,)
    # Were blocks joined a sample off, the end would be out of phase.
    expected = 0.3 * tone(1_000, 16_000)
    assert (waveform[-16_000:-1_000] - expected[:-1_000]).abs().max() < 1e-3


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / "sound.wav"
    good = 0.5 * tone(440, 16_000, 0.5).numpy()
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a sound " * 100)
    elif kind == "header":
        path.write_bytes(b"RIFF")
    elif kind == "raw":
        path = folder / "sound.raw"
        path.write_bytes(b"\x01\x02" * 500)
    elif kind == "frames":
        soundfile.write(path, good[:0], 16_000)
    elif kind in ("nan", "inf"):
        good[100] = float(kind)
        soundfile.write(path, good, 16_000, subtype="FLOAT")
    elif kind == "silent":
        soundfile.write(path, 0 * good, 16_000)
    elif kind == "damaged":
        path = folder / "sound.flac"
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000)
        soundfile.write(path, noise, 16_000)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "does not exist: check"),
        ("folder", "is a folder: give"),
        ("empty", r"is empty \(0 bytes\): choose"),
        ("text", "is not audio that can be decoded .*: convert"),
        ("header", "is not audio that can be decoded .*: convert"),
        ("raw", "is not audio that can be decoded .*: convert"),
        ("frames", "holds no samples: choose"),
        ("nan", "holds NaN or infinite samples: export"),
        ("inf", "holds NaN or infinite samples: export"),
        ("silent", "is silent: choose"),
        ("damaged", "is damaged after .*: choose an intact copy"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, kind, says):
    path = bad_file(tmp_path, kind)
    with pytest.raises(AudioError, match=says) as error:
        read_audio(path, label="reference 2")
    assert one_line(error).startswith(f'reference 2 "{path}"')


def test_file_names_cannot_break_the_line(tmp_path):
    with pytest.raises(AudioError) as error:
        read_audio(tmp_path / "two\nlines.wav")
    assert "two?lines.wav" in one_line(error)


def test_waveforms_become_mono():
    stereo = torch.stack((tone(500, 48_000), torch.zeros(48_000, dtype=torch.float64)))
    mono = to_mono(stereo, 48_000)
    assert mono.dtype == torch.float32 and mono.shape == (16_000,)
    assert (mono - 0.5 * tone(500, 16_000))[400:-400].abs().max() < 1e-3
    torch.testing.assert_close(to_mono(stereo[0].float(), 48_000, 48_000), stereo[0].float())


@pytest.mark.parametrize(
    ("waveform", "rate", "says"),
    [
        (torch.zeros(100), 16_000, "is silent"),
        (torch.zeros(0), 16_000, "no samples"),
        (torch.full((100,), math.nan), 16_000, "NaN"),
        (torch.full((2, 100), math.inf), 16_000, "infinite"),
        (torch.ones(1, 2, 100), 16_000, r"found \[1, 2, 100\]"),
        (torch.ones(4_000, 2), 16_000, r"found \[4000, 2\]"),
        (torch.ones(100, dtype=torch.int16), 16_000, "found torch.int16"),
        (np.ones(100), 16_000, "found ndarray"),
        (torch.ones(100), 0, "sample rate 0 Hz"),
        (torch.ones(100), 44_100.5, "sample rate 44100.5 Hz"),
    ],
)
def test_bad_waveforms_are_named(waveform, rate, says):
    with pytest.raises(AudioError, match=says) as error:
        check_waveform(waveform, rate, label="node input")
    assert one_line(error).startswith("node input")


def test_channels_that_cancel_are_silent():
    with pytest.raises(AudioError, match="is silent"):
        to_mono(torch.stack((torch.ones(100), -torch.ones(100))), 16_000)


# Writing


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".WAV", 1e-4), (".ogg", 0.05)]
)
def test_written_sounds_read_back(tmp_path, sound, suffix, tolerance):
    path = tmp_path / "new" / "folder" / f"out{suffix}"
    write_audio(path, sound)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert (read_audio(path) - sound).square().mean().sqrt() < tolerance


def test_writes_channels_scaled_down_over_an_old_file(tmp_path):
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    write_audio(path, torch.tensor([[2.0, 0.5], [-2.0, 0.25]]), 48_000)
    samples, rate = soundfile.read(path)
    assert rate == 48_000
    np.testing.assert_allclose(samples, [[1, -1], [0.25, 0.125]], atol=1e-4)


@pytest.mark.parametrize("name", ["out", "out.mp4", "out.txt"])
def test_unknown_suffixes_are_refused(tmp_path, name):
    with pytest.raises(AudioError, match="ends in .wav, .flac, .ogg"):
        write_audio(tmp_path / name, torch.ones(10))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("waveform", "name", "says"),
    [
        (torch.full((10,), math.nan), "out.wav", "NaN"),
        (torch.zeros(0), "out.wav", r"found \[0\]"),
        (torch.ones(9, 10), "out.flac", "not supported"),
    ],
)
def test_unwritable_waveforms_leave_nothing(tmp_path, waveform, name, says):
    with pytest.raises(AudioError, match=says) as error:
        write_audio(tmp_path / "sub" / name, waveform)
    assert name in one_line(error) and not list(tmp_path.iterdir())


def test_unwritable_folder_leaves_nothing(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_bytes(b"kept")
    for path in (blocker / "out.wav", blocker / "deeper" / "out.wav"):
        with pytest.raises(AudioError, match="choose another folder with --out") as error:
            write_audio(path, torch.ones(10))
        assert str(path) in one_line(error)
    assert list(tmp_path.iterdir()) == [blocker] and blocker.read_bytes() == b"kept"


@pytest.mark.parametrize("broken", ["os.replace", "pathlib.Path.write_bytes"])
def test_failed_write_keeps_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(AudioError, match="no space left on device"):
        write_audio(path, torch.ones(10))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"old"


# Preparing references


def test_trim_silence_keeps_the_sound_and_its_margin(sound):
    padded = torch.nn.functional.pad(sound, (8_000, 16_000))
    trimmed = trim_silence(padded, 16_000)
    peak = sound.abs().max()
    start = int((sound.abs() >= peak * 10**-2.5).nonzero()[0])
    stop = int((sound.abs() >= peak * 10**-2.5).nonzero()[-1])
    torch.testing.assert_close(trimmed, padded[8_000 + start - 160 : 8_000 + stop + 161])


def test_trim_silence_never_returns_nothing():
    assert len(trim_silence(torch.zeros(50), 16_000)) == 50
    assert len(trim_silence(torch.ones(1), 16_000)) == 1
    click = torch.zeros(1_000)
    click[500] = 1
    assert len(trim_silence(click, 16_000)) == 321


def test_loudest_stretch_finds_the_event(sound):
    quiet = 0.001 * torch.randn(80_000, generator=torch.Generator().manual_seed(0))
    event = sound[:4_000] / sound[:4_000].abs().max()
    quiet[33_000:37_000] += event
    start = loudest_stretch(quiet, 4_000)
    energy = quiet.double().square().unfold(0, 4_000, 1).sum(-1)
    assert start == int(energy.argmax()) and abs(start - 33_000) < 400
    assert loudest_stretch(quiet, 80_000) == loudest_stretch(quiet, 90_000) == 0


def test_normalize_reference(sound):
    prepared = normalize_reference(sound + 0.3)
    assert prepared.abs().max().item() == pytest.approx(0.5) and abs(prepared.mean().item()) < 1e-6
    scale = (prepared * sound).sum() / sound.square().sum()
    torch.testing.assert_close(prepared, scale * (sound - sound.mean()), atol=1e-4, rtol=0)
    assert not normalize_reference(torch.full((2, 100), 0.25)).any()


def test_fade_edges(sound):
    faded = fade_edges(sound, 200)
    torch.testing.assert_close(faded[200:-200], sound[200:-200])
    envelope = fade_edges(torch.ones(1_000, dtype=torch.float64), 200)
    assert (
        envelope[0] < 1e-4
        and (envelope[:200].diff() > 0).all()
        and torch.allclose(envelope, envelope.flip(0))
    )
    assert len(fade_edges(torch.ones(3), 200)) == 3 and len(fade_edges(torch.ones(0), 5)) == 0
    torch.testing.assert_close(fade_edges(sound, 0), sound)


@pytest.mark.skipif(not have_av() or not shutil.which("ffmpeg"), reason="needs PyAV and ffmpeg")
@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.m4a", "aac"),
        ("a.aac", "aac"),
        ("a.mp4", "aac"),
        ("a.webm", "libopus"),
        ("a.mka", "flac"),
    ],
)
def test_reads_what_phones_and_videos_hold(tmp_path, name, codec):
    source, path = EXAMPLES / "crow.flac", tmp_path / name
    command = ["ffmpeg", "-loglevel", "error", "-i", str(source), "-c:a", codec, str(path)]
    subprocess.run(command, check=True, timeout=60)
    found, expected = read_audio(path), read_audio(source)
    # Lossy codecs add some padding and change the samples, not the sound.
    assert len(found) == pytest.approx(len(expected), abs=0.1 * 16_000)
    level = [float(x.square().sum()) for x in (found, expected)]
    assert level[0] == pytest.approx(level[1], rel=0.2)
    waveform, rate = read_original(path)
    assert waveform.shape[0] == 1 and rate in (44_100, 48_000)


@pytest.mark.skipif(not have_av(), reason="needs PyAV")
def test_a_playlist_under_a_false_name_is_refused(tmp_path):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.ones(1000) * 0.5, 16_000)
    path = tmp_path / "list.m4a"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="not audio that can be decoded"):
        read_audio(path)


def test_a_small_file_that_holds_hours_is_refused(tmp_path):
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 1000, 1, "PCM_16") as sound:
        sound.write(np.full(1000, 0.5))
        for _ in range(40):
            sound.write(np.zeros(100_000))
    assert path.stat().st_size < 100_000
    for read in (read_audio, read_original):
        with pytest.raises(AudioError, match=f"longer than {MAX_SECONDS:g} s"):
            read(path)


@pytest.mark.skipif(not have_av(), reason="PyAV is not installed")
def test_finds_of_the_fuzzer_in_coded_sound(tmp_path):
    import av

    def write(name, layout, title=""):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("aac", rate=16_000, layout=layout)
            if title:
                container.metadata["title"] = title
            channels = 2 if layout == "stereo" else 1
            frame = av.AudioFrame.from_ndarray(
                np.tile(0.5 * np.sin(np.arange(4_000, dtype=np.float32) * 0.3), (channels, 1)),
                format="fltp",
                layout=layout,
            )
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return (tmp_path / name).read_bytes()

    # Two recordings in one file, which once read memory that was not there.
    joined = write("a.aac", "stereo") + write("b.aac", "mono")
    (tmp_path / "joined.aac").write_bytes(joined)
    with pytest.raises(AudioError, match="changes its rate or channels midway"):
        read_original(tmp_path / "joined.aac")
    content = write("c.mka", "mono", "a strange title")
    (tmp_path / "title.mka").write_bytes(content.replace(b"strange", b"\xff\xfe\xf6\x80\xc0nge"))
    assert len(read_audio(tmp_path / "title.mka")) >= 4_000
    (tmp_path / "codec.mka").write_bytes(content.replace(b"A_AAC", b"A_ZZZ"))
    with pytest.raises(AudioError, match="codec"):
        read_audio(tmp_path / "codec.mka")


@pytest.mark.skipif(not have_av(), reason="PyAV is not installed")
def test_each_of_many_channels_is_read_from_its_own_memory(tmp_path):
    import av

    count = 16
    layout = f"{count} channels"
    sound = np.sin(np.arange(8_000) * 0.3)[:, None] * np.arange(1, count + 1) / count
    with av.open(str(tmp_path / "many.mka"), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16_000, layout=layout)
        samples = sound.astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    read, rate = read_original(tmp_path / "many.mka")
    assert rate == 16_000 and read.shape == (count, len(sound))
    assert np.abs(read.numpy() - sound.T).max() < 1e-6


def test_many_channels_at_a_high_rate_are_refused(tmp_path, monkeypatch):
    # The limit of an hour of stereo, scaled down.
    monkeypatch.setattr(decode, "MAX_SAMPLES", 100_000)
    path = tmp_path / "many.flac"
    soundfile.write(path, np.full((20_000, 8), 0.5), 192_000)
    with pytest.raises(AudioError, match="more than 100,000 samples in all channels"):
        read_original(path)
    assert len(read_audio(path)) == math.ceil(20_000 / 12)


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "zero.wav"):
        with pytest.raises(AudioError, match="not a regular file"):
            read_audio(tmp_path / name)
