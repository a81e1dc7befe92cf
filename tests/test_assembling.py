"""Model folders from parts: what comes out loads and generates; what does not fit is refused."""

import json
import shutil

import pytest
import torch

from dreamaudio_core import config as configs
from dreamaudio_core.assembling import assemble_folder
from dreamaudio_core.cli.main import main
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.loading import load_model
from dreamaudio_core.weights.folder import read_config
from small_model import make_folder


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Parts of a small model, and a preset that they were trained as."""
    folder = make_folder(tmp_path / "parts")
    whole = read_config(folder)
    monkeypatch.setitem(configs.PRESETS, "tiny", whole)
    return folder


def given(folder, **changes):
    names = ("flow", "vae", "vocoder", "arranger")
    found = {part: folder / f"{part}.safetensors" for part in names}
    return {**found, "text_encoder": folder / "text_encoder", **changes}


def test_the_folder_loads_and_samples_as_its_parts_did(parts, tmp_path):
    folder = assemble_folder("tiny", tmp_path / "models" / "mine", **given(parts))
    config = read_config(folder)
    assert config.name == "mine" and config.mrc == read_config(parts).mrc
    assert not [path for path in folder.parent.iterdir() if path != folder]
    mels = []
    for model in (load_model(folder), load_model(parts)):
        result = model.generate("a crow caws", seconds=1.0, steps=2, seeds=[3])
        mels.append(result.mel)
    torch.testing.assert_close(*mels, atol=1e-4, rtol=1e-4)


def test_a_folder_with_a_configuration_stands_for_a_preset(parts, tmp_path):
    (tmp_path / "small").mkdir()
    shutil.copy(parts / "config.json", tmp_path / "small")
    folder = assemble_folder(tmp_path / "small", tmp_path / "mine", **given(parts))
    assert load_model(folder).config.mrc == read_config(parts).mrc


def test_the_command_says_what_is_missing(parts, tmp_path, capsys):
    words = ["assemble", "tiny", "--out", tmp_path / "mine", "--dtype", "float16"]
    for part, path in given(parts).items():
        if part != "text_encoder":
            words += [f"--{part}", path]
    assert main([str(word) for word in words]) == 0
    assert main(["info", str(tmp_path / "mine"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert found["missing"] and "--text-encoder" in found["missing"][0]
    (tmp_path / "mine" / "vae.safetensors").unlink()
    main(["info", str(tmp_path / "mine")])
    assert "missing: vae.safetensors" in capsys.readouterr().out


def test_what_does_not_fit_is_refused_and_leaves_nothing(parts, tmp_path):
    other = make_folder(tmp_path / "other", objective="ddpm")
    out = tmp_path / "mine"
    for changes, error, words in (
        ({"flow": other / "flow.safetensors"}, CheckpointError, "objective"),
        ({"vae": parts / "flow.safetensors"}, CheckpointError, "expected"),
        ({"arranger": None}, CheckpointError, "name the arranger"),
        ({"text_encoder": tmp_path / "none"}, CheckpointError, "expected a text encoder"),
    ):
        with pytest.raises(error, match=words):
            assemble_folder("tiny", out, **given(parts, **changes))
        assert not out.exists() and not list(tmp_path.glob(".mine*"))
    with pytest.raises(InputError, match="preset: expected one of"):
        assemble_folder("unknown", out, **given(parts))
    shutil.copytree(other, out)
    with pytest.raises(InputError, match="expected a new folder"):
        assemble_folder("tiny", out, **given(parts))


def test_a_preset_without_weights_says_how_to_get_a_model():
    with pytest.raises(CheckpointError, match="dreamaudio assemble dreamaudio-l --flow FILE"):
        load_model("dreamaudio-l")
