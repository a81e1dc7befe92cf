"""Packing scanned collections into one bank of 16-bit samples; an interrupted run is resumed."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Callable, Sequence

from ..audio.decode import read_audio
from ..config import AudioConfig
from ..errors import AudioError, InputError
from ..json_text import parse_json
from .bank import PACKED_NAME, BankEntry, pack_samples, read_manifest, write_manifest

_JOURNAL = "packing.jsonl"


def read_manifests(paths: Sequence[Path]) -> list[tuple[Path, BankEntry]]:
    """(folder of the manifest, entry) of several manifests, in order."""
    return [(path.parent, entry) for path in map(Path, paths) for entry in read_manifest(path)]


def pack_bank(
    sources: list[tuple[Path, BankEntry]],
    folder: Path,
    max_seconds: float | None = None,
    each: Callable[[], Any] | None = None,
) -> list[str]:
    """Write a packed bank, at 16 kHz.

    Parameters
    ----------
    sources
        What `read_manifests` gave.
    folder
        Of the bank: `audio.bin` and `manifest.jsonl`. While packing, a journal tells what is done.
    max_seconds
        Sounds are cut to this length.
    each
        Called after each sound.

    Returns
    -------
    list of str
        A line for each sound that could not be read and was left out.

    Raises
    ------
    InputError
        If the folder holds the beginnings of another bank, or nothing could be read.
    """
    sample_rate = AudioConfig.sample_rate
    folder.mkdir(parents=True, exist_ok=True)
    partial, journal = folder / (PACKED_NAME + ".part"), folder / _JOURNAL
    done = _resume(partial, journal, sources)
    problems = [line["problem"] for line in done if "problem" in line]
    if each is not None:
        for _ in done:
            each()
    with open(partial, "ab") as audio, open(journal, "a", encoding="utf-8") as log:
        for base, entry in sources[len(done) :]:
            line: dict[str, Any] = {"source": entry.path}
            try:
                waveform = read_audio(base / entry.path, sample_rate).numpy()
                if max_seconds is not None:
                    waveform = waveform[: round(max_seconds * sample_rate)]
                samples = pack_samples(waveform)
                line.update(offset=audio.tell() // 2, samples=len(samples))
                audio.write(samples.tobytes())
                audio.flush()
            except AudioError as error:
                line["problem"] = str(error)
                problems.append(str(error))
            log.write(json.dumps(line) + "\n")
            log.flush()
            done.append(line)
            if each is not None:
                each()
    packed = [
        dataclasses.replace(
            entry,
            offset=line["offset"],
            samples=line["samples"],
            seconds=round(line["samples"] / sample_rate, 4),
        )
        for (_, entry), line in zip(sources, done)
        if "offset" in line
    ]
    if not packed:
        raise InputError(
            f"{folder}: none of the {len(sources)} sounds could be read"
            + (f", the first: {problems[0]}" if problems else "")
        )
    os.replace(partial, folder / PACKED_NAME)
    write_manifest(folder / "manifest.jsonl", packed)
    journal.unlink()
    return problems


def _resume(
    partial: Path, journal: Path, sources: list[tuple[Path, BankEntry]]
) -> list[dict[str, Any]]:
    """Lines of the journal that hold, with the audio cut to what they account for."""
    done: list[dict[str, Any]] = []
    if journal.exists() and partial.exists():
        for text in journal.read_text(encoding="utf-8").splitlines():
            try:
                done.append(parse_json(text))
            except ValueError:
                break
        for line, (_, entry) in zip(done, sources):
            if line["source"] != entry.path:
                raise InputError(
                    f"{journal}: packing was begun with other sounds ({line['source']} in place "
                    f"of {entry.path}); "
                    "give the same manifests in the same order, or remove this file"
                )
        if len(done) > len(sources):
            raise InputError(
                f"{journal}: packing was begun with more sounds than the {len(sources)} given "
                "now; give the same "
                "manifests, or remove this file"
            )
    size = max(
        (2 * (line["offset"] + line["samples"]) for line in done if "offset" in line), default=0
    )
    if done and partial.stat().st_size < size:
        done, size = [], 0
    with open(partial, "ab") as audio:
        audio.truncate(size)
    journal.write_text("".join(json.dumps(line) + "\n" for line in done), encoding="utf-8")
    return done
