"""Readers for published layouts of sound collections: what they hold, as entries of a bank
manifest.

A reader only lists what a collection says; `data.scan` opens each file's header for its length.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from ..audio.decode import SUFFIXES
from ..errors import InputError
from ..json_text import parse_json
from ..language.captions import caption_from_label, clean_stem
from .bank import drawn_number, is_held_out

WAVCAPS_TEST_SHARE = 0.05
SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Row:
    """What a collection says about one file.

    `file` is None where the file was not found; `excluded` says why it must not be used.
    """

    file: Path | None
    name: str
    caption: str
    label: str
    split: str
    source: str
    license: str
    excluded: str | None = None


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
                next(iter(own or matches), None),
                clip,
                row["caption"].strip(),
                f"audiocaps/{clip}",
                SPLITS[split],
                "AudioCaps",
                "captions MIT; sounds from YouTube under their own terms",
            )


def read_wavcaps(folder: Path) -> Iterator[Row]:
    """WavCaps: JSON files with a list `data` of {id, caption, ..}, and `ID.flac` in any folder.

    The subset is the JSON file's folder, such as `FreeSound`; its sounds are those in folders of
    its name, with or without a suffix (`FreeSound_flac`), else those in folders of no subset: ids
    are numbers and repeat from subset to subset. Clips that a published blacklist names (a JSON
    file in a path with `blacklist`, lists of ids by collection) are reported and left out. A
    twentieth, drawn by the id, is the test split (paper, section IV-B: 95 % and 5 %).
    """
    folder = Path(folder)
    tables, forbidden = _wavcaps_tables(folder)
    subsets = {subset for _, subset, _ in tables}
    files = audio_files(folder)
    for path, subset, data in tables:
        for number, item in enumerate(data):
            if (
                not isinstance(item, dict)
                or not isinstance(item.get("caption"), str)
                or "id" not in item
            ):
                raise InputError(
                    f"{path}: data[{number}]: expected an object with id and caption, found "
                    f"{str(item)[:60]!r}"
                )
            identity = _wavcaps_id(item["id"])
            owners = {
                file: _owner(file.relative_to(folder), subsets) for file in files.get(identity, [])
            }
            own = [file for file, owner in owners.items() if owner == subset]
            shared = [file for file, owner in owners.items() if owner is None]
            name, label = f"{subset}/{identity}", f"wavcaps/{subset}/{identity}"
            # A blacklist says `AudioSet` where the subset is called `AudioSet_SL`.
            blacklisted = any(
                subset.startswith(collection) and identity in ids
                for collection, ids in forbidden.items()
            )
            yield Row(
                next(iter(own or shared), None),
                name,
                item["caption"].strip(),
                label,
                "test" if drawn_number(label) % 10**6 < 10**6 * WAVCAPS_TEST_SHARE else "train",
                f"WavCaps {subset}",
                "academic use; sounds under the terms of their source",
                "named by a blacklist of WavCaps" if blacklisted else None,
            )


def _wavcaps_tables(folder: Path) -> tuple[list[tuple[Path, str, list]], dict[str, set[str]]]:
    """(file, subset, rows) of each table, and the blacklists' ids by collection."""
    tables: list[tuple[Path, str, list]] = []
    forbidden: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
        if "blacklist" in path.relative_to(folder).as_posix().lower():
            if not isinstance(content, dict) or not all(
                isinstance(ids, list) for ids in content.values()
            ):
                raise InputError(
                    f"{path}: expected an object of lists of ids by collection, as the published "
                    "blacklists are"
                )
            for collection, ids in content.items():
                forbidden.setdefault(collection, set()).update(map(_wavcaps_id, ids))
        elif isinstance(content, dict) and isinstance(content.get("data"), list):
            own = path.parent != folder
            subset = path.parent.name if own else re.sub(r"_.*", "", path.stem)
            tables.append((path, subset, content["data"]))
    if not tables:
        raise InputError(
            f"{folder}: expected JSON files of WavCaps (an object with a list 'data') in it, "
            "found none"
        )
    return tables, forbidden


def _wavcaps_id(value: object) -> str:
    return re.sub(r"\.(wav|flac|mp3)$", "", str(value))


def _owner(path: Path, subsets: set[str]) -> str | None:
    """Subset in whose folder a file lies, if in one."""
    return next(
        (s for part in path.parts for s in subsets if part == s or part.startswith(f"{s}_")), None
    )


def read_urbansound8k(folder: Path) -> Iterator[Row]:
    """UrbanSound8K: `metadata/UrbanSound8K.csv` and `audio/foldN/`.

    732 of 8,732 clips are the test split (paper, section IV-B). The paper does not say which; here
    they are whole recordings (`fsID`) in an order drawn by their number, so that no recording is
    in both splits.
    """
    folder = Path(folder)
    table = _existing(folder, "metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
    rows = list(_table(table, ("slice_file_name", "fsID", "fold", "class")))
    test = _held_out_recordings([row["fsID"] for row in rows], round(len(rows) * 732 / 8732))
    for row in rows:
        file = folder / "audio" / f"fold{row['fold']}" / row["slice_file_name"]
        yield Row(
            file if file.is_file() else None,
            row["slice_file_name"],
            caption_from_label(row["class"]),
            f"urbansound8k/{row['class']}",
            "test" if row["fsID"] in test else "train",
            "UrbanSound8K",
            "CC BY-NC 3.0",
        )


def _held_out_recordings(recordings: list[str], wanted: int) -> set[str]:
    """Recordings that have `wanted` clips together, or as many as fit below that."""
    chosen, clips = set(), 0
    counts = Counter(recordings)
    for recording in sorted(counts, key=lambda name: drawn_number(f"urbansound8k/{name}")):
        if clips + counts[recording] <= wanted:
            chosen.add(recording)
            clips += counts[recording]
    return chosen


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

    A sound's caption is that of its row in `captions.csv` (file, caption), else the text next to it
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
            sidecar = file.with_suffix(".txt")
            caption = captions.get(inner.as_posix()) or (
                sidecar.read_text(encoding="utf-8").strip() if sidecar.is_file() else ""
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
