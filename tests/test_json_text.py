"""Texts that are nested too deeply end in one line, whoever reads them."""

import ast
import json
import shutil
from pathlib import Path

import pytest

import dreamaudio_core
from dreamaudio_core.cli import main
from dreamaudio_core.json_text import MAX_DEPTH, parse_json
from small_model import make_folder

ROOT = Path(__file__).parent.parent
MAX_LINE = 1_000
# What exhausts the parser, and what only exhausts whoever walks through the value.
UNREADABLE = "[" * 100_000
DEEP = '{"a":' * 600 + "1" + "}" * 600


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


def test_values_are_those_of_json():
    for text in ('{"a": [1, 2.5, null, "x"]}', b'[{"b": "\xc3\xa4"}]', "1", '"[[[["'):
        assert parse_json(text) == json.loads(text)
    within = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(within) == json.loads(within)
    # Brackets within texts, and many side by side, are not nested.
    assert len(parse_json("[" + ", ".join(["[]"] * 1000) + "]")) == 1000


@pytest.mark.parametrize("text", ["[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), DEEP, UNREADABLE])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_deep_texts_are_refused(text, kind):
    with pytest.raises(ValueError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse_json(kind(text))
    with pytest.raises(ValueError):
        parse_json(kind("9" * 5_000))


READERS = {
    "scenes.jsonl": "batch FILE --out out --model MODEL",
    "array.json": "batch FILE --out out --model MODEL",
    "workflow.json": "comfyui-batch scenes.csv --workflow FILE --out out --server http://x",
    "options.toml": "generate --config FILE",
    "bank.jsonl": "data build FILE --out out",
    "library.jsonl": "library add FILE --library my.sqlite",
    "config.json": "info FOLDER",
    "model/config.json": "generate --model FOLDER --prompt a --out a.wav",
    "encoder/config.json": "generate --model MODEL --text-encoder FOLDER --prompt a --out a.wav",
    "encoder/tokenizer.json": "generate --model MODEL --text-encoder FOLDER --prompt a --out a.wav",
    "out/journal.jsonl": "batch scenes.csv --out FOLDER --model MODEL",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", [DEEP, UNREADABLE], ids=["deep", "unreadable"])
def test_every_reader_refuses_deep_files_in_one_line(
    name, text, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes.csv").write_text("prompt\nrain\n")
    file = tmp_path / name
    if file.parent.name == "model":
        shutil.copytree(model, file.parent)
    if file.parent.name == "encoder":
        shutil.copytree(model / "text_encoder", file.parent)
    file.parent.mkdir(exist_ok=True)
    if name.endswith(".toml"):
        text = "prompt = " + "[" * 20_000
        text = text if "unreadable" in str(tmp_path) else "prompt = " + "[" * 200 + "]" * 200
    file.write_text(text + "\n")
    words = {"FILE": str(file), "FOLDER": str(file.parent), "MODEL": str(model)}
    assert main([words.get(word, word) for word in READERS[name].split()]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and len(told.splitlines()) == 1 and len(told) < MAX_LINE
    assert file.name in told or file.parent.name in told


def test_nothing_else_parses_json():
    """What reads JSON in another way would fail on deep texts in its own."""
    folders = [Path(dreamaudio_core.__file__).parent, ROOT / "nodes"]
    found = []
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.load", "json.loads"):
                text = ast.unparse(node)
                if path.name != "json_text.py" and not text.startswith("json.loads(json.dumps("):
                    found.append(f"{path.name}:{node.lineno}")
    assert not found
