"""What the scans hold, next to what the paper says that it used."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from dreamaudio_core.data.bank import read_manifest, write_manifest
from dreamaudio_core.errors import InputError
from dreamaudio_core.files import atomic_write


def check_splits(
    scans: dict[str, Path], paper: dict[str, Any], out: Path, training_clips: Path
) -> None:
    """Count the sounds of each split, see that no sound is in two, and write the manifest of
    AudioCaps' training clips, of which the library of references is made.

    Raises
    ------
    InputError
        If a sound is in two splits, or a collection lacks one of them.
    """
    found = {}
    for name, scan in scans.items():
        entries = read_manifest(scan)
        counts = Counter(entry.split for entry in entries)
        splits: dict[str, set[str]] = {}
        for entry in entries:
            splits.setdefault(entry.split, set()).add(entry.path)
        shared = splits.get("train", set()) & splits.get("test", set())
        if shared:
            raise InputError(
                f"{scan}: {min(shared)} is in the training split and in the test split"
            )
        for split in ("train", "test"):
            if not counts[split]:
                raise InputError(f"{scan}: expected sounds of the split {split!r}, found none")
        found[name] = {
            "found": {**counts, "all": len(entries)},
            "hours": round(sum(entry.seconds for entry in entries) / 3600, 3),
            "paper": paper.get(name, {}),
        }
        theirs = ", ".join(f"{split} {count:,}" for split, count in found[name]["paper"].items())
        ours = ", ".join(f"{split} {count:,}" for split, count in counts.items())
        sys.stdout.write(f"{name}: {ours}, all {len(entries):,} (paper: {theirs})\n")
        if name == "audiocaps":
            write_manifest(training_clips, [e for e in entries if e.split == "train"])
    with atomic_write(out) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
