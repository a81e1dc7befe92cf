"""AudioBox-Aesthetics against the published predictor, on a small network of random weights."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from small_aesthetics import SCALES, SETTINGS, narrow, small_network, write_aesthetics

from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.networks import aesthetics
from dreamaudio_core.networks.aesthetics import AestheticsExtractor


@pytest.fixture
def aes(monkeypatch):
    """The package's network module, with a WavLM of two narrow layers."""
    module = pytest.importorskip(
        "audiobox_aesthetics.model.aes", reason="audiobox_aesthetics is not installed"
    )
    monkeypatch.setattr(module, "DEFAULT_AUDIO_CFG", narrow(module))
    return module


def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in (16_000, 163_840, 160_000)]


def test_scores_agree_with_the_published_predictor(aes, tmp_path, monkeypatch):
    path = write_aesthetics(aes, tmp_path / "checkpoint.pt")
    # The predictor imports torchaudio for reading and resampling, neither of which clips at its own
    # rate need.
    functional = types.SimpleNamespace(resample=lambda wav, orig_freq, new_freq: wav)
    monkeypatch.setitem(sys.modules, "torchaudio", types.SimpleNamespace(functional=functional))
    infer = pytest.importorskip(
        "audiobox_aesthetics.infer", reason="audiobox_aesthetics needs rich and requests"
    )
    predictor = infer.AesPredictor(str(path))
    expected = predictor.forward([{"path": clip[None], "sample_rate": 16_000} for clip in clips()])
    found = AestheticsExtractor(path).extract(clips())
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, [theirs["PQ"], theirs["CU"]], rtol=1e-4)
    assert abs(found[0] - found[1]).max() > 1e-3, "the clips must be told apart"


def test_folders_and_checkpoints_give_the_same(aes, tmp_path):
    path = write_aesthetics(aes, tmp_path / "checkpoint.pt")
    small_network(aes).save_pretrained(tmp_path / "folder")
    clip = clips()[:1]
    expected, found = (
        AestheticsExtractor(source).extract(clip)[0] for source in (path, tmp_path / "folder")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.shape == (2,)


def test_batches_change_nothing(aes, tmp_path):
    extractor = AestheticsExtractor(write_aesthetics(aes, tmp_path / "checkpoint.pt"))
    together = extractor.extract(clips())
    for clip, found in zip(clips(), together, strict=True):
        np.testing.assert_allclose(found, extractor.extract([clip])[0], rtol=1e-4)


def test_foreign_and_damaged_weights_are_refused(aes, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="audiobox-aesthetics/checkpoint.pt"):
        AestheticsExtractor(tmp_path / "foreign.pt").extract(clips()[:1])
    state = {
        f"model.{k}": v
        for k, v in small_network(aes).state_dict().items()
        if "layer_weights" not in k
    }
    torch.save(
        {"state_dict": state, "model_cfg": SETTINGS, "target_transform": SCALES},
        tmp_path / "partial.pt",
    )
    with pytest.raises(CheckpointError, match="layer_weights"):
        AestheticsExtractor(tmp_path / "partial.pt").extract(clips()[:1])


def test_missing_weights_say_where_they_are_published(tmp_path):
    with pytest.raises(CheckpointError, match="huggingface.co/facebook/audiobox-aesthetics"):
        AestheticsExtractor(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="config.json is missing"):
        AestheticsExtractor(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics", None)
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics.model.aes", None)
    (tmp_path / "checkpoint.pt").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match="pip install audiobox_aesthetics"):
        aesthetics.load_aesthetics(tmp_path / "checkpoint.pt")
