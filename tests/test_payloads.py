"""Pickles whose code runs when they are read carelessly, under every name and given to whatever
reads files of strangers: none runs; and weights that are cut anywhere are refused.
"""

import contextlib
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dreamaudio_core.cli import main
from dreamaudio_core.config import PRESETS
from dreamaudio_core.errors import CheckpointError, DreamAudioError
from dreamaudio_core.evaluation.feature_cache import FeatureCache
from dreamaudio_core.networks.aesthetics import load_aesthetics
from dreamaudio_core.networks.clap import load_clap
from dreamaudio_core.networks.cnn14 import load_cnn14
from dreamaudio_core.networks.vggish import load_vggish
from dreamaudio_core.training.run_state import read_checkpoint
from dreamaudio_core.weights.bigvgan import load_bigvgan
from dreamaudio_core.weights.checkpoint import read_safetensors
from dreamaudio_core.weights.latent_diffusion import load_vae
from small_model import make_folder

SUFFIXES = (".ckpt", ".pt", ".bin", ".pth", ".npz", ".npy", ".safetensors", ".sqlite", "")
GENERATE = ["generate", "--prompt", "x", "--device", "cpu", "--out"]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def write_raw(path, payload):
    path.write_bytes(pickle.dumps({"state_dict": {"a": payload}}))


def write_zip(path, payload):
    torch.save({"state_dict": {"a": torch.ones(2), "b": payload}}, path)


def write_legacy(path, payload):
    content = {"generator": {"a": torch.ones(2)}, "optimizer": payload}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_arrays(path, payload):
    with open(path, "wb") as file:
        np.savez(file, a=np.array([payload], dtype=object))


def write_array(path, payload):
    with open(path, "wb") as file:
        np.save(file, np.array([payload], dtype=object))


WRITERS = (write_raw, write_zip, write_legacy, write_arrays, write_array)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "the payload ran"


def test_the_payload_would_run(tmp_path, marker):
    for write in WRITERS:
        write(tmp_path / "x", Payload(marker))
        with contextlib.suppress(Exception):
            if write in (write_arrays, write_array):
                found = np.load(tmp_path / "x", allow_pickle=True)
                list(found.values() if write is write_arrays else found)
            else:
                torch.load(tmp_path / "x", weights_only=False)
        assert marker.exists(), write
        marker.unlink()


@pytest.mark.parametrize("write", WRITERS)
def test_no_reader_runs_it(tmp_path, model, marker, write, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    readers = {
        "convert": lambda p: main(["convert", p, "--out", str(tmp_path / "o.safetensors")]),
        "info": lambda p: main(["info", p]),
        "library": lambda p: main(["library", "search", "x", "--library", p]),
        "bigvgan": load_bigvgan,
        "vae": lambda p: load_vae(p, allow_pickle=True),
        "cnn14": load_cnn14,
        "vggish": load_vggish,
        "clap": load_clap,
        "aesthetics": load_aesthetics,
        "resume": lambda p: read_checkpoint(p, 1),
        "safetensors": read_safetensors,
    }
    generate = [*GENERATE, str(tmp_path / "o.wav"), "--model", str(model)]
    for suffix in SUFFIXES:
        for part in ("flow", "vae", "vocoder", "text-encoder", "model"):
            readers.pop(part, None)
        if suffix in (".safetensors", ".pt"):
            for part in ("flow", "vae", "vocoder", "text-encoder", "model"):
                readers[part] = lambda p, part=part: main([*generate, f"--{part}", p])
        path = tmp_path / f"given{suffix}"
        write(path, Payload(marker))
        for name, read in readers.items():
            # Refused, or read without what it may not hold.
            with contextlib.suppress(DreamAudioError, OSError):
                read(str(path))
            assert not marker.exists(), (name, suffix)
            assert not (tmp_path / "o.wav").exists()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", ["text encoder", "clap", "aesthetics", "model"])
def test_no_folder_of_a_model_runs_it(tmp_path, model, marker, write, kind, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = tmp_path / "folder"
    text = PRESETS["mini"].text
    shutil.copytree(model / "text_encoder" if kind == "text encoder" else model, folder)
    for path in list(folder.rglob("*.safetensors")):
        names = (path.name, path.with_suffix(".bin").name, "pytorch_model.bin", "extra.pt")
        path.unlink()
        for name in names:
            write(path.with_name(name), Payload(marker))
    from dreamaudio_core.networks.text_encoder import load_text_encoder

    read = {
        "text encoder": lambda: load_text_encoder(folder, text),
        "clap": lambda: load_clap(folder),
        "aesthetics": lambda: load_aesthetics(folder),
        "model": lambda: main([*GENERATE, str(tmp_path / "o.wav"), "--model", str(folder)]),
    }[kind]
    if kind == "model":
        assert read() == 2
    else:
        with pytest.raises(CheckpointError):
            read()
    assert not marker.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_no_cached_features_run_it(tmp_path, marker, write):
    cache = FeatureCache(tmp_path)
    clip, extractor = SimpleNamespace(digest="a" * 64), SimpleNamespace(name="n", digest="b" * 64)
    path = cache.path(clip, extractor)
    path.parent.mkdir(parents=True)
    write(path, Payload(marker))
    assert cache.load(clip, extractor) is None
    assert not marker.exists()


@pytest.mark.parametrize("part", ["flow", "vae", "vocoder", "arranger", "text_encoder/model"])
def test_weights_that_are_cut_anywhere_are_refused(tmp_path, model, part):
    content = (model / f"{part}.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for percent in range(1, 100):
        path.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(CheckpointError, match="not a complete safetensors file"):
            read_safetensors(path)
    path.write_bytes(content)
    assert read_safetensors(path)[0]
