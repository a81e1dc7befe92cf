"""Text encoders from folders: nothing of them runs, weights and tokenizer are checked."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreamaudio_core.config import TextConfig
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.networks.text_encoder import load_text_encoder
from small_model import make_folder

CONFIG = TextConfig(kind="minilm", source="text_encoder", dim=24)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "model") / "text_encoder"


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def weights(folder, edit):
    path = folder / "model.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path, metadata={"format": "pt"})


class Payload:
    def __reduce__(self):
        return (print, ("the payload ran",))


def test_it_loads_in_any_precision(folder):
    full = load_text_encoder(folder, CONFIG)
    half = load_text_encoder(folder, CONFIG, dtype=torch.bfloat16)
    assert next(half.parameters()).dtype is torch.bfloat16
    expected, _ = full.encode(["a crow caws"])
    found, _ = half.encode(["a crow caws"])
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_code_inside_a_folder_is_never_run_and_never_asked_about(folder, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    for kind in ("bert", "evilbert"):
        change(folder, model_type=kind, auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
        if kind == "bert":
            load_text_encoder(folder, CONFIG)
        else:
            with pytest.raises(CheckpointError, match="expected a bert model, found 'evilbert'"):
                load_text_encoder(folder, CONFIG)
    assert not ran.exists()


def test_pickled_weights_are_not_read(folder, capsys):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_text_encoder(folder, CONFIG)
    assert "ran" not in capsys.readouterr().out


def drop(state):
    del state["encoder.layer.0.attention.self.query.weight"]


def foreign(state):
    for key in list(state):
        state[f"foreign.{key}"] = state.pop(key)


def nan(state):
    state["embeddings.word_embeddings.weight"][3] = float("nan")


def wide(state):
    key = "encoder.layer.0.output.dense.weight"
    state[key] = torch.zeros(7, 7)


def extra(state):
    state["encoder.layer.1.output.dense.bias"] = torch.zeros(24)


@pytest.mark.parametrize(
    "edit, words",
    [
        (drop, "query.weight' is missing"),
        (foreign, "is missing"),
        (nan, "NaN"),
        (wide, "wrong shape|cannot be read"),
        (extra, "unexpected key"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, edit, words):
    weights(folder, edit)
    with pytest.raises(CheckpointError, match=words):
        load_text_encoder(folder, CONFIG)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"vocab_size": 3}, "wrong shape|cannot be read|belong to different"),
        ({"num_hidden_layers": 2}, "is missing"),
    ],
)
def test_absurd_configurations_are_refused_before_anything_is_built(folder, values, words):
    change(folder, **values)
    with pytest.raises(CheckpointError, match=words):
        load_text_encoder(folder, CONFIG)


def test_a_tokenizer_of_another_model(folder):
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["vocab"]["zebra"] = 99_999
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="belong to different models"):
        load_text_encoder(folder, CONFIG)


def test_more_tokens_than_the_encoder_has_positions(folder):
    with pytest.raises(CheckpointError, match="takes at most 512 tokens"):
        load_text_encoder(folder, replace(CONFIG, max_tokens=1000))


def test_our_own_mistakes_are_not_called_broken_files(folder):
    with pytest.raises((TypeError, RuntimeError)):
        load_text_encoder(folder, CONFIG, dtype="float32")


def test_long_texts_are_cut_into_windows_that_lose_nothing(folder):
    encoder = load_text_encoder(folder, replace(CONFIG, max_tokens=12))
    assert encoder.windows("a crow caws") == ["a crow caws"] and encoder.windows("") == [""]
    text = "a crow caws, a dog barks. " * 6 + "rain " * 30
    windows = encoder.windows(text)
    assert len(windows) > 2 and not any(encoder.is_cut(window) for window in windows)
    assert " ".join(windows).split() == text.split()
    assert windows[0].endswith((",", "."))
