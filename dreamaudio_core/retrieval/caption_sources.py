"""Captions of sounds that come without one: from a file beside them, their tags, their names, or a
list of labels.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.bank import clean_stem
from ..errors import InputError
from ..language.captions import caption_from_label

SOURCES = ("sidecar", "tags", "clap", "name")
"""Where captions may come from, in the usual order of trust."""
FOLDER_CAPTIONS = "captions.json"
_MAX_LENGTH = 1000
_ENCODERS = re.compile(
    r"https?://|www\.|@|^(?:processed by sox|lame|lavf|encoded|created with|id3|xiph|untitled|unknown|track ?\d*$)",
    re.I,
)


@dataclass(frozen=True)
class Caption:
    """A caption and which of `SOURCES` gave it."""

    text: str
    source: str


def sidecars(path: Path, names: set[str]) -> list[Path]:
    """Files that may hold the caption of a sound, the nearest first.

    Parameters
    ----------
    path : Path
        The sound.
    names : set of str
        Names of all files of its folder.
    """
    wanted = (
        f"{path.stem}.txt",
        f"{path.stem}.json",
        f"{path.name}.txt",
        f"{path.name}.json",
        FOLDER_CAPTIONS,
    )
    return [path.with_name(name) for name in wanted if name in names and name != path.name]


def sidecar_stamp(files: Sequence[Path]) -> str:
    """Changes when one of the sidecars does."""
    stamps = []
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        stamps.append(f"{file.name}:{found.st_size}:{found.st_mtime_ns}")
    return "|".join(stamps)


class CaptionReader:
    """Finds captions in a fixed order of sources.

    Parameters
    ----------
    order : sequence of str
        Out of `SOURCES`; the first that has a caption gives it.
    zero_shot : callable, optional
        From a sound's CLAP vector to a caption, for the source `"clap"`.

    Raises
    ------
    InputError
        If a source is unknown or given twice, or `"clap"` has no labels.
    """

    def __init__(self, order: Sequence[str], zero_shot: Callable[[np.ndarray], str] | None = None):
        unknown = [source for source in order if source not in SOURCES]
        if unknown or not order or len(set(order)) < len(order):
            raise InputError(
                f"captions: expected different sources out of {', '.join(SOURCES)}, found {', '.join(order)!r}"
            )
        if "clap" in order and zero_shot is None:
            raise InputError(
                "captions: the source clap needs CLAP weights and a list of labels; name both"
            )
        self.order = tuple(order)
        self.zero_shot = zero_shot
        self._folders: dict[Path, dict[str, str]] = {}

    def caption(
        self,
        path: Path,
        beside: Sequence[Path],
        tags: Sequence[str] = (),
        vector: np.ndarray | None = None,
    ) -> Caption | None:
        """Caption of a sound, or None where no source has one.

        Parameters
        ----------
        path : Path
            The sound.
        beside : sequence of Path
            Its `sidecars`.
        tags : sequence of str
            Its title and comment.
        vector : np.ndarray, optional
            Its CLAP vector [D].

        Raises
        ------
        InputError
            If a sidecar cannot be read.
        """
        for source in self.order:
            if source == "sidecar":
                text = self._sidecar(path, beside)
            elif source == "tags":
                text = caption_from_tags(tags)
            elif source == "clap":
                text = None if vector is None else self.zero_shot(vector)
            else:
                text = caption_from_name(path)
            if text:
                return Caption(text, source)
        return None

    def _sidecar(self, path: Path, beside: Sequence[Path]) -> str | None:
        for file in beside:
            if file.name == FOLDER_CAPTIONS:
                if file not in self._folders:
                    self._folders[file] = _folder_captions(file)
                text = self._folders[file].get(path.name) or self._folders[file].get(path.stem)
            elif file.suffix == ".json":
                text = _json_caption(file)
            else:
                text = next((line for line in _read(file).splitlines() if line.strip()), None)
            if text and (text := _tidy(text)):
                return text
        return None


def caption_from_tags(tags: Sequence[str]) -> str | None:
    """First tag that says something about the sound; names of encoders, addresses and bare numbers
    do not.
    """
    for tag in tags:
        text = _tidy(tag or "")
        if len(re.findall(r"[^\W\d_]{2,}", text)) and not _ENCODERS.search(text):
            return text
    return None


def caption_from_name(path: Path) -> str | None:
    """Sentence from the file's name, or from its folder's where the name has no words, as in
    `dog/001.wav`.

    What precedes a double underscore (the number and user of Freesound's names) is left out.
    """
    for name in (path.stem.rsplit("__", 1)[-1], path.parent.name):
        words = clean_stem(name)
        if len(words) > 2:
            return caption_from_label(words.replace("-", " "))
    return None


def read_labels(path: str | os.PathLike) -> list[str]:
    """Captions to choose from, one a line; single words become sentences.

    Raises
    ------
    InputError
        If the file cannot be read or has fewer than two labels.
    """
    lines = [_tidy(line) for line in _read(Path(path).expanduser()).splitlines()]
    labels = list(
        dict.fromkeys(line if " " in line else caption_from_label(line) for line in lines if line)
    )
    if len(labels) < 2:
        raise InputError(f"labels {path}: expected at least two, one a line, found {len(labels)}")
    return labels


def _tidy(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_LENGTH]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{file}: cannot be read ({reason}); save it as UTF-8 text") from error


def _parse(file: Path) -> object:
    try:
        return json.loads(_read(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f'{file}: not readable JSON ({error}); expected {{"caption": "..."}}'
        ) from error


def _json_caption(file: Path) -> str | None:
    found = _parse(file)
    if isinstance(found, dict):
        found = next(
            (found[key] for key in ("caption", "captions", "text", "description") if key in found),
            None,
        )
    if isinstance(found, list):
        found = found[0] if found else None
    if found is not None and not isinstance(found, str):
        raise InputError(f"{file}: caption: expected a text, found {type(found).__name__}")
    return found


def _folder_captions(file: Path) -> dict[str, str]:
    found = _parse(file)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise InputError(f"{file}: expected a JSON object of captions by file name")
    return found
