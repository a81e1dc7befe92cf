"""A library of captioned sounds: add folders to it, and search it by prompt."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import AudioError, InputError
from ..files import file_digest
from ..language.events import split_events
from ..progress import progress_bar
from .caption_sources import CaptionReader
from .embedding import TextEmbedder
from .ranking import distribute
from .sounds import FoundFile, find_sounds, is_regular, measure_sound, read_sound_list
from .store import SoundRow, Store
from .vectors import Vectors

log = logging.getLogger(__name__)
_MAX_COUNT = 1000
_BATCH = 64
"""Sounds between two commits."""


@dataclass(frozen=True)
class Hit:
    """A sound that a search found.

    Parameters
    ----------
    path : Path
        The file.
    caption : str
        What it sounds like.
    score : float
        Cosine similarity, -1 to 1.
    seconds : float
        Length of the file.
    event : str
        The event of the prompt that it answers.
    """

    path: Path
    caption: str
    score: float
    seconds: float
    event: str


@dataclass
class AddReport:
    """What `SoundLibrary.add` did: numbers of sounds, and of each that it left out the reason."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = vars(self) | {"problems": len(self.problems)}
        return ", ".join(
            f"{count} {name.replace('problems', 'left out')}" for name, count in counts.items()
        )


class SoundLibrary:
    """Captioned sounds on disk, indexed for search in one SQLite file.

    The file holds paths, captions and vectors, not the sounds themselves. Any number of processes
    may search and add at the same time.

    Parameters
    ----------
    path : str or Path
        File of the library; `add` creates it.
    text : TextEmbedder, optional
        Encoder of captions and prompts; by default that of the embedded model.
    device : torch.device or str
        Where the encoder runs.
    """

    def __init__(
        self,
        path: str | Path,
        text: TextEmbedder | None = None,
        device: torch.device | str = "cpu",
    ):
        self.store = Store(path)
        self.text = TextEmbedder(device) if text is None else text
        self._vectors: Vectors | None = None

    @property
    def path(self) -> Path:
        """File of the library."""
        return self.store.path

    def __len__(self) -> int:
        with self.store.read() as db:
            return db.execute("SELECT count(*) FROM sounds").fetchone()[0]

    def entries(self) -> list[SoundRow]:
        """Sounds of the library, by path."""
        with self.store.read() as db:
            return list(self.store.sounds(db))

    def identity(self) -> str:
        """Digest of all that searches depend on: sounds, captions and the vectors' encoder."""
        digest = hashlib.sha256(self.text.identity.encode())
        for sound in self.entries():
            digest.update(repr((sound.digest, sound.caption, sound.path)).encode())
        return digest.hexdigest()

    def add(self, source: str | Path, *, show_progress: bool = False) -> AddReport:
        """Add the sounds of a folder or of a list, or bring up to date what is known of them.

        A caption comes from a file next to the sound (NAME.txt, NAME.json or captions.json), else
        from its title or comment, else from its name or that of its folder. A list brings its own.

        Only new files, and those whose size, time of change or caption files differ, are read.
        Sounds of the folder that no longer exist are removed from the library. Each batch is
        committed by itself: after an interruption the next call continues.

        Parameters
        ----------
        source : str or Path
            Folder of sounds; or a list of them as JSON lines with `path` and `caption`, such as a
            bank's manifest.
        show_progress : bool
            Show a bar.

        Raises
        ------
        InputError
            If there are no sounds, or the library was indexed with another encoder.
        """
        source = Path(os.path.abspath(Path(source).expanduser()))
        is_list = source.suffix.lower() == ".jsonl"
        found = read_sound_list(source) if is_list else find_sounds(source)
        with self.store.write(self.text.identity) as db:
            known = {s.path: (s.size, s.mtime, s.stamp) for s in self.store.sounds(db)}
        stale = [f for f in found if known.get(os.fspath(f.path)) != (f.size, f.mtime, f.stamp)]
        report = AddReport(unchanged=len(found) - len(stale))
        reader = CaptionReader()
        with progress_bar(len(found), "indexing", show_progress) as bar:
            bar.update(report.unchanged)
            for start in range(0, len(stale), _BATCH):
                self._add_batch(stale[start : start + _BATCH], known, reader, report)
                bar.update(min(_BATCH, len(stale) - start))
        # A list says nothing of what else its folder holds.
        if not is_list:
            report.removed = self._remove_missing(source, known, found)
        return report

    def _add_batch(
        self, files: list[FoundFile], known: Iterable[str], reader: CaptionReader, report: AddReport
    ) -> None:
        """Read and embed files, and write them in one transaction."""
        sounds, unusable = [], []
        for file in files:
            try:
                sounds.append(_inspect(file, reader))
            except (AudioError, InputError) as error:
                report.problems.append(str(error))
                unusable.append(os.fspath(file.path))
        # Before the transaction, which keeps all other processes out.
        vectors = self.text.embed([sound.caption for sound in sounds])
        with self.store.write(self.text.identity) as db:
            self.store.delete(db, (path for path in unusable if path in known))
            for sound, vector in zip(sounds, vectors):
                self.store.put(db, sound, vector)
        updated = sum(sound.path in known for sound in sounds)
        report.updated += updated
        report.added += len(sounds) - updated

    def _remove_missing(self, folder: Path, known: Iterable[str], found: list[FoundFile]) -> int:
        prefix = os.path.join(folder, "")
        present = {os.fspath(file.path) for file in found}
        gone = [
            path
            for path in known
            if path.startswith(prefix) and path not in present and not os.path.isfile(path)
        ]
        if gone:
            with self.store.write(self.text.identity) as db:
                self.store.delete(db, gone)
        return len(gone)

    def remove(self, path: str | Path) -> int:
        """Remove a sound, or all sounds of a folder, from the library; the files stay.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        InputError
            If the library has none of them.
        """
        name = os.path.abspath(Path(path).expanduser())
        prefix = os.path.join(name, "")
        chosen = ("path = ? OR substr(path, 1, ?) = ?", name, len(prefix), prefix)
        with self.store.read() as db:
            paths = [sound.path for sound in self.store.sounds(db, *chosen)]
        if not paths:
            raise InputError(f"{name}: the library has no sound of this file or folder")
        with self.store.write(self.text.identity) as db:
            self.store.delete(db, paths)
        return len(paths)

    def search(
        self,
        prompt: str,
        count: int | None = None,
        *,
        min_score: float = -1.0,
        whole: bool = False,
    ) -> list[Hit]:
        """Find sounds for a prompt, one for each of its events (see `split_events`).

        Files that were moved or changed since they were indexed are passed over, with a warning.

        Parameters
        ----------
        prompt : str
            English text.
        count : int, optional
            How many at most; by default one for each event. With fewer than events, the best
            matches are kept; with more, each event gets its second best, and so on.
        min_score : float
            Least similarity of a hit.
        whole : bool
            Take the prompt as one event, whatever it tells of.

        Returns
        -------
        list of Hit
            In the order of the prompt's events, the best first among those of one event. No sound
            occurs twice.

        Raises
        ------
        InputError
            If the prompt is empty, there is no library, or an option does not fit.
        """
        events = [prompt.strip()] if whole and prompt.strip() else split_events(prompt)
        if not events:
            raise InputError("prompt: expected a text, found an empty one")
        count = len(events) if count is None else count
        if not 1 <= count <= _MAX_COUNT:
            raise InputError(f"count: expected 1 to {_MAX_COUNT}, found {count}")
        seen: dict[int, SoundRow] = {}
        moved: list[str] = []
        with self.store.read() as db:
            vectors = self._current(db)
            rankings = vectors.rankings(self.text.embed(events))

            def content(index: int) -> str | None:
                # Files are looked at when they are chosen: to look at all would take longer than
                # the search.
                (sound,) = self.store.sounds(db, "id = ?", int(vectors.ids[index]))
                seen[index] = sound
                if _is_as_indexed(sound):
                    return sound.digest
                moved.append(sound.path)
                return None

            chosen = distribute(rankings, count, min_score, content)
        if moved:
            log.warning(
                "library: passed over %d sounds that were moved or changed since they were "
                "indexed, such as %s; add their folder again",
                len(set(moved)),
                moved[0],
            )
        return [
            Hit(
                Path(seen[index].path),
                seen[index].caption,
                score,
                seen[index].seconds,
                events[event],
            )
            for event, index, score in chosen
        ]

    def _current(self, db: sqlite3.Connection) -> Vectors:
        """Vectors of the library as it is now; read again only after a change."""
        revision = self.store.revision(db)
        if self._vectors is None or self._vectors.revision != revision:
            self.store.check_encoder(db, self.text.identity)
            ids, vectors = self.store.vectors(db, self.text.dim)
            if not len(ids):
                raise self.store.empty()
            self._vectors = Vectors(revision, ids, vectors)
        return self._vectors


def _inspect(file: FoundFile, reader: CaptionReader) -> SoundRow:
    """Read a file and find its caption; InputError or AudioError if it cannot be used."""
    try:
        os.fspath(file.path).encode()
        digest = file_digest(file.path)
        seconds, tags = measure_sound(file.path)
        caption = reader.caption(file, tags)
    except UnicodeEncodeError as error:
        raise InputError(
            f"{os.fspath(file.path)!r}: its name is not valid text; rename it"
        ) from error
    except OSError as error:
        raise InputError(
            f"{file.path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if caption is None:
        raise InputError(
            f"{file.path}: has no caption; write one to {file.path.stem}.txt next to it"
        )
    path = os.fspath(file.path)
    return SoundRow(
        path, file.size, file.mtime, file.stamp, digest, seconds, caption.text, caption.source
    )


def _is_as_indexed(sound: SoundRow) -> bool:
    """Whether the file of a sound is what it was when it was added."""
    try:
        status = os.stat(sound.path)
    except (OSError, ValueError):
        return False
    same = (status.st_size, status.st_mtime_ns) == (sound.size, sound.mtime)
    return same and is_regular(status)
