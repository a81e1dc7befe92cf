"""Readers for published layouts of sound collections: what they hold, as entries of a bank
manifest.

A reader only lists what a collection says; `scan` opens each file's header for its length. Files
that are missing or cannot be read are reported and left out.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import soundfile

from ..audio.decode import SUFFIXES
from ..errors import InputError
from ..language.captions import caption_from_label, clean_stem
from .bank import BankEntry, is_held_out

LONGEST_EVENT = 5.0
SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Row:
    """What a collection says about one file; `file` is None where the file was not found."""

    file: Path | None
    name: str
    caption: str
    label: str
    split: str
    source: str
    license: str


@dataclass
class Scan:
    """Entries of a collection and one line for each file that could not be used."""

    entries: list[BankEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def audio_files(folder: Path) -> dict[str, list[Path]]:
    """Sound files below `folder` by stem, in the order of their paths."""
    found: dict[str, list[Path]] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES and not name.startswith("."):
                found.setdefault(stem, []).append(Path(root, name))
    return found


def _table(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{path}: expected the column {missing[0]!r}, found "
                    f"{', '.join(reader.fieldnames or [])}"
                )
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a readable CSV table ({error})") from error


def _existing(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder}: expected {' or '.join(names)} in it, found neither; give the collection's "
        "top folder"
        if len(names) > 1
        else f"{folder}: expected {names[0]} in it; give the collection's top folder"
    )


def read_audiocaps(folder: Path) -> Iterator[Row]:
    """AudioCaps: `train.csv`, `val.csv`, `test.csv` (audiocap_id, youtube_id, start_time, caption)
    and a file a clip.

    Files may be named by `youtube_id` (also with a leading `Y`), with or without `_start_time`, or
    by `audiocap_id`, in any folder. Clips with several captions keep their first.
    """
    tables = [
        (split, path)
        for split in ("train", "val", "test")
        for path in sorted(Path(folder).rglob(f"{split}.csv"))
    ]
    if not tables:
        raise InputError(
            f"{folder}: expected train.csv, val.csv or test.csv of AudioCaps in it, found none"
        )
    files = audio_files(folder)
    for split, table in tables:
        seen: set[str] = set()
        for row in _table(table, ("audiocap_id", "youtube_id", "start_time", "caption")):
            clip = row["youtube_id"]
            if clip in seen:
                continue
            seen.add(clip)
            names = (
                f"Y{clip}",
                clip,
                f"{clip}_{row['start_time']}",
                f"Y{clip}_{row['start_time']}",
                row["audiocap_id"],
            )
            matches = [path for name in names for path in files.get(name, ())]
            # Names by number repeat from split to split; the right file then lies in a folder of
            # the split's name.
            own = [path for path in matches if split in path.relative_to(folder).parts]
            yield Row(
                (own or matches or [None])[0],
                clip,
                row["caption"].strip(),
                f"audiocaps/{clip}",
                SPLITS[split],
                "AudioCaps",
                "captions MIT; sounds from YouTube under their own terms",
            )


def read_wavcaps(folder: Path) -> Iterator[Row]:
    """WavCaps: JSON files with a list `data` of {id, caption, ..}, and `ID.flac` in any folder.

    The subset is the JSON file's folder, such as `FreeSound`; a file that lies in a folder of its
    name is preferred.
    """
    folder = Path(folder)
    files = audio_files(folder)
    found = False
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("data"), list):
            continue
        found = True
        subset = path.parent.name if path.parent != folder else re.sub(r"_.*", "", path.stem)
        for number, item in enumerate(content["data"]):
            if (
                not isinstance(item, dict)
                or not isinstance(item.get("caption"), str)
                or "id" not in item
            ):
                raise InputError(
                    f"{path}: data[{number}]: expected an object with id and caption, found "
                    f"{str(item)[:60]!r}"
                )
            identity = re.sub(r"\.(wav|flac|mp3)$", "", str(item["id"]))
            matches = files.get(identity, [])
            own = [p for p in matches if subset in p.relative_to(folder).parts]
            yield Row(
                (own or matches or [None])[0],
                f"{subset}/{identity}",
                item["caption"].strip(),
                f"wavcaps/{subset}/{identity}",
                "train",
                f"WavCaps {subset}",
                "academic use; sounds under the terms of their source",
            )
    if not found:
        raise InputError(
            f"{folder}: expected JSON files of WavCaps (an object with a list 'data') in it, "
            "found none"
        )


def read_urbansound8k(folder: Path) -> Iterator[Row]:
    """UrbanSound8K: `metadata/UrbanSound8K.csv` and `audio/foldN/`; fold 10 is the test split."""
    folder = Path(folder)
    for row in _table(
        _existing(folder, "metadata/UrbanSound8K.csv", "UrbanSound8K.csv"),
        ("slice_file_name", "fold", "class"),
    ):
        file = folder / "audio" / f"fold{row['fold']}" / row["slice_file_name"]
        yield Row(
            file if file.is_file() else None,
            row["slice_file_name"],
            caption_from_label(row["class"]),
            f"urbansound8k/{row['class']}",
            "test" if row["fold"] == "10" else "train",
            "UrbanSound8K",
            "CC BY-NC 3.0",
        )


def read_esc50(folder: Path) -> Iterator[Row]:
    """ESC-50: `meta/esc50.csv` and `audio/`; fold 5 is the test split."""
    folder = Path(folder)
    for row in _table(
        _existing(folder, "meta/esc50.csv", "esc50.csv"), ("filename", "fold", "category")
    ):
        file = folder / "audio" / row["filename"]
        yield Row(
            file if file.is_file() else None,
            row["filename"],
            caption_from_label(row["category"]),
            f"esc50/{row['category']}",
            "test" if row["fold"] == "5" else "train",
            "ESC-50",
            "CC BY-NC 3.0",
        )


def read_folder(folder: Path) -> Iterator[Row]:
    """Any folder of sounds.

    A sound's caption is that of its row in `captions.csv` (file, caption), else the text beside it
    (`NAME.txt`), else a sentence made from its label: the name of its folder, or of the file where
    it lies at the top. A tenth of the labels is held out as the test split.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of sounds, found none")
    table = folder / "captions.csv"
    captions = (
        {row["file"]: row["caption"].strip() for row in _table(table, ("file", "caption"))}
        if table.exists()
        else {}
    )
    for paths in audio_files(folder).values():
        for file in paths:
            inner = file.relative_to(folder)
            label = clean_stem(inner.parts[-2] if len(inner.parts) > 1 else inner.stem) or "sound"
            beside = file.with_suffix(".txt")
            caption = captions.get(inner.as_posix()) or (
                beside.read_text(encoding="utf-8").strip() if beside.is_file() else ""
            )
            split = "test" if is_held_out(folder.name, label) else "train"
            yield Row(
                file,
                inner.as_posix(),
                caption or caption_from_label(label),
                f"{folder.name}/{label}",
                split,
                folder.name,
                "unknown",
            )


LAYOUTS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "audiocaps": read_audiocaps,
    "wavcaps": read_wavcaps,
    "urbansound8k": read_urbansound8k,
    "esc50": read_esc50,
    "folder": read_folder,
}


def scan(
    layout: str,
    folder: str | os.PathLike,
    base: str | os.PathLike,
    known: dict[str, float] | None = None,
    license: str | None = None,
    each: Callable[[BankEntry | None], Any] | None = None,
) -> Scan:
    """Entries of a collection.

    Parameters
    ----------
    layout
        A key of `LAYOUTS`.
    folder
        Top folder of the collection.
    base
        Folder of the manifest; paths are relative to it.
    known
        Seconds of paths that were measured before.
    license
        In place of the layout's own.
    each
        Called for each row with its entry, or None where it was left out.

    Raises
    ------
    InputError
        If the folder does not have the layout, or nothing in it can be used.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}")
    known, result = known or {}, Scan()
    for row in LAYOUTS[layout](Path(folder)):
        entry = None
        if row.file is None:
            result.problems.append(f"{row.name}: no such file")
        else:
            path = Path(os.path.relpath(row.file, base)).as_posix()
            try:
                seconds = known.get(path) or round(soundfile.info(str(row.file)).duration, 4)
                if seconds <= 0:
                    raise soundfile.SoundFileError("no samples")
                kind = "event" if seconds <= LONGEST_EVENT else "ambience"
                entry = BankEntry(
                    path,
                    row.caption,
                    row.label,
                    row.split,
                    seconds,
                    row.source,
                    license or row.license,
                    kind,
                )
                result.entries.append(entry)
            except (soundfile.SoundFileError, OSError) as error:
                result.problems.append(
                    f"{row.name}: cannot be read ({' '.join(str(error).split())})"
                )
        if each is not None:
            each(entry)
    if not result.entries:
        raise InputError(
            f"{folder}: found no usable sound of the layout {layout!r} ({len(result.problems)} "
            "listed files are "
            "missing or "
            f"unreadable{', the first: ' + result.problems[0] if result.problems else ''})"
        )
    return result
