"""What a library keeps on disk: a table of files in SQLite, and vectors in flat files that searches
map into memory.

Vectors are appended and flushed to disk before the transaction that refers to them is committed.
What an interrupted run has written after the last commit is therefore never read, and is written
over by the next one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError

INDEX = "index.sqlite"
VERSION = 1
VECTOR = np.dtype("<f4")
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE spaces (name TEXT PRIMARY KEY, identity TEXT NOT NULL, source TEXT NOT NULL, dim INTEGER NOT NULL,
                     file TEXT NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE files (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
                    mtime INTEGER NOT NULL, digest TEXT NOT NULL, sidecars TEXT NOT NULL, state TEXT NOT NULL,
                    reason TEXT NOT NULL, seconds REAL NOT NULL, caption TEXT NOT NULL, source TEXT NOT NULL,
                    text_row INTEGER, clap_row INTEGER);
CREATE INDEX files_digest ON files (digest);
CREATE INDEX files_caption ON files (caption);
"""


class Store:
    """Tables and vectors of a library's folder.

    Parameters
    ----------
    folder : str or Path
        Where they lie; made when something is first written.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(os.path.abspath(Path(folder).expanduser()))

    @property
    def exists(self) -> bool:
        """Whether there is a library."""
        return (self.folder / INDEX).is_file()

    def create(self) -> None:
        """Make an empty library where there is none.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        if self.exists:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"library {self.folder}: cannot be made ({error.strerror}); choose another folder"
            ) from error
        with self._connection(must_exist=False) as db:
            db.execute("BEGIN IMMEDIATE")
            # Another process may have been faster.
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    db.execute(statement)
                db.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [
                        ("format", "dreamaudio-library"),
                        ("version", str(VERSION)),
                        ("revision", "0"),
                    ],
                )
            db.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self, must_exist: bool = True) -> Iterator[sqlite3.Connection]:
        if must_exist and not self.exists:
            raise InputError(
                f"library {self.folder}: expected {INDEX} in it, found none; make a library with: python -m "
                "dreamaudio_core library add FOLDER --library LIBRARY"
            )
        try:
            with contextlib.closing(
                sqlite3.connect(self.folder / INDEX, timeout=60, isolation_level=None)
            ) as db:
                if must_exist:
                    self._check(db)
                yield db
        except sqlite3.Error as error:
            raise InputError(
                f"library {self.folder / INDEX}: cannot be used ({error}); free the disk or the file, or "
                "delete the library's folder and add the sounds again"
            ) from error

    def _check(self, db: sqlite3.Connection) -> None:
        meta = dict(db.execute("SELECT name, value FROM meta"))
        if meta.get("format") != "dreamaudio-library":
            raise InputError(
                f"library {self.folder / INDEX}: this is another program's database; choose another folder"
            )
        if meta.get("version") != str(VERSION):
            raise InputError(
                f"library {self.folder / INDEX}: expected version {VERSION}, found {meta.get('version')}; add the "
                "sounds to a new library"
            )

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Connection for queries."""
        with self._connection() as db:
            yield db

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Connection inside a transaction that no other writer can enter; committed at the end,
        undone by an error.
        """
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute(
                    "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'revision'"
                )
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def revision(self, db: sqlite3.Connection) -> int:
        """Counts the transactions that were written."""
        return int(db.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0])

    def space(self, db: sqlite3.Connection, name: str) -> sqlite3.Row | None:
        """Identity, source, dim, file and rows of a space of vectors."""
        cursor = db.execute(
            "SELECT identity, source, dim, file, rows FROM spaces WHERE name = ?", (name,)
        )
        cursor.row_factory = sqlite3.Row
        return cursor.fetchone()

    def start_space(
        self, db: sqlite3.Connection, name: str, identity: str, source: str, dim: int
    ) -> str | None:
        """Begin a space, or begin it anew; returns the file of the former one."""
        old = self.space(db, name)
        file = f"{name}-{self.revision(db) + 1}.f32"
        (self.folder / file).write_bytes(b"")
        db.execute(
            "INSERT OR REPLACE INTO spaces VALUES (?, ?, ?, ?, ?, 0)",
            (name, identity, source, dim, file),
        )
        return old["file"] if old else None

    def append(self, db: sqlite3.Connection, name: str, vectors: np.ndarray) -> range:
        """Write vectors [N, dim] behind those that are there; returns their rows."""
        space = self.space(db, name)
        rows, dim = space["rows"], space["dim"]
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors of {name}: expected [N, {dim}], found {list(vectors.shape)}")
        end = rows * dim * VECTOR.itemsize
        path = self._vector_file(space, end)
        try:
            with open(path, "r+b") as file:
                file.truncate(end)
                file.seek(end)
                file.write(np.ascontiguousarray(vectors, dtype=VECTOR).tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"library {path}: cannot be written ({error.strerror}); free the disk and add again"
            ) from error
        db.execute("UPDATE spaces SET rows = ? WHERE name = ?", (rows + len(vectors), name))
        return range(rows, rows + len(vectors))

    def vectors(self, space: sqlite3.Row) -> np.ndarray:
        """Vectors [rows, dim] of a space, mapped into memory."""
        rows, dim = space["rows"], space["dim"]
        if not rows:
            return np.zeros((0, dim), dtype=VECTOR)
        path = self._vector_file(space, rows * dim * VECTOR.itemsize)
        return np.asarray(np.memmap(path, VECTOR, "r", shape=(rows, dim)))

    def _vector_file(self, space: sqlite3.Row, size: int) -> Path:
        path = self.folder / space["file"]
        found = path.stat().st_size if path.is_file() else None
        if found is None or found < size:
            raise InputError(
                f"library {path}: expected at least {size} bytes, found {'no file' if found is None else found}; "
                "delete the library's folder and add the sounds again"
            )
        return path

    def discard(self, file: str | None) -> None:
        """Delete a vector file that no table refers to any more."""
        if file:
            # Windows keeps a file that another process has mapped; it is then merely left over.
            with contextlib.suppress(OSError):
                (self.folder / file).unlink()
