"""Options from a file: `--config FILE` stands for the options that a TOML file holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import check_depth

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPTION = "--config"


def expand_config(argv: list[str]) -> list[str]:
    """Replace every `--config FILE` by the options of the file.

    A key is the name of an option without its dashes; `true` sets a flag, and a list gives the
    option once for each value. Options after `--config` override those of the file.

    Raises
    ------
    InputError
        If a file is missing or not a flat TOML table.
    """
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == OPTION:
            path = next(rest, None)
            if path is None:
                raise InputError(f"{OPTION}: expected a file, found none")
            words += read_options(Path(path))
        else:
            words.append(word)
    return words


def read_options(path: Path) -> list[str]:
    """Command-line words of a TOML file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        check_depth(values)
    except RecursionError:
        raise InputError(f"{path}: not a readable TOML file (nested too deeply)") from None
    # Errors of TOML and of UTF-8, and a number of thousands of digits.
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
    return [word for name, value in values.items() for word in _words(path, name, value)]


def _words(path: Path, name: str, value: Any) -> list[str]:
    option = f"--{name}"
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, list):
        return [word for part in value for word in _words(path, name, part)]
    if isinstance(value, (str, int, float)):
        return [option, str(value)]
    raise InputError(f"{path}: {name}: expected a value, found a table")
