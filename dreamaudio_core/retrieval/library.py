"""A library of captioned sounds: add folders to it, and search it by prompt or by sound."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..audio.decode import read_audio
from ..errors import AudioError, InputError
from ..files import file_digest
from ..language.events import split_events
from ..networks.clap import SECONDS as CLAP_SECONDS
from ..networks.clap import ClapExtractor
from ..progress import progress_bar
from ..scene.reference import Reference, load_reference
from .caption_sources import CaptionReader
from .embedding import TextEmbedder
from .ranking import distribute
from .sounds import FoundFile, find_sounds, inspect_sound, is_regular, read_sound_list
from .store import Encoder, Store

log = logging.getLogger(__name__)
BY = ("caption", "audio", "both")
"""What a prompt is compared with: captions (text encoder), sounds (CLAP), or the mean of both."""
_MAX_COUNT = 1000
_BATCH = 64
"""Sounds between two commits."""


@dataclass(frozen=True)
class Entry:
    """A sound of the library; `source` tells where its caption came from."""

    path: Path
    caption: str
    source: str
    seconds: float


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
        The event of the prompt that it answers; empty in a search by sound.
    """

    path: Path
    caption: str
    score: float
    seconds: float
    event: str = ""


@dataclass(frozen=True)
class Problem:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass
class AddReport:
    """What `SoundLibrary.add` did: numbers of sounds, and the files that it left out."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in ("added", "updated", "unchanged")}
        counts |= {"removed": self.removed, "left out": len(self.problems)}
        return ", ".join(f"{count} {name}" for name, count in counts.items())


@dataclass
class _New:
    """A sound that waits for its batch to be embedded and written."""

    file: FoundFile
    digest: str = ""
    seconds: float = 0.0
    caption: str = ""
    source: str = ""
    problem: str = ""
    head: torch.Tensor | None = None
    clap: np.ndarray | None = None


@dataclass(frozen=True)
class _View:
    """Searchable state of one revision.

    `rows[space]` has the vector's row of each sound, -1 for none.
    """

    revision: str
    ids: np.ndarray
    rows: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    encoders: dict[str, Encoder]


class SoundLibrary:
    """Captioned sounds on disk, indexed for search in one SQLite file.

    The file holds paths, captions and vectors, not the sounds themselves. Any number of processes
    may search and add at the same time.

    Parameters
    ----------
    path : str or Path
        File of the library; `add` creates it.
    text_encoder : str, Path or TextEmbedder, optional
        Folder of the text encoder for captions and prompts, or the encoder itself; by default that
        of the embedded model.
    clap : str or Path, optional
        CLAP model folder or hub id, to add and search by sound; by default the local folder that
        the library was indexed with.
    device : torch.device or str
        Where the encoders run.
    """

    def __init__(
        self,
        path: str | Path,
        text_encoder: str | Path | TextEmbedder | None = None,
        clap: str | Path | None = None,
        device: torch.device | str = "cpu",
    ):
        self.store = Store(path)
        self.device = device
        self.text = (
            text_encoder
            if not isinstance(text_encoder, (str, Path, type(None)))
            else TextEmbedder(text_encoder, device)
        )
        self.clap = ClapExtractor(clap, device) if clap is not None else None
        self._view: _View | None = None

    @property
    def path(self) -> Path:
        """File of the library."""
        return self.store.path

    def __len__(self) -> int:
        with self.store.read() as db:
            query = "SELECT count(*) FROM sounds WHERE caption IS NOT NULL"
            return db.execute(query).fetchone()[0]

    def entries(self) -> list[Entry]:
        """Sounds of the library, by path."""
        with self.store.read() as db:
            self.store.check_types(db)
            rows = db.execute(
                "SELECT path, text, source, seconds FROM sounds "
                "JOIN captions ON captions.id = sounds.caption ORDER BY path"
            )
            return [Entry(Path(path), *values) for path, *values in rows]

    def identity(self) -> str:
        """Digest of all that searches depend on: sounds, captions and the vectors' encoders."""
        digest = hashlib.sha256()
        with self.store.read() as db:
            digest.update(
                repr([self.store.encoder(db, name) for name in ("text", "clap")]).encode()
            )
            for row in db.execute(
                "SELECT digest, text, path FROM sounds "
                "JOIN captions ON captions.id = sounds.caption ORDER BY path"
            ):
                digest.update(repr(row).encode())
        return digest.hexdigest()

    # Adding

    def add(
        self, source: str | Path, *, recursive: bool = True, show_progress: bool = False
    ) -> AddReport:
        """Add the sounds of a folder or of a list, or bring up to date what is known of them.

        A caption comes from a file next to the sound (NAME.txt, NAME.json or captions.json), else
        from its title or comment, else from its name or that of its folder. A list brings its own.

        Only new files, and those whose size, time of change or caption files differ, are read.
        Sounds of the folder that no longer exist are removed from the library. Each batch is
        committed by itself: after an interruption the next call continues.

        Parameters
        ----------
        source : str or Path
            Folder of sounds; or a list of sounds as JSON lines, either a bank's (`path` and
            `caption`) or scenes (their references count).
        recursive : bool
            Whether sub-folders count.
        show_progress : bool
            Show a bar.

        Raises
        ------
        InputError
            If there are no sounds, or the library was indexed with another encoder.
        CheckpointError
            If an encoder cannot be read.
        """
        source = Path(os.path.abspath(Path(source).expanduser()))
        is_list = source.suffix.lower() == ".jsonl"
        found = read_sound_list(source) if is_list else find_sounds(source, recursive)
        encoders = self._encoders()
        with self.store.write() as db:
            for name, encoder in encoders.items():
                self.store.set_encoder(db, name, encoder)
            self.store.check_types(db)
            known = self._known(db)
        report = AddReport()
        reader = CaptionReader()
        pending: list[_New] = []
        with progress_bar(len(found), "indexing", show_progress) as bar:
            for file in found:
                path = os.fspath(file.path)
                stamp = (file.size, file.mtime, file.stamp)
                before = known.get(path)
                if before is None or before[0] != stamp or before[1]:
                    pending.append(self._inspect(file, reader))
                    report.added += before is None
                    report.updated += before is not None
                elif before[2]:
                    report.problems.append(Problem(file.path, before[2]))
                else:
                    report.unchanged += 1
                if len(pending) >= _BATCH:
                    self._commit(pending, known, encoders, report)
                    pending = []
                bar.update()
            self._commit(pending, known, encoders, report)
        if not is_list:
            report.removed = self._remove_missing(source, known, found)
        return report

    def _encoders(self) -> dict[str, Encoder]:
        encoders = {"text": Encoder(self.text.identity, str(self.text.folder), self.text.dim)}
        if self.clap is not None:
            source = str(self.clap.source)
            if os.path.isdir(source):
                source = os.path.abspath(source)
            dim = self.clap.embed_texts(["sound"]).shape[1]
            encoders["clap"] = Encoder(self.clap.digest, source, dim)
        return encoders

    def _known(self, db: sqlite3.Connection) -> dict[str, tuple[tuple[int, int, str], bool, str]]:
        """By path: size, time and stamp; whether a CLAP vector is wanted and missing; problem."""
        rows = db.execute(
            "SELECT path, size, mtime, stamp, problem, clap_vectors.id IS NULL FROM sounds "
            "LEFT JOIN clap_vectors USING (id)"
        )
        return {
            path: (
                (size, mtime, stamp),
                self.clap is not None and not problem and bool(no_clap),
                problem,
            )
            for path, size, mtime, stamp, problem, no_clap in rows
        }

    def _inspect(self, file: FoundFile, reader: CaptionReader) -> _New:
        new = _New(file)
        try:
            os.fspath(file.path).encode()
            new.digest = file_digest(file.path)
            rate = self.clap.sample_rate if self.clap else None
            sound = inspect_sound(file.path, rate, CLAP_SECONDS)
            new.seconds, new.head = sound.seconds, sound.head
            caption = reader.caption(file, sound.tags)
        except UnicodeEncodeError:
            new.problem = f"{os.fspath(file.path)!r}: its name is not valid text; rename it"
        except OSError as error:
            new.problem = f"{file.path}: cannot be read ({error.strerror}); check its permissions"
        except (AudioError, InputError) as error:
            new.problem = str(error)
        else:
            if caption is None:
                new.problem = (
                    f"{file.path}: has no caption; write one to {file.path.stem}.txt next to it"
                )
            else:
                new.caption, new.source = caption.text, caption.source
        return new

    def _commit(
        self,
        batch: list[_New],
        known: dict,
        encoders: dict[str, Encoder],
        report: AddReport,
    ) -> None:
        """Embed a batch and write it in one transaction."""
        if not batch:
            return
        for new in batch:
            if new.problem:
                report.problems.append(Problem(new.file.path, new.problem))
                if os.fspath(new.file.path) in known:
                    report.updated -= 1
                else:
                    report.added -= 1
        usable = [new for new in batch if not new.problem]
        if self.clap is not None and usable:
            heads = [new.head for new in usable if new.head is not None]
            for new, vector in zip(usable, self.clap.extract(heads), strict=True):
                new.clap = vector
        texts = list(dict.fromkeys(new.caption for new in usable))
        with self.store.read() as db:
            fresh = [text for text in texts if self.store.caption_id(db, text) is None]
        vectors = dict(zip(fresh, self.text.embed(fresh))) if fresh else {}
        with self.store.write() as db:
            for name, encoder in encoders.items():
                self.store.set_encoder(db, name, encoder)
            rows: dict[str, int] = {}
            for text in texts:
                row = self.store.caption_id(db, text)
                if row is None:
                    # Another process may have deleted a caption since.
                    vector = vectors[text] if text in vectors else self.text.embed([text])[0]
                    row = self.store.put_caption(db, text, vector)
                rows[text] = row
            for new in batch:
                path = os.fspath(new.file.path)
                if not _is_text(path):
                    continue
                self.store.put_sound(
                    db,
                    path,
                    new.file.size,
                    new.file.mtime,
                    new.file.stamp,
                    new.digest,
                    new.seconds,
                    rows.get(new.caption),
                    new.source,
                    new.problem,
                    new.clap,
                )

    def _remove_missing(self, folder: Path, known: Iterable[str], found: list[FoundFile]) -> int:
        prefix = os.path.join(folder, "")
        present = {os.fspath(file.path) for file in found}
        gone = [
            path
            for path in known
            if path.startswith(prefix) and path not in present and not os.path.isfile(path)
        ]
        if gone:
            with self.store.write() as db:
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
        with self.store.read() as db:
            rows = db.execute(
                "SELECT path FROM sounds WHERE path = ? OR substr(path, 1, ?) = ?",
                (name, len(prefix), prefix),
            )
            paths = [row[0] for row in rows]
        if not paths:
            raise InputError(f"{name}: the library has no sound of this file or folder")
        with self.store.write() as db:
            self.store.delete(db, paths)
        return len(paths)

    # Searching

    def search(
        self,
        prompt: str,
        count: int | None = None,
        *,
        by: str = "caption",
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
        by : str
            One of `BY`.
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
        if by not in BY:
            raise InputError(f"by: expected {', '.join(BY)}, found {by!r}")

        def score(view: _View) -> np.ndarray:
            found = []
            if by != "audio":
                if self.text.identity != view.encoders["text"].identity:
                    raise self.store.other_encoder("text", view.encoders["text"])
                found.append(_similarities(view, "text", self.text.embed(events)))
            if by != "caption":
                queries = self._clap_of(view).embed_texts(events)
                found.append(_similarities(view, "clap", queries))
            return sum(found[1:], found[0]) / len(found)

        return self._find(score, events, len(events) if count is None else count, min_score)

    def search_audio(
        self, sound: str | Path, count: int = 1, *, min_score: float = -1.0
    ) -> list[Hit]:
        """Find the sounds nearest to a sound by CLAP.

        Parameters
        ----------
        sound : str or Path
            A sound file, whose first 10 s count.
        count, min_score
            As in `search`.

        Returns
        -------
        list of Hit
            The nearest first; the sound itself is among them if the library has it.
        """

        def score(view: _View) -> np.ndarray:
            clap = self._clap_of(view)
            waveform = read_audio(sound, clap.sample_rate, what="sound")
            return _similarities(view, "clap", clap.extract([waveform])[0][None])

        return self._find(score, [""], count, min_score)

    def references(self, prompt: str, count: int | None = None, **options) -> list[Reference]:
        """Sounds for a prompt, prepared as references of the model; options as for `search`."""
        return [
            load_reference(hit.path, hit.caption, label=hit.path.name)
            for hit in self.search(prompt, count, **options)
        ]

    def _find(
        self,
        score: Callable[[_View], np.ndarray],
        events: list[str],
        count: int,
        min_score: float,
    ) -> list[Hit]:
        if not 1 <= count <= _MAX_COUNT:
            raise InputError(f"count: expected 1 to {_MAX_COUNT}, found {count}")
        hits: dict[int, tuple[str, float, str, str] | None] = {}
        moved: list[str] = []
        with self.store.read() as db:
            view = self._current(db)
            scores = score(view)

            def identity(index: int) -> str | None:
                if index not in hits:
                    hits[index] = self._usable(db, int(view.ids[index]), moved)
                hit = hits[index]
                return hit[3] if hit else None

            chosen = distribute(scores, count, min_score, identity)
        if moved:
            log.warning(
                "library: passed over %d sounds that were moved or changed since they were "
                "indexed, such as %s; add their folder again",
                len(moved),
                moved[0],
            )
        found = []
        for event, index in chosen:
            hit = hits[index]
            assert hit is not None
            path, seconds, caption, _ = hit
            similarity = float(scores[event, index])
            found.append(Hit(Path(path), caption, similarity, seconds, events[event]))
        return found

    @staticmethod
    def _usable(
        db: sqlite3.Connection, sound: int, moved: list[str]
    ) -> tuple[str, float, str, str] | None:
        """Path, seconds, caption and content of a sound; None if it is not as it was indexed."""
        path, size, mtime, *rest = db.execute(
            "SELECT path, size, mtime, seconds, text, digest FROM sounds "
            "JOIN captions ON captions.id = sounds.caption WHERE sounds.id = ?",
            (sound,),
        ).fetchone()
        try:
            status = os.stat(path)
            same = (status.st_size, status.st_mtime_ns) == (size, mtime) and is_regular(status)
        except (OSError, ValueError):
            same = False
        if not same:
            moved.append(path)
            return None
        return path, *rest

    def _current(self, db: sqlite3.Connection) -> _View:
        """The library as it is now; read again only after a change."""
        revision = self.store.revision(db)
        if self._view is None or self._view.revision != revision:
            self.store.check_types(db)
            encoders = {
                name: found for name in ("text", "clap") if (found := self.store.encoder(db, name))
            }
            rows = db.execute(
                "SELECT id, caption FROM sounds WHERE caption IS NOT NULL ORDER BY id"
            ).fetchall()
            if not rows or "text" not in encoders:
                raise self.store.empty()
            ids, captions = np.array(rows, dtype=np.int64).T
            vectors, positions = {}, {}
            for name, table, keys in (
                ("text", "captions", captions),
                ("clap", "clap_vectors", ids),
            ):
                if name in encoders:
                    known, vectors[name] = self.store.vectors(db, table, encoders[name].dim)
                    positions[name] = _positions(known, keys)
            if (positions["text"] < 0).any():
                raise self.store.damaged("a sound refers to a caption that does not exist")
            self._view = _View(revision, ids, positions, vectors, encoders)
        return self._view

    def _clap_of(self, view: _View) -> ClapExtractor:
        """The CLAP model that the library was indexed with."""
        if not len(view.vectors.get("clap", ())):
            raise InputError(
                f"library {self.path}: has no sounds embedded by CLAP; add them again with CLAP "
                "weights, or search by caption"
            )
        found = view.encoders["clap"]
        if self.clap is None:
            if not os.path.isdir(found.source):
                raise InputError(
                    f"library {self.path}: a search by sound needs the CLAP model that it was "
                    f"indexed with ({found.source}); name it"
                )
            self.clap = ClapExtractor(found.source, self.device)
        if self.clap.digest != found.identity:
            raise self.store.other_encoder("clap", found)
        return self.clap


def _similarities(view: _View, space: str, queries: np.ndarray) -> np.ndarray:
    """Cosines [queries, sounds]; -inf for sounds that have no vector."""
    rows = view.rows[space]
    found = view.vectors[space] @ np.ascontiguousarray(queries.T, dtype=np.float32)
    scores = np.ascontiguousarray(found[rows].T)
    scores[:, rows < 0] = -np.inf
    return scores


def _positions(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index in the ascending ids `known` of each wanted one, -1 if it is not among them."""
    if not len(known):
        return np.full(len(wanted), -1)
    found = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[found] == wanted, found, -1)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
