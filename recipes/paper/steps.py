"""Steps of a run, and the configuration that says which there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamaudio_core.cli.config_file import tomllib
from dreamaudio_core.errors import InputError


@dataclass
class Step:
    """One command of a stage.

    Parameters
    ----------
    stage, name
        Stage, and what it is called in the journal.
    words
        Arguments of `dreamaudio`; empty for work of the recipe's own.
    call
        What is done after the command, or instead of one.
    outputs
        Files that it has to have written.
    seconds, kept, written
        Estimate: time, bytes that stay, bytes that are written and removed again.
    always
        Cheap, and done each time.
    """

    stage: str
    name: str
    words: list[str] = field(default_factory=list)
    call: Callable[[], Any] | None = None
    outputs: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    kept: float = 0.0
    written: float = 0.0
    always: bool = False


def read_config(files: list[Path]) -> dict[str, Any]:
    """Configuration of TOML files, later ones over earlier ones.

    Raises
    ------
    InputError
        If a file cannot be read, or names a section that paper.toml does not have.
    """
    config: dict[str, Any] = {}
    for number, file in enumerate(files):
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{file}: not a readable TOML file ({error})") from error
        unknown = sorted(set(found) - set(config)) if number else []
        if unknown:
            raise InputError(f"{file}: unknown section {unknown[0]!r}; known: {', '.join(config)}")
        _merge(config, found)
    return config


def _merge(base: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def words_of(options: dict[str, Any]) -> list[str]:
    """Options of the command line."""
    words: list[str] = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False and value != "":
            words += [f"--{name}", str(value)]
    return words


def digest(words: list[str]) -> str:
    """What a finished step is recognised by."""
    return json.dumps(words)
