"""Options of the command line from TOML files."""

import pytest

from dreamaudio_core.cli.config_file import expand_config
from dreamaudio_core.cli.main import main
from dreamaudio_core.errors import InputError


def write(folder, text):
    (folder / "a.toml").write_text(text)
    return str(folder / "a.toml")


def test_options_stand_where_the_file_was_named(tmp_path):
    path = write(
        tmp_path, 'lr = 3e-4\nmulti-scale = true\nbf16 = false\ndata = ["x", "y"]\nname = "a b"\n'
    )
    found = expand_config(["train", "flow", "--config", path, "--lr", "1"])
    options = ["--lr", "0.0003", "--multi-scale", "--data", "x", "--data", "y", "--name", "a b"]
    assert found == ["train", "flow", *options, "--lr", "1"]
    assert expand_config(["info", "mini"]) == ["info", "mini"]


def test_bad_files_are_named(tmp_path, capsys):
    with pytest.raises(InputError, match="found none"):
        expand_config(["train", "--config"])
    with pytest.raises(InputError, match="a.toml: not a readable TOML file"):
        expand_config(["--config", write(tmp_path, "lr 3")])
    with pytest.raises(InputError, match="optimizer: expected a value, found a table"):
        expand_config(["--config", write(tmp_path, "[optimizer]\nlr = 3\n")])
    assert main(["info", "--config", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml" in capsys.readouterr().err
