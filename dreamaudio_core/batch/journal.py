"""The journal of a folder of results: which scenes are done, kept through every kind of end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json

VERSION = 1
NAME = "journal.jsonl"


class Journal:
    """An append-only file of JSON lines; a record is on disk when its method returns.

    The first record says what the results are made with, and is compared when a folder is taken up
    again. Only one process at a time may have a journal open; `Batch` sees to that.

    Parameters
    ----------
    folder
        The folder of the results.
    maker
        What decides the results apart from the scenes, such as the digest of the model.

    Raises
    ------
    InputError
        If the file is no journal, is damaged before its last line, or was begun with another maker.
    """

    def __init__(self, folder: Path, maker: dict[str, str]):
        self.path = folder / NAME
        self.records = self._read()
        if self.records:
            self._check(self.records[0], maker)
        else:
            self.append({"journal": "dreamaudio", "version": VERSION, "maker": maker})

    def append(self, record: dict[str, Any]) -> None:
        """Add a record; when this returns it survives a loss of power."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            with open(self.path, "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror}); free the disk or allow "
                "writing, and start the same command again"
            ) from error
        self.records.append(record)

    def _read(self) -> list[dict[str, Any]]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            # A process was killed while it wrote its last record, which therefore does not count.
            os.truncate(self.path, len(whole))
        records = []
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise ValueError("no object")
            except ValueError as error:
                raise InputError(
                    f"{self.path}: line {number}: not a record ({error}); delete the line, whose "
                    "scene is then rendered again"
                ) from error
            records.append(record)
        return records

    def _check(self, first: dict[str, Any], maker: dict[str, str]) -> None:
        if first.get("journal") != "dreamaudio" or not isinstance(first.get("maker"), dict):
            raise InputError(f"{self.path}: not a journal of this command; choose another --out")
        version = first.get("version")
        if version != VERSION:
            raise InputError(
                f"{self.path}: has version {version}, expected {VERSION}; choose another --out"
            )
        before = first["maker"]
        for key in sorted({*before, *maker}):
            if before.get(key) != maker.get(key):
                raise InputError(
                    f"{self.path}: was begun with another {key.replace('_', ' ')} "
                    f"({_shown(before.get(key))}, now {_shown(maker.get(key))}); results of both "
                    "would be mixed; choose another --out"
                )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
