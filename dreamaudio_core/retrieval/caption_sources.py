"""Captions of sounds: from a file next to them, their tags, or their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from ..json_text import parse_json
from ..language.captions import caption_from_label, clean_stem

if TYPE_CHECKING:
    from .sounds import FoundFile

FOLDER_CAPTIONS = "captions.json"
_MAX_LENGTH = 1000
# Tags that programs write by themselves, among them workflows as JSON.
_ENCODERS = re.compile(
    r"^[{\[<]|"
    r"https?://|www\.|@|^(?:processed by sox|lame|lavf|encoded|created with|id3|xiph|untitled|"
    r"unknown|track ?\d*$)",
    re.I,
)


class Caption(NamedTuple):
    """A caption, and where it comes from: list, sidecar, tags or name."""

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
    """Finds captions of sounds; reads each folder's captions once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, str]] = {}

    def caption(self, file: FoundFile, tags: Sequence[str] = ()) -> Caption | None:
        """Caption of a sound: the first that its list, sidecars, tags or name give; or None.

        Parameters
        ----------
        file : FoundFile
            The sound.
        tags : sequence of str
            Its title and comment.

        Raises
        ------
        InputError
            If a sidecar cannot be read.
        """
        if file.caption:
            return Caption(_tidy(file.caption), "list")
        if text := self.from_sidecars(file.path, file.sidecars):
            return Caption(text, "sidecar")
        if text := caption_from_tags(tags):
            return Caption(text, "tags")
        text = caption_from_name(file.path)
        return Caption(text, "name") if text else None

    def from_sidecars(self, sound: Path, files: Sequence[Path]) -> str | None:
        """The first caption of a sound in the files beside it."""
        for file in files:
            if file.name == FOLDER_CAPTIONS:
                if file not in self._folders:
                    self._folders[file] = _folder_captions(file)
                captions = self._folders[file]
                text = captions.get(sound.name) or captions.get(sound.stem)
            elif file.suffix == ".json":
                text = _json_caption(file)
            else:
                text = next((line for line in _read(file).splitlines() if line.strip()), None)
            if text and (text := _tidy(text)):
                return text
        return None


def caption_of_file(path: Path, tags: Sequence[str] = ()) -> str:
    """Caption of one file by a file beside it, its tags or its own name; empty if none says
    anything.

    Parameters
    ----------
    path : Path
        The sound.
    tags : sequence of str
        Its title and comment.

    Raises
    ------
    InputError
        If a file beside it cannot be read.
    """
    beside = tuple(sidecars(path, {entry.name for entry in path.parent.iterdir()}))
    if text := CaptionReader().from_sidecars(path, beside):
        return text
    # Not by its folder, which is one for all sounds here.
    return caption_from_tags(tags) or caption_from_name(Path(path.name)) or ""


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


def _tidy(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_LENGTH]


def _read(file: Path) -> str:
    # Reading a pipe or a device may never end.
    if not file.is_file():
        raise InputError(f"{file}: expected a text file with a caption, found something else")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{file}: cannot be read ({reason}); save it as UTF-8 text") from error


def _parse(file: Path) -> object:
    try:
        return parse_json(_read(file))
    except ValueError as error:
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
