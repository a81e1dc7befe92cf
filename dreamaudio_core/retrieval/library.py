"""A library of captioned sounds: add folders to it, and search it by prompt or by sound."""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..errors import AudioError, InputError
from ..files import file_digest
from ..language.events import split_events
from ..networks.clap import SECONDS as CLAP_SECONDS
from ..networks.clap import ClapExtractor
from ..progress import progress_bar
from ..scene.reference import Reference, load_reference
from .caption_sources import SOURCES, CaptionReader
from .embedding import TextEmbedder
from .sounds import FoundFile, find_sounds, inspect_sound, read_tags
from .store import Store

log = logging.getLogger(__name__)
BY = ("caption", "audio", "both")
"""What a prompt is compared with: captions (text encoder), sounds (CLAP), or the mean of both similarities."""
_MAX_COUNT = 1000


@dataclass(frozen=True)
class Hit:
    """A found sound.

    Parameters
    ----------
    path : Path
        The file.
    caption : str
        What is heard in it.
    score : float
        Cosine similarity, -1 to 1.
    seconds : float
        Length of the file.
    part : str
        The part of the prompt that it answers; empty in a search by sound.
    """

    path: Path
    caption: str
    score: float
    seconds: float
    part: str = ""


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used: `kind` is bad, uncaptioned, missing or changed."""

    path: Path
    kind: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """A sound of the library, and which source gave its caption."""

    path: Path
    caption: str
    source: str
    seconds: float


@dataclass
class AddReport:
    """What `Library.add` did, in numbers of files, with the files that it left out.

    `refreshed` files kept their content: their caption, their time of change or a missing CLAP
    vector was renewed.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    refreshed: int = 0
    unchanged: int = 0
    removed: int = 0
    problems: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "refreshed": self.refreshed,
            "unchanged": self.unchanged,
            "left out": len(self.problems),
            "missing": len(self.missing),
        }
        if self.removed:
            counts["removed"] = self.removed
        return ", ".join(f"{count} {name}" for name, count in counts.items())


@dataclass(frozen=True)
class Verification:
    """What `Library.verify` found: how many sounds are as they were indexed, and the others."""

    intact: int
    problems: list[Problem]


@dataclass(frozen=True)
class _View:
    """Searchable state of one revision; `rows` holds each entry's row in a space, -1 for none."""

    revision: int
    ids: np.ndarray
    rows: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    identities: dict[str, str]
    sources: dict[str, str]


@dataclass
class _Known:
    """A file as the index has it."""

    id: int
    path: str
    size: int
    mtime: int
    digest: str
    sidecars: str
    state: str
    reason: str
    seconds: float
    caption: str
    text_row: int | None
    clap_row: int | None


_KNOWN = (
    "id, path, size, mtime, digest, sidecars, state, reason, seconds, caption, text_row, clap_row"
)


@dataclass
class _Pending:
    """A file that waits for its batch to be embedded and written."""

    found: FoundFile
    digest: str
    what: str
    known_id: int | None = None
    seconds: float = 0.0
    tags: tuple[str, ...] = ()
    head: torch.Tensor | None = None
    clap_row: int | None = None
    vector: np.ndarray | None = None
    caption: str = ""
    source: str = ""
    state: str = "ok"
    reason: str = ""


@dataclass
class _Adding:
    """One call of `Library.add`."""

    db: sqlite3.Connection
    reader: CaptionReader
    bad: str
    report: AddReport
    claimed: set[int] = field(default_factory=set)

    def problem(self, path: Path, kind: str, reason: str) -> None:
        """Report a file, or refuse it."""
        if self.bad == "refuse":
            raise InputError(reason)
        self.report.problems.append(Problem(path, kind, reason))


class Library:
    """Captioned sounds on disk, indexed for search.

    The index holds paths, captions and vectors, not the sounds themselves. Several processes may
    search while one adds.

    Parameters
    ----------
    path : str or Path
        Folder of the index.
    text_encoder : str or Path, optional
        Folder of the text encoder for captions and prompts; by default that of the embedded model.
    clap : str or Path, optional
        CLAP model folder or hub id, to add and search by sound; by default the local folder that
        the library was last added to with, if it is still there.
    device : torch.device or str
        Where the encoders run.
    """

    def __init__(
        self,
        path: str | Path,
        text_encoder: str | Path | None = None,
        clap: str | Path | None = None,
        device: torch.device | str = "cpu",
    ):
        self.store = Store(path)
        self.device = device
        self._text = TextEmbedder(text_encoder, device)
        self._clap = ClapExtractor(clap, device) if clap is not None else None
        self._view: _View | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        text_encoder: str | Path | None = None,
        clap: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> Library:
        """Library in a folder; `add` makes it where there is none yet. See the class for the
        parameters.
        """
        return cls(path, text_encoder, clap, device)

    def __len__(self) -> int:
        with self.store.read() as db:
            return db.execute("SELECT count(*) FROM files WHERE state = 'ok'").fetchone()[0]

    def entries(self) -> list[Entry]:
        """Sounds of the library, by path."""
        with self.store.read() as db:
            rows = db.execute(
                "SELECT path, caption, source, seconds FROM files WHERE state = 'ok' ORDER BY path"
            )
            return [
                Entry(Path(path), caption, source, seconds)
                for path, caption, source, seconds in rows
            ]

    def identity(self) -> str:
        """Digest of all that searches depend on: sounds, captions, vectors' encoders."""
        digest = hashlib.sha256()
        with self.store.read() as db:
            for row in db.execute("SELECT name, identity FROM spaces ORDER BY name"):
                digest.update(repr(row).encode())
            for row in db.execute(
                "SELECT digest, caption, path FROM files WHERE state = 'ok' ORDER BY path"
            ):
                digest.update(repr(row).encode())
        return digest.hexdigest()

    # Adding

    def add(
        self,
        folder: str | Path,
        *,
        captions: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        bad: str = "skip",
        missing: str = "keep",
        recursive: bool = True,
        batch_size: int = 64,
        reencode: bool = False,
        show_progress: bool = False,
    ) -> AddReport:
        """Take in the sounds of a folder, or bring up to date what is known of them.

        Only files that are new or whose size or time of change differ are read; of those, only
        files of new content are decoded and embedded, so that a renamed or moved file keeps its
        vectors. Each batch is committed by itself: an interrupted call loses one batch at most, and
        the next call goes on behind it.

        Parameters
        ----------
        folder : str or Path
            Folder of sounds.
        captions : sequence of str, optional
            Where captions come from, the first that has one gives it: `"sidecar"` (NAME.txt,
            NAME.json or captions.json beside the sound), `"tags"` (its title or comment), `"clap"`
            (the nearest of `labels`), `"name"` (file or folder name). By default in this order,
            `"clap"` only with labels.
        labels : sequence of str, optional
            Captions that CLAP may choose from.
        bad : str
            `"skip"` leaves out and reports sounds that cannot be used, `"refuse"` stops at the
            first one.
        missing : str
            What to do with known files of this folder that are gone: `"keep"` reports them
            (searches pass over them), `"remove"` forgets them, `"refuse"` stops before anything is
            changed.
        recursive : bool
            Whether sub-folders count.
        batch_size : int
            Files between two commits.
        reencode : bool
            Where an encoder differs from the one that was used before, embed anew: all captions of
            the library, and the sounds of this folder (those of other folders when these are added
            again).
        show_progress : bool
            Show a bar.

        Raises
        ------
        InputError
            If the folder is missing or without sounds, an option is unknown, a file is refused, or
            an encoder differs.
        CheckpointError
            If an encoder cannot be read.
        """
        _one_of("bad", bad, ("skip", "refuse"))
        _one_of("missing", missing, ("keep", "remove", "refuse"))
        if batch_size < 1:
            raise InputError(f"batch size: expected at least 1, found {batch_size}")
        folder = Path(os.path.abspath(Path(folder).expanduser()))
        reader = self._caption_reader(captions, labels)
        found = find_sounds(folder, recursive)
        self.store.create()
        with self.store.read() as db:
            known = {row.path: row for row in self._known_under(db, folder)}
        if not found and not known:
            raise InputError(
                f"{folder}: holds no sound files; expected WAV, FLAC, OGG, OPUS, MP3 or AIFF"
            )
        present = {os.fspath(file.path) for file in found}
        gone = {
            path: row
            for path, row in known.items()
            if path not in present and not os.path.isfile(path)
        }
        if gone and missing == "refuse":
            raise InputError(
                f"{next(iter(gone))}: indexed but gone (and {len(gone) - 1} more); put it back, or use "
                "missing=remove"
            )
        self._prepare_spaces(reencode)
        report = AddReport()
        with self.store.read() as db, progress_bar(len(found), "indexing", show_progress) as bar:
            known = {row.path: row for row in self._known_under(db, folder)}
            adding = _Adding(db, reader, bad, report)
            pending: list[_Pending] = []
            for file in found:
                item = self._examine(file, known.get(os.fspath(file.path)), adding)
                if item is not None:
                    pending.append(item)
                if len(pending) >= batch_size:
                    self._flush(pending, adding)
                    pending = []
                bar.update()
            self._flush(pending, adding)
        self._settle_missing(folder, gone, missing, report)
        return report

    def _caption_reader(
        self, captions: Sequence[str] | None, labels: Sequence[str] | None
    ) -> CaptionReader:
        zero_shot = None
        if labels is not None:
            labels = list(labels)
            if not labels:
                raise InputError("labels: expected at least one caption to choose from, found none")
            if self._clap is None:
                raise InputError(
                    "labels: choosing captions from a list needs CLAP weights; name them too"
                )
            matrix: list[np.ndarray] = []

            def zero_shot(vector: np.ndarray) -> str:
                if not matrix:
                    matrix.append(self._clap.embed_texts(labels))
                return labels[int((matrix[0] @ vector).argmax())]

        if captions is None:
            captions = [source for source in SOURCES if source != "clap" or zero_shot is not None]
        return CaptionReader(captions, zero_shot)

    @staticmethod
    def _known_under(db: sqlite3.Connection, folder: Path) -> list[_Known]:
        prefix = os.path.join(folder, "")
        rows = db.execute(
            f"SELECT {_KNOWN} FROM files WHERE substr(path, 1, ?) = ?", (len(prefix), prefix)
        )
        return [_Known(*row) for row in rows]

    def _examine(self, file: FoundFile, known: _Known | None, adding: _Adding) -> _Pending | None:
        """What has to be done for a file: nothing, or an item for the next batch."""
        path = os.fspath(file.path)
        if known and (known.size, known.mtime, known.sidecars) == (
            file.size,
            file.mtime,
            file.stamp,
        ):
            if known.state == "ok" and not (self._clap and known.clap_row is None):
                adding.report.unchanged += 1
                return None
            if known.state == "bad":
                adding.problem(file.path, "bad", known.reason)
                return None
        try:
            path.encode()
            digest = file_digest(file.path)
        except UnicodeEncodeError:
            adding.problem(file.path, "bad", f"{path!r}: its name is not valid text; rename it")
            return None
        except OSError as error:
            adding.problem(
                file.path,
                "bad",
                f"{path}: cannot be read ({error.strerror}); check its permissions",
            )
            return None
        item = _Pending(file, digest, "added", known.id if known else None)
        same = (
            known
            if known and known.digest == digest and known.state != "bad"
            else self._same_content(digest, path, adding)
        )
        if known:
            item.what = "refreshed" if same is known else "changed"
        elif same and same.id not in adding.claimed and not os.path.isfile(same.path):
            item.what, item.known_id = "moved", same.id
            adding.claimed.add(same.id)
        if same and not (self._clap and same.clap_row is None):
            item.seconds, item.clap_row, item.tags = (
                same.seconds,
                same.clap_row,
                read_tags(file.path),
            )
            return item
        try:
            sound = inspect_sound(
                file.path, self._clap.sample_rate if self._clap else None, CLAP_SECONDS
            )
        except AudioError as error:
            item.state, item.reason = "bad", str(error)
            adding.problem(file.path, "bad", item.reason)
            return item
        item.seconds, item.tags, item.head = sound.seconds, sound.tags, sound.head
        return item

    @staticmethod
    def _same_content(digest: str, path: str, adding: _Adding) -> _Known | None:
        """A sound of the same bytes; one that is gone comes first, since it has been moved."""
        rows = adding.db.execute(
            f"SELECT {_KNOWN} FROM files WHERE digest = ? AND state = 'ok' AND path != ?",
            (digest, path),
        )
        same = [_Known(*row) for row in rows]
        moved = (
            row for row in same if row.id not in adding.claimed and not os.path.isfile(row.path)
        )
        return next(moved, same[0] if same else None)

    def _flush(self, pending: list[_Pending], adding: _Adding) -> None:
        """Embed a batch and commit it."""
        if not pending:
            return
        heads = [item for item in pending if item.head is not None]
        if heads:
            for item, vector in zip(heads, self._clap.extract([item.head for item in heads])):
                item.vector = vector
        if "clap" in adding.reader.order and (space := self.store.space(adding.db, "clap")):
            stored = self.store.vectors(space)
            for item in pending:
                if item.clap_row is not None:
                    item.vector = stored[item.clap_row]
        for item in pending:
            if item.state == "ok":
                self._choose_caption(item, adding)
        texts = dict.fromkeys(item.caption for item in pending if item.caption)
        rows = {text: row for text in texts if (row := self._text_row(adding.db, text)) is not None}
        new = [text for text in texts if text not in rows]
        vectors = self._text.embed(new) if new else None
        with self.store.write() as db:
            if new:
                rows.update(zip(new, self.store.append(db, "text", vectors)))
            if heads:
                for item, row in zip(
                    heads, self.store.append(db, "clap", np.stack([item.vector for item in heads]))
                ):
                    item.clap_row = row
            for item in pending:
                values = (
                    os.fspath(item.found.path),
                    item.found.size,
                    item.found.mtime,
                    item.digest,
                    item.found.stamp,
                    item.state,
                    item.reason,
                    item.seconds,
                    item.caption,
                    item.source,
                    rows.get(item.caption),
                    item.clap_row,
                )
                db.execute("DELETE FROM files WHERE id = ? OR path = ?", (item.known_id, values[0]))
                db.execute(
                    "INSERT INTO files (path, size, mtime, digest, sidecars, state, reason, seconds, caption, source, "
                    "text_row, clap_row) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
        for item in pending:
            if item.state == "ok":
                setattr(adding.report, item.what, getattr(adding.report, item.what) + 1)

    @staticmethod
    def _choose_caption(item: _Pending, adding: _Adding) -> None:
        path = item.found.path
        try:
            caption = adding.reader.caption(path, item.found.beside, item.tags, item.vector)
            reason = f"{path}: has no caption ({', '.join(adding.reader.order)}); write one to {path.stem}.txt beside it"
        except InputError as error:
            caption, reason = None, str(error)
        if caption is None:
            item.state, item.reason = "uncaptioned", reason
            adding.problem(path, "uncaptioned", reason)
        else:
            item.caption, item.source = caption.text, caption.source

    @staticmethod
    def _text_row(db: sqlite3.Connection, caption: str) -> int | None:
        row = db.execute(
            "SELECT text_row FROM files WHERE caption = ? AND text_row IS NOT NULL LIMIT 1",
            (caption,),
        ).fetchone()
        return row[0] if row else None

    def _settle_missing(
        self, folder: Path, gone: dict[str, _Known], missing: str, report: AddReport
    ) -> None:
        if not gone:
            return
        with self.store.read() as db:
            # Those that were found under another name are known by that now.
            left = [row.path for row in self._known_under(db, folder) if row.path in gone]
        if missing == "remove" and left:
            report.removed = self._delete(left)
        elif left:
            report.missing = [
                Problem(
                    Path(path),
                    "missing",
                    f"{path}: indexed but gone; put it back or remove it from the library",
                )
                for path in left
            ]

    # Encoders

    def _prepare_spaces(self, reencode: bool) -> None:
        """Begin the spaces that `add` writes to; embed anew what another encoder has embedded, if
        that is asked for.
        """
        encoders = {"text": (self._text.identity, str(self._text.folder), self._text.dim)}
        if self._clap:
            dim = self._clap.embed_texts(["sound"]).shape[1]
            source = (
                os.path.abspath(self._clap.source)
                if os.path.isdir(self._clap.source)
                else str(self._clap.source)
            )
            encoders["clap"] = (self._clap.digest, source, dim)
        with self.store.read() as db:
            stale = [
                name
                for name, encoder in encoders.items()
                if (space := self.store.space(db, name)) and space["identity"] != encoder[0]
            ]
            new = [name for name in encoders if not self.store.space(db, name)]
        if stale and not reencode:
            with self.store.read() as db:
                raise self._other_encoder(stale[0], self.store.space(db, stale[0])["source"])
        if not stale and not new:
            return
        captions, vectors = [], None
        if "text" in stale:
            with self.store.read() as db:
                captions = [
                    row[0]
                    for row in db.execute(
                        "SELECT DISTINCT caption FROM files WHERE text_row IS NOT NULL"
                    )
                ]
            vectors = self._text.embed(captions)
        with self.store.write() as db:
            old = [self.store.start_space(db, name, *encoders[name]) for name in (*stale, *new)]
            if "text" in stale:
                db.execute("UPDATE files SET text_row = NULL")
                rows = self.store.append(db, "text", vectors)
                db.executemany(
                    "UPDATE files SET text_row = ? WHERE caption = ?", zip(rows, captions)
                )
                # A caption that another process wrote meanwhile is embedded when its file is added
                # again.
                db.execute("UPDATE files SET mtime = -1 WHERE state = 'ok' AND text_row IS NULL")
            if "clap" in stale:
                db.execute("UPDATE files SET clap_row = NULL")
        for file in old:
            self.store.discard(file)

    def _other_encoder(self, space: str, source: str) -> InputError:
        name = {"text": "text encoder", "clap": "CLAP model"}[space]
        return InputError(
            f"library {self.store.folder}: was indexed with another {name} ({source}); name that one, or add "
            "the sounds again with --reencode"
        )

    def _clap_for_search(self, view: _View) -> ClapExtractor:
        if "clap" not in view.vectors or not len(view.vectors["clap"]):
            raise InputError(
                f"library {self.store.folder}: has no sounds embedded by CLAP; add them again with CLAP weights, "
                "or search by caption"
            )
        if self._clap is None:
            source = view.sources["clap"]
            if not os.path.isdir(source):
                raise InputError(
                    f"library {self.store.folder}: a search by sound needs the CLAP model it was indexed with "
                    f"({source}); name it"
                )
            self._clap = ClapExtractor(source, self.device)
        if self._clap.digest != view.identities["clap"]:
            raise self._other_encoder("clap", view.sources["clap"])
        return self._clap

    # Searching

    def search(
        self,
        prompt: str,
        count: int | None = None,
        *,
        by: str = "caption",
        min_score: float = -1.0,
        changed: str = "skip",
    ) -> list[Hit]:
        """Find sounds for a prompt, one for each of its events (see `split_events`).

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
        changed : str
            What to do with hits that were moved or changed since they were indexed: `"skip"` passes
            over them with a warning, `"refuse"` raises, `"use"` takes changed files as they are now
            and passes over missing ones.

        Returns
        -------
        list of Hit
            In the order of the prompt's events; the best first among those of one event. No sound
            occurs twice.

        Raises
        ------
        InputError
            If the prompt is empty, there is no library, or an option does not fit.
        """
        parts = split_events(prompt)
        if not parts:
            raise InputError("prompt: expected a text, found an empty one")
        _one_of("by", by, BY)
        count = len(parts) if count is None else _checked_count(count)
        view = self._current()
        scores = self._prompt_scores(view, parts, by)
        return self._pick(view, scores, parts, count, min_score, changed)

    def search_audio(
        self,
        sound: str | Path | torch.Tensor,
        count: int = 1,
        *,
        sample_rate: int | None = None,
        min_score: float = -1.0,
        changed: str = "skip",
    ) -> list[Hit]:
        """Find the sounds nearest to a sound by CLAP.

        Parameters
        ----------
        sound : str, Path or Tensor
            A file, or a waveform [T] at `sample_rate` Hz; the first 10 s count.
        count, min_score, changed
            As in `search`.

        Returns
        -------
        list of Hit
            The nearest first; the sound itself is among them where the library holds it.
        """
        from ..audio.decode import read_audio
        from ..audio.resample import to_mono

        view = self._current()
        clap = self._clap_for_search(view)
        if isinstance(sound, torch.Tensor):
            if sample_rate is None:
                raise InputError("sample rate: expected the waveform's rate in Hz, found none")
            waveform = to_mono(sound, sample_rate, clap.sample_rate, what="sound")
        else:
            waveform = read_audio(sound, clap.sample_rate, what="sound")
        query = clap.extract([waveform])[0]
        scores = self._scores(view, "clap", query[None])
        return self._pick(view, scores, [""], _checked_count(count), min_score, changed)

    def references(self, prompt: str, count: int | None = None, **options) -> list[Reference]:
        """Sounds for a prompt, prepared as references of the model; the options are those of
        `search`.
        """
        return [
            load_reference(hit.path, hit.caption, label=hit.path.name)
            for hit in self.search(prompt, count, **options)
        ]

    def _current(self) -> _View:
        """The library as it is now, read anew only after a change."""
        with self.store.read() as db:
            revision = self.store.revision(db)
            if self._view is None or self._view.revision != revision:
                db.execute("BEGIN")
                revision = self.store.revision(db)
                rows = db.execute(
                    "SELECT id, coalesce(text_row, -1), coalesce(clap_row, -1) FROM files WHERE state = 'ok' "
                    "ORDER BY id"
                ).fetchall()
                table = np.array(rows, dtype=np.int64).reshape(-1, 3)
                spaces = {
                    name: space
                    for name in ("text", "clap")
                    if (space := self.store.space(db, name))
                }
                self._view = _View(
                    revision,
                    table[:, 0],
                    {"text": table[:, 1], "clap": table[:, 2]},
                    {name: self.store.vectors(space) for name, space in spaces.items()},
                    {name: space["identity"] for name, space in spaces.items()},
                    {name: space["source"] for name, space in spaces.items()},
                )
                db.execute("COMMIT")
        if not len(self._view.ids):
            raise InputError(f"library {self.store.folder}: holds no sounds; add a folder first")
        return self._view

    def _prompt_scores(self, view: _View, parts: list[str], by: str) -> np.ndarray:
        found = []
        if by in ("caption", "both"):
            if self._text.identity != view.identities["text"]:
                raise self._other_encoder("text", view.sources["text"])
            found.append(self._scores(view, "text", self._text.embed(parts)))
        if by in ("audio", "both"):
            found.append(self._scores(view, "clap", self._clap_for_search(view).embed_texts(parts)))
        return sum(found) / len(found)

    @staticmethod
    def _scores(view: _View, space: str, queries: np.ndarray) -> np.ndarray:
        """Similarities [queries, entries]; -inf for entries that have no vector."""
        rows = view.rows[space]
        similarities = view.vectors[space] @ np.ascontiguousarray(queries.T, dtype=np.float32)
        scores = np.ascontiguousarray(similarities[rows].T)
        scores[:, rows < 0] = -np.inf
        return scores

    def _pick(
        self,
        view: _View,
        scores: np.ndarray,
        parts: list[str],
        count: int,
        min_score: float,
        changed: str,
    ) -> list[Hit]:
        _one_of("changed", changed, ("skip", "refuse", "use"))
        usable: dict[int, tuple[Hit, str] | None] = {}
        problems: list[Problem] = []
        queues = [self._ranked(row, min_score) for row in scores]
        taken: set[str] = set()
        chosen: list[tuple[int, Hit]] = []
        with self.store.read() as db:

            def next_hit(part: int) -> tuple[Hit, str] | None:
                for index in queues[part]:
                    if index not in usable:
                        usable[index] = self._usable(db, int(view.ids[index]), changed, problems)
                    found = usable[index]
                    if found is not None and found[1] not in taken:
                        hit, digest = found
                        return Hit(
                            hit.path,
                            hit.caption,
                            float(scores[part, index]),
                            hit.seconds,
                            parts[part],
                        ), digest
                return None

            active = list(range(len(parts)))
            while active and len(chosen) < count:
                # A round gives every event one more; the surest choose first, so that none takes
                # what fits another better.
                best = {part: float(scores[part].max()) for part in active}
                for part in sorted(active, key=lambda p: -best[p]):
                    found = next_hit(part) if len(chosen) < count else None
                    if found is None:
                        active.remove(part)
                        continue
                    taken.add(found[1])
                    chosen.append((part, found[0]))
        if problems:
            if changed == "refuse":
                raise InputError(f"{problems[0].reason} ({len(problems)} such files met)")
            log.warning(
                "library: passed over %d files that were moved or changed since they were indexed, such as %s",
                len(problems),
                problems[0].reason,
            )
        return [hit for _, hit in sorted(chosen, key=lambda c: (c[0], -c[1].score))]

    @staticmethod
    def _ranked(scores: np.ndarray, min_score: float):
        """Indices by falling score, sorted only as far as they are asked for."""
        done, size = 0, 32
        while done < len(scores):
            size = min(size, len(scores))
            top = (
                np.argpartition(-scores, size - 1)[:size] if size < len(scores) else np.arange(size)
            )
            top = top[np.lexsort((top, -scores[top]))]
            for index in top[done:]:
                if not scores[index] >= max(min_score, -1.01):
                    return
                yield int(index)
            done, size = size, size * 8

    def _usable(
        self, db: sqlite3.Connection, entry: int, changed: str, problems: list[Problem]
    ) -> tuple[Hit, str] | None:
        row = db.execute(
            "SELECT path, caption, seconds, digest, size, mtime FROM files WHERE id = ?", (entry,)
        ).fetchone()
        if row is None:  # removed since by another process
            return None
        path, caption, seconds, digest, size, mtime = row
        problem = _compare(Path(path), size, mtime)
        if problem is not None and (changed != "use" or problem.kind == "missing"):
            problems.append(problem)
            return None
        return Hit(Path(path), caption, 0.0, seconds), digest

    # Upkeep

    def verify(self, deep: bool = False) -> Verification:
        """Compare the index with the files.

        Parameters
        ----------
        deep : bool
            Read every file and compare its content, rather than size and time of change alone.

        Raises
        ------
        InputError
            If there is no library or its own files are damaged.
        """
        intact, problems = 0, []
        with self.store.read() as db:
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise InputError(
                    f"library {self.store.folder}: its database is damaged; delete the folder and add the sounds "
                    "again"
                )
            for name in ("text", "clap"):
                space = self.store.space(db, name)
                if space and not np.isfinite(self.store.vectors(space)).all():
                    raise InputError(
                        f"library {self.store.folder / space['file']}: holds NaN; delete the library's folder "
                        "and add the sounds again"
                    )
            rows = db.execute(
                "SELECT path, size, mtime, digest, state, reason FROM files ORDER BY path"
            ).fetchall()
        for path, size, mtime, digest, state, reason in rows:
            problem = _compare(Path(path), size, mtime, digest if deep else None)
            if problem is None and state != "ok":
                problem = Problem(Path(path), state, reason)
            if problem is None:
                intact += 1
            else:
                problems.append(problem)
        return Verification(intact, problems)

    def remove(self, path: str | Path) -> int:
        """Forget a sound, or all sounds of a folder; the files themselves stay. Returns how many
        were known.

        Raises
        ------
        InputError
            If none was known.
        """
        path = Path(os.path.abspath(Path(path).expanduser()))
        with self.store.read() as db:
            paths = [row.path for row in self._known_under(db, path)]
            paths += [
                row[0]
                for row in db.execute("SELECT path FROM files WHERE path = ?", (os.fspath(path),))
            ]
        if not paths:
            raise InputError(f"{path}: the library knows no sound of this file or folder")
        return self._delete(paths)

    def remove_missing(self) -> int:
        """Forget all sounds whose files are gone; returns how many."""
        with self.store.read() as db:
            paths = [
                path for (path,) in db.execute("SELECT path FROM files") if not os.path.isfile(path)
            ]
        return self._delete(paths) if paths else 0

    def _delete(self, paths: list[str]) -> int:
        with self.store.write() as db:
            db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
            old = [self._compact(db, name) for name in ("text", "clap")]
        self._view = None
        for file in old:
            self.store.discard(file)
        return len(paths)

    def _compact(self, db: sqlite3.Connection, name: str) -> str | None:
        """Write a space anew without the vectors that nothing refers to, once they are the larger
        part.
        """
        space = self.store.space(db, name)
        if space is None:
            return None
        used = [
            row
            for (row,) in db.execute(
                f"SELECT DISTINCT {name}_row FROM files WHERE {name}_row IS NOT NULL ORDER BY 1"
            )
        ]
        if space["rows"] < 2 * len(used) + 1024:
            return None
        kept = np.array(self.store.vectors(space)[used])
        old = self.store.start_space(db, name, space["identity"], space["source"], space["dim"])
        if used:
            rows = self.store.append(db, name, kept)
            db.execute(
                "CREATE TEMP TABLE renumbered (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)"
            )
            db.executemany("INSERT INTO renumbered VALUES (?, ?)", zip(used, rows))
            db.execute(
                f"UPDATE files SET {name}_row = (SELECT new FROM renumbered WHERE old = {name}_row)"
            )
            db.execute("DROP TABLE renumbered")
        return old


def _one_of(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{what}: expected {', '.join(known)}, found {value!r}")


def _checked_count(count: int) -> int:
    if not 1 <= count <= _MAX_COUNT:
        raise InputError(f"count: expected 1 to {_MAX_COUNT}, found {count}")
    return count


def _compare(path: Path, size: int, mtime: int, digest: str | None = None) -> Problem | None:
    """How a file differs from what was indexed, or None."""
    try:
        status = path.stat()
        if not path.is_file():
            raise OSError
        same = (status.st_size, status.st_mtime_ns) == (size, mtime)
        if digest is not None:
            same = file_digest(path) == digest
    except OSError:
        return Problem(
            path, "missing", f"{path}: indexed but gone; put it back, or add its folder again"
        )
    return (
        None
        if same
        else Problem(path, "changed", f"{path}: changed since it was indexed; add its folder again")
    )
