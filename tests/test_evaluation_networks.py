"""VGGish and Cnn14 against the published implementations with the same random weights."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dreamaudio_core
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.networks import cnn14 as panns
from dreamaudio_core.networks import vggish
from dreamaudio_core.networks.cnn14 import Cnn14, Cnn14Extractor, load_cnn14
from dreamaudio_core.networks.vggish import VGGish, VGGishExtractor, load_vggish, log_mel_examples

EXAMPLES = Path(dreamaudio_core.__file__).parent / "examples"


def published(package: str, module: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of an installed package without the package's own `__init__`, which would fetch
    files at import.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed: pip install {package}")
    bare = types.ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, package, bare)
    monkeypatch.delitem(sys.modules, f"{package}.{module}", raising=False)
    return importlib.import_module(f"{package}.{module}")


@pytest.fixture
def clip() -> torch.Tensor:
    """Two seconds of a guitar at 16 kHz."""
    return read_audio(EXAMPLES / "guitar.flac")[:32_000]


def small_vggish(seed: int = 0) -> VGGish:
    torch.manual_seed(seed)
    return VGGish((4, 4, 6, 6, 8, 8), hidden=16, embedding=8).eval()


def small_cnn14(seed: int = 0) -> Cnn14:
    torch.manual_seed(seed)
    return Cnn14(width=4, classes=10).eval()


# VGGish


def test_vggish_front_end_agrees_with_the_published_one(clip, monkeypatch):
    reference = published("torchvggish", "vggish_input", monkeypatch)
    expected = reference.waveform_to_examples(clip.double().numpy(), 16_000).detach()
    found = log_mel_examples(clip)
    assert found.shape == expected.shape == (2, 1, 96, 64)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_vggish_agrees_with_the_published_network(clip, monkeypatch):
    reference = published("torchvggish", "torchvggish", monkeypatch)
    torch.manual_seed(0)
    theirs = reference.VGG(reference.make_layers(), postprocess=False).eval()
    ours = VGGish(device="meta")
    ours.load_state_dict(theirs.state_dict(), assign=True)
    theirs.embeddings = theirs.embeddings[:-1]
    examples = log_mel_examples(clip)
    with torch.inference_mode():
        expected, found = theirs(examples), ours.eval()(examples)
    assert found.shape == (2, 128)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found < 0).any(), "embeddings are taken before the last ReLU"


def test_short_clips_are_extended_and_lengths_counted():
    assert log_mel_examples(torch.rand(100)).shape == (1, 1, 96, 64)
    assert log_mel_examples(torch.rand(vggish.EXAMPLE_SAMPLES)).shape[0] == 1
    assert log_mel_examples(torch.rand(163_840)).shape[0] == 10
    silence = log_mel_examples(torch.zeros(20_000))
    torch.testing.assert_close(silence, torch.full_like(silence, np.log(0.01)))


def test_vggish_checkpoints_are_read_under_their_names(tmp_path, clip):
    network = small_vggish()
    state = network.state_dict()
    assert {k.split(".")[0] for k in state} == {"features", "embeddings"}
    torch.save(state | {"pproc.pca_means": torch.zeros(8, 1)}, tmp_path / "vggish.pth")
    save_file(state, tmp_path / "vggish.safetensors")
    with torch.inference_mode():
        expected = network(log_mel_examples(clip))
        for name in ("vggish.pth", "vggish.safetensors"):
            torch.testing.assert_close(
                load_vggish(tmp_path / name)(log_mel_examples(clip)), expected
            )
    found = VGGishExtractor(tmp_path / "vggish.pth").extract([clip, clip[:100], clip])
    assert [f.shape for f in found] == [(2, 8), (1, 8), (2, 8)]
    np.testing.assert_allclose(found[2], expected.numpy(), rtol=1e-5, atol=1e-6)


# Cnn14


def test_cnn14_agrees_with_the_published_network(clip, tmp_path, monkeypatch):
    reference = published("panns_inference", "models", monkeypatch)
    torch.manual_seed(0)
    theirs = reference.Cnn14(16_000, 512, 160, 64, 50, 8_000, 527).eval()
    logits = []
    theirs.fc_audioset.register_forward_hook(lambda module, inputs, output: logits.append(output))
    with torch.inference_mode():
        # Statistics and offsets as after training, else normalisation would be the identity.
        for layer in theirs.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.1)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(std=0.1)
        theirs(torch.stack([clip, clip.flip(0)]))
    torch.save({"model": theirs.state_dict(), "iteration": 1}, tmp_path / "cnn14.pth")
    ours = load_cnn14(tmp_path / "cnn14.pth")
    with torch.inference_mode():
        found = ours(torch.stack([clip, clip.flip(0)]))
    assert found.shape == (2, 527)
    scale = float(logits[0].abs().max())
    torch.testing.assert_close(found, logits[0], rtol=0, atol=1e-4 * scale)
    assert (found[0] - found[1]).abs().max() > 1e-2 * scale, "the clips must be told apart"


def test_cnn14_front_end_agrees_with_librosa(clip):
    power = (
        np.abs(librosa.stft(clip.double().numpy(), n_fft=512, hop_length=160, pad_mode="reflect"))
        ** 2
    )
    basis = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=50, fmax=8_000)
    expected = librosa.power_to_db(basis @ power, ref=1.0, amin=1e-10, top_db=None)
    found = small_cnn14().log_mel(clip[None])[0, 0].T
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() < 0.01


def test_cnn14_checkpoints_may_lack_the_front_end(tmp_path, clip):
    network = small_cnn14()
    state = {k: v for k, v in network.state_dict().items() if k != "mel" and "num_batches" not in k}
    torch.save({"model": state}, tmp_path / "cnn14.pth")
    with torch.inference_mode():
        torch.testing.assert_close(
            load_cnn14(tmp_path / "cnn14.pth")(clip[None]), network(clip[None])
        )


def test_cnn14_uses_the_mel_weights_of_the_file(tmp_path, clip):
    network = small_cnn14()
    state = {k: v for k, v in network.state_dict().items() if k != "mel"}
    torch.save(
        {"model": state | {"logmel_extractor.melW": 2 * network.mel}}, tmp_path / "cnn14.pth"
    )
    plain, found = (
        network.log_mel(clip[None]),
        load_cnn14(tmp_path / "cnn14.pth").log_mel(clip[None]),
    )
    heard = plain > -100
    assert heard.float().mean() > 0.5
    torch.testing.assert_close(found[heard], plain[heard] + 10 * np.log10(2), rtol=0, atol=1e-3)


def test_clips_of_mixed_lengths_get_the_features_they_get_alone(tmp_path, clip):
    torch.save(
        {"model": {k: v for k, v in small_cnn14().state_dict().items() if k != "mel"}},
        tmp_path / "cnn14.pth",
    )
    extractor = Cnn14Extractor(tmp_path / "cnn14.pth")
    clips = [clip, clip[:5_000], clip.flip(0), torch.cat((clip, clip)), clip[:32_000] + 0.3]
    together = extractor.extract(clips)
    for index, alone in enumerate(clips):
        np.testing.assert_allclose(
            together[index], extractor.extract([alone])[0], rtol=1e-4, atol=1e-6
        )
    np.testing.assert_allclose(
        together[4], together[0], rtol=1e-3, atol=1e-4, err_msg="the mean is removed"
    )


# What does not fit


def test_the_network_of_another_rate_is_refused(tmp_path):
    state = {k: v for k, v in small_cnn14().state_dict().items() if k != "mel"}
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(513, 1, 1024)
    torch.save({"model": state}, tmp_path / "cnn14.pth")
    with pytest.raises(CheckpointError, match="512 samples, found 1024.*zenodo"):
        load_cnn14(tmp_path / "cnn14.pth")
    state["spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(257, 1, 512)
    torch.save({"model": state}, tmp_path / "cnn14.pth")
    with pytest.raises(CheckpointError, match="no Fourier transform"):
        load_cnn14(tmp_path / "cnn14.pth")


@pytest.mark.parametrize(
    ("extractor", "load", "place"),
    [
        (VGGishExtractor, load_vggish, "torchvggish/releases"),
        (Cnn14Extractor, load_cnn14, "zenodo.org/record/3987831"),
    ],
)
def test_missing_and_foreign_files_say_where_weights_are_published(
    extractor, load, place, tmp_path
):
    with pytest.raises(CheckpointError, match=f"absent.pth.*{place}"):
        extractor(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="folder"):
        extractor(tmp_path)
    torch.save({"something": torch.zeros(2)}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match=place):
        load(tmp_path / "foreign.pth")
    torch.save({"a": object}, tmp_path / "objects.pth")
    with pytest.raises(CheckpointError, match="weights-only"):
        load(tmp_path / "objects.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "foreign.pth").read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        load(tmp_path / "cut.pth")


def test_wrong_shapes_are_named(tmp_path):
    state = small_vggish().state_dict()
    state["embeddings.2.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "vggish.pth")
    with pytest.raises(CheckpointError, match=r"embeddings\.2\.weight.*wrong shape"):
        load_vggish(tmp_path / "vggish.pth")


def test_digests_tell_weights_apart(tmp_path):
    for seed in (0, 1):
        torch.save(small_vggish(seed).state_dict(), tmp_path / f"{seed}.pth")
    (tmp_path / "copy.pth").write_bytes((tmp_path / "0.pth").read_bytes())
    digests = {
        name: VGGishExtractor(tmp_path / f"{name}.pth").digest for name in ("0", "1", "copy")
    }
    assert digests["0"] == digests["copy"] != digests["1"]


def test_operations_and_dtype_reach_the_layers():
    class Counting:
        made = 0

        @classmethod
        def Linear(cls, *args, **kw):
            cls.made += 1
            return torch.nn.Linear(*args, **kw)

        @classmethod
        def Conv2d(cls, *args, **kw):
            cls.made += 1
            return torch.nn.Conv2d(*args, **kw)

    network = VGGish((2,) * 6, 4, 4, operations=Counting, dtype=torch.float64)
    assert Counting.made == 9 and network.embeddings[0].weight.dtype is torch.float64
    panns.Cnn14(width=2, classes=3, operations=Counting, dtype=torch.float64)
    assert Counting.made == 9 + 14
