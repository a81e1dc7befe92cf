"""The customization measure, on sounds that are told apart by their pitch."""

import json

import numpy as np
import pytest
import torch

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.cli.main import main
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.compose.composer import Composer
from dreamaudio_core.evaluation import customization as measure
from dreamaudio_core.evaluation.customization import Matcher, Votes, aligned_distance, customization
from dreamaudio_core.evaluation.reconstruction import measure_reconstruction, stft_distance
from dreamaudio_core.loading import load_model
from small_bank import fill_bank
from small_model import make_folder

NOUNS = """frog dog cat cow pig horse duck hen crow owl goat sheep donkey mouse wolf bear lion
    tiger fox bee""".split()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    def event(rng, number):
        time = np.arange(int(16_000 * rng.uniform(0.5, 1.2))) / 16_000
        return 0.3 * np.sin(2 * np.pi * 200 * 1.2**number * time) * (1 + np.sin(40 * time))

    return fill_bank(tmp_path_factory.mktemp("bank"), NOUNS, event)


@pytest.fixture(scope="module")
def matcher(manifest):
    return Matcher(Bank(manifest, kinds=("event", "speech")), "test", LogMel(AudioConfig()))


@pytest.fixture(scope="module")
def composer(manifest):
    return Composer(Bank(manifest), measure.SETS["concatenation"], "test")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "tiny")


def test_distance_is_that_of_the_best_shift():
    piece = torch.full((10, 4), -11.0)
    piece[4:7] = 0.0
    candidate = torch.full((3, 4), 0.0)
    assert aligned_distance(piece, candidate, 4, -11.0) == 0.0
    assert aligned_distance(piece, candidate, 2, -11.0) == pytest.approx(4 * 11.0 / 10)
    assert aligned_distance(piece, candidate + 1.0, 4, -11.0) == pytest.approx(0.3)
    # The candidate may also come too late.
    assert aligned_distance(piece[4:], piece, 4, -11.0) == 0.0
    assert aligned_distance(piece[4:], piece, 2, -11.0) > 0.0


def generated(monkeypatch, change):
    """Let every mode but `target` give the target as `change` leaves it."""

    def mel(model, item, mode, seeds, settings):
        return LogMel(AudioConfig())(change(item)[None])

    monkeypatch.setattr(measure, "generate_mels", mel)


def score(matcher, composer, items=6):
    return customization(None, matcher, composer, range(items), 11, "true", None)


def test_the_target_is_recognised_and_other_sounds_are_not(monkeypatch, matcher, composer):
    truth = customization(None, matcher, composer, range(6), 11, "target", None)
    assert len(truth.alone) > 6 and np.mean(truth.alone) == np.mean(truth.mix) == 1.0
    assert not any(truth.unasked) and len(truth.unasked) == 6

    def swapped(item):
        """Each event with the sound of another pitch in its place."""
        target = torch.zeros_like(item.target)
        for event in item.events:
            for place in event.placements:
                first, count = round(place.start * 16_000), round(place.duration * 16_000)
                count = min(count, len(target) - first)
                time = torch.arange(count) / 16_000
                target[first : first + count] = 0.3 * torch.sin(2 * torch.pi * 130 * time)
        return target

    generated(monkeypatch, swapped)
    wrong = score(matcher, composer)
    assert np.mean(wrong.alone) < 0.3 and len(wrong.alone) == len(truth.alone)


def test_sounds_in_silence_count_as_unasked(monkeypatch, matcher, composer):
    generated(monkeypatch, lambda item: item.target)
    assert not any(score(matcher, composer).unasked)
    noise = 0.1 * torch.randn(163_840, generator=torch.Generator().manual_seed(0))
    generated(monkeypatch, lambda item: item.target + noise[: len(item.target)])
    assert all(score(matcher, composer).unasked)


def test_candidates_have_other_labels_and_the_events_own_gain(matcher, composer):
    event = measure.measured_events(composer.item(11, 0))[0]
    sounds = matcher.candidates(event, np.random.default_rng(0))
    assert len(sounds) == measure.CANDIDATES
    place = event.placements[0]
    assert abs(len(sounds[0]) - round(place.duration * 16_000)) <= 1
    again = matcher.candidates(event, np.random.default_rng(0))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(sounds, again))


def test_votes_add_up():
    one, two = Votes([True], [False], unasked=[False]), Votes([True], [True], [True], [True])
    found = (one + two).summary()
    assert found["events"] == 2 and found["alone"] == 1.0 and found["mix"] == 0.5
    assert found["events_on_waveform"] == 1 and found["unasked"] == 0.0


@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_measures_through_the_pipeline(manifest, model, tmp_path, processes):
    words = ["evaluate", "customization", manifest, "--out", tmp_path, "--model", model]
    words += ["--items", 2, "--waveforms", 1, "--steps", 1, "--processes", processes]
    if processes > 1:
        words += ["--parts", "customization", "--sets", "concatenation", "--modes", "true", "none"]
    assert main([str(word) for word in words]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    modes = measure.MODES if processes == 1 else ("true", "none")
    sets = measure.SETS if processes == 1 else ("concatenation",)
    expected = {f"{name}-{mode}" for name in sets for mode in modes}
    assert set(found) == expected | ({"generation", "variation"} if processes == 1 else set())
    for key in expected:
        part = found[key]
        assert part["steps"] == 1 and part["items"] == 2 and part["events"] > 0
        assert 0 <= part["alone"] <= 1 and 0 <= part["mix"] <= 1 and 0 <= part["unasked"] <= 1
        assert (part["events_on_waveform"] > 0) == ("target" not in key)
    if processes == 1:
        assert found["concatenation-target"]["alone"] == 1.0
        assert found["variation"]["log_mel_l1"] > 0
        words[words.index("--items") + 1] = 1
        words += ["--parts", "variation", "--suffix", " again"]
        assert main([str(word) for word in words]) == 0
        both = json.loads((tmp_path / "evaluation.json").read_text())
        assert set(both) == set(found) | {"variation again"}


def test_reconstruction_compares_vocoders(manifest, model):
    loaded, bank = load_model(model), Bank(manifest)
    truth = {}

    def perfect(mel):
        return truth["wave"][: mel.shape[0] * 160]

    waveform = bank.waveform

    def kept(index):
        truth["wave"] = waveform(index)
        return truth["wave"]

    bank.waveform = kept
    found = measure_reconstruction(loaded, bank, 3, {"perfect": perfect})
    assert found["clips"] == 3 and found["vae_log_mel_l1"] > 0
    assert found["perfect_stft"] == 0.0 and found["perfect_log_mel_l1"] < 0.05
    assert found["vocoder_stft"] > 0.1 and found["bare_vocoder_log_mel_l1"] > 0.1
    tone = torch.sin(torch.arange(16_000) * 0.1)
    assert stft_distance(tone, tone) == 0.0 < stft_distance(0.5 * tone, tone)
