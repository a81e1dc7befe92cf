"""Model folders from parts: what comes out loads and generates; what does not fit is refused."""

import ast
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dreamaudio_core
from dreamaudio_core import config as configs
from dreamaudio_core.assembling import assemble_folder
from dreamaudio_core.audio.decode import read_audio
from dreamaudio_core.cli.main import main
from dreamaudio_core.errors import CheckpointError, InputError
from dreamaudio_core.evaluation.generators import load_pipeline_generator
from dreamaudio_core.loading import load_model, load_text_stages
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


def test_a_preset_without_weights_says_which_parts_to_give(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_model("dreamaudio-l", vocoder="vocoder.safetensors")
    message = str(caught.value)
    assert "give --flow, --vae and --text-encoder, or" in message and "vae=" not in message
    assert "dreamaudio assemble dreamaudio-l --flow FILE" in message
    with pytest.raises(CheckpointError, match="name another with --vae"):
        load_model(vae=tmp_path / "none.safetensors")
    # Commands that cannot be given parts say how to make a folder of them.
    with pytest.raises(CheckpointError, match="put its parts together once"):
        load_text_stages("dreamaudio")


def test_errors_name_parts_as_the_command_line_does():
    """Not as arguments of Python, which who reads them on the command line cannot give."""
    argument = re.compile(r"\b(flow|vae|vocoder|text_encoder|arranger)=")
    for file in Path(dreamaudio_core.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                found = [text for text in texts if argument.search(str(text))]
                assert not found, f"{file.name}:{node.lineno}: {found[0]}"


@pytest.fixture
def concat(tmp_path, monkeypatch):
    """A small preset of the paper's kind, and the options that give it parts."""
    folder = make_folder(tmp_path / "concat", fusion="concat", text="t5")
    whole = read_config(folder)
    text = replace(whole.text, source="nobody/has-it")
    monkeypatch.setitem(configs.PRESETS, "small", replace(whole, text=text))
    options = ["--text-encoder", folder / "text_encoder"]
    for part in ("flow", "vae", "vocoder"):
        options += [f"--{part}", folder / f"{part}.safetensors"]
    return folder, [str(option) for option in options]


def test_a_preset_generates_with_its_parts_as_their_folder_does(concat, tmp_path, capsys):
    folder, options = concat
    sounds = {}
    for name, model in (("preset", ["small", *options]), ("folder", [str(folder)])):
        out = tmp_path / f"{name}.wav"
        words = ["generate", "--prompt", "a crow caws", "--steps", "1", "--out", str(out)]
        assert main([*words, "--model", *model]) == 0
        sounds[name] = read_audio(out, 16_000)
    torch.testing.assert_close(sounds["preset"], sounds["folder"], atol=1e-4, rtol=0)
    out = str(tmp_path / "none.wav")
    words = ["generate", "--prompt", "a crow caws", "--out", out, "--model", "small"]
    assert main([*words, *options[2:]]) == 2
    assert "give --text-encoder, or" in capsys.readouterr().err


def test_a_preset_renders_a_batch_and_is_evaluated(concat, tmp_path):
    _, options = concat
    scenes = tmp_path / "scenes.jsonl"
    scenes.write_text('{"name": "one", "prompt": "a crow caws", "seconds": 1.0, "seed": 3}\n')
    words = ["batch", str(scenes), "--out", str(tmp_path / "out"), "--model", "small"]
    assert main([*words, *options]) == 0 and (tmp_path / "out" / "one.wav").is_file()
    names = [option.removeprefix("--").replace("-", "_") for option in options[::2]]
    parts = dict(zip(names, options[1::2]))
    first = load_pipeline_generator("small", parts=parts, steps=1)
    assert first.generate("a crow caws", [], 0).numel()
    other = make_folder(tmp_path / "other", fusion="concat", text="t5", seed=1)
    second = load_pipeline_generator("small", parts={**parts, "flow": other / "flow.safetensors"})
    assert first.identity.split("\0")[0] == second.identity.split("\0")[0] != ""
    assert first.identity != second.identity
