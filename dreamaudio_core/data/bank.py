"""Sound bank: a JSON-lines manifest over audio files or over one packed 16-bit file."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Optional

import numpy as np
import torch

from ..audio.decode import read_audio
from ..config import AudioConfig
from ..errors import AudioError, InputError
from ..files import atomic_write
from ..json_text import parse_json

PACKED_NAME = "audio.bin"
_FULL_SCALE = 32767.0


def drawn_number(name: str) -> int:
    """A number that the name alone decides, to draw splits by: the same on every machine."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16)


def is_held_out(source: str, stem: str) -> bool:
    """Whether the label with this package and cleaned stem belongs to the tenth that no training
    stage may see.
    """
    return drawn_number(f"{source}/{stem}") % 10 == 0


def collection_of(source: str) -> str:
    """Name of a collection by the source of its entries, as `data scan` calls its layout: `wavcaps`
    for "WavCaps FreeSound", `esc50` for "ESC-50".
    """
    return re.sub(r"[^a-z0-9]", "", source.split(" ")[0].lower())


@dataclass(frozen=True)
class BankEntry:
    """One recording of a bank.

    Parameters
    ----------
    path
        Audio file relative to the manifest. In a packed bank it only tells where the samples came
        from.
    caption
        A short sentence with subject and verb.
    label
        Name of the event; recordings of one event share it, and a split never divides a label.
    split
        `"train"` or `"test"`.
    seconds
        Length.
    source, license
        Package or data set of origin and its terms.
    kind
        `event`, `ambience`, `music` or `speech`.
    offset, samples
        First sample and count within the packed file; `None` and 0 when `path` itself is read.
    """

    path: str
    caption: str
    label: str
    split: str
    seconds: float
    source: str
    license: str
    kind: str = "event"
    offset: Optional[int] = None
    samples: int = 0


class Bank:
    """Read access to a sound bank; safe to share between worker processes.

    Parameters
    ----------
    manifest
        JSON-lines file with one `BankEntry` a line.
    split, kinds, min_seconds, collections
        Keep only the entries that satisfy these; `None` keeps all. A collection is named as by
        `collection_of`.
    sample_rate
        Sample rate of the waveforms in Hz; a packed bank must have been built at it.

    Raises
    ------
    InputError
        If the manifest is missing, is not JSON lines or lacks a field, a collection has no entry in
        it, or the bank was packed at another rate.
    """

    def __init__(
        self,
        manifest: str | os.PathLike,
        split: str | None = None,
        kinds: Iterable[str] | None = None,
        min_seconds: float | None = None,
        sample_rate: int = AudioConfig.sample_rate,
        collections: Iterable[str] | None = None,
    ):
        self.manifest, self.sample_rate = Path(manifest), sample_rate
        kinds = None if kinds is None else set(kinds)
        entries = read_manifest(self.manifest)
        self.entries = [
            entry
            for entry in (entries if collections is None else self._chosen(entries, collections))
            if (split is None or entry.split == split)
            and (kinds is None or entry.kind in kinds)
            and (min_seconds is None or entry.seconds >= min_seconds)
        ]
        self._packed: np.ndarray | None = None
        packed = next((e for e in self.entries if e.offset is not None), None)
        # Lengths are rounded to 0.1 ms.
        if packed and abs(packed.samples - packed.seconds * sample_rate) > 1 + 1e-4 * sample_rate:
            found = round(packed.samples / packed.seconds)
            raise InputError(
                f"{self.manifest}: its sounds are packed at {found} Hz, expected {sample_rate} Hz; "
                "build the bank again"
            )

    def _chosen(self, entries: list[BankEntry], collections: Iterable[str]) -> list[BankEntry]:
        found = {collection_of(entry.source) for entry in entries}
        for name in collections:
            if name not in found:
                raise InputError(
                    f"{self.manifest}: collections: expected some of {', '.join(sorted(found))}, "
                    f"found {name!r}"
                )
        return [entry for entry in entries if collection_of(entry.source) in set(collections)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}

    def digest(self) -> str:
        """Changes with the entries and the length of the packed audio."""
        packed = self.manifest.parent / PACKED_NAME
        size = packed.stat().st_size if packed.exists() else 0
        text = repr((size, self.entries))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def by_label(self) -> dict[str, list[int]]:
        """Indices of the entries of each label."""
        table: dict[str, list[int]] = {}
        for index, entry in enumerate(self.entries):
            table.setdefault(entry.label, []).append(index)
        return table

    def samples(self, index: int) -> np.ndarray:
        """Waveform of entry `index`, float32 [T] in [-1, 1]."""
        entry = self.entries[index]
        if entry.offset is None:
            return read_audio(self.manifest.parent / entry.path, self.sample_rate).numpy()
        if self._packed is None:
            packed = self.manifest.parent / PACKED_NAME
            try:
                self._packed = np.memmap(packed, dtype="<i2", mode="r")
            except (OSError, ValueError) as error:
                raise AudioError(
                    f"{packed}: expected the bank's packed audio, found none readable; "
                    "build the bank again"
                ) from error
        stop = entry.offset + entry.samples
        if stop > len(self._packed):
            raise AudioError(
                f"{self.manifest.parent / PACKED_NAME}: expected at least {stop} samples, "
                f"found {len(self._packed)}; build the bank again"
            )
        return self._packed[entry.offset : stop].astype(np.float32) / _FULL_SCALE

    def waveform(self, index: int) -> torch.Tensor:
        """Waveform of entry `index`, float32 tensor [T] in [-1, 1]."""
        return torch.from_numpy(self.samples(index))


def pack_samples(waveform: np.ndarray) -> np.ndarray:
    """Samples [T] in [-1, 1] as a packed bank holds them: 16-bit integers, little endian."""
    scaled = np.round(np.asarray(waveform) * _FULL_SCALE)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE).astype("<i2")


class BankWriter:
    """Writes a packed bank: samples as they come, the manifest last, both renamed into place only
    when complete.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._files = contextlib.ExitStack()
        partial = self._files.enter_context(atomic_write(self.directory / PACKED_NAME))
        self._file = self._files.enter_context(open(partial, "wb"))
        self._written = 0
        self._entries: list[BankEntry] = []

    def __enter__(self) -> "BankWriter":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._files.__exit__(kind, error, trace)
        if kind is None:
            write_manifest(self.directory / "manifest.jsonl", self._entries)

    def add(
        self, waveform: np.ndarray, sample_rate: int = AudioConfig.sample_rate, **fields: Any
    ) -> None:
        """Append one recording, float [T] in [-1, 1]; `fields` are those of `BankEntry` that are
        not measured.
        """
        packed = pack_samples(waveform)
        self._file.write(packed.tobytes())
        self._entries.append(
            BankEntry(
                seconds=round(len(packed) / sample_rate, 4),
                offset=self._written,
                samples=len(packed),
                **fields,
            )
        )
        self._written += len(packed)


def write_manifest(path: str | Path, entries: Iterable[BankEntry]) -> None:
    """Write `entries` as JSON lines, replacing `path` only when all are written."""
    with atomic_write(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for entry in entries:
            file.write(json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> list[BankEntry]:
    """Entries of a bank's manifest, in its order."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(
            f"{path}: expected a bank manifest (JSON lines), found no readable "
            "file; give the path of manifest.jsonl"
        ) from error
    known = {field.name for field in dataclasses.fields(BankEntry)}
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append(
                BankEntry(**{key: value for key, value in parse_json(line).items() if key in known})
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: line {number}: expected one JSON object with the fields of a bank entry, "
                f"found {line[:40]!r} ({error}); correct or remove the line"
            ) from error
    return entries
