"""The file of a library: one SQLite database with sounds, captions and vectors.

A library may come from somebody else, so nothing in the file is trusted: its tables must be exactly
those written here, values are checked when they are read, and no path in it is ever written to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError

_APPLICATION_ID = 0x44724C62
_VERSION = 2
_VECTOR = np.dtype("<f2")
"""Unit vectors lose less than 0.001 of their similarities in half precision."""
_TABLES = {
    "settings": "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "sounds": "CREATE TABLE sounds (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, "
    "size INTEGER NOT NULL, mtime INTEGER NOT NULL, stamp TEXT NOT NULL, digest TEXT NOT NULL, "
    "seconds REAL NOT NULL, caption TEXT NOT NULL, source TEXT NOT NULL, vector BLOB NOT NULL)",
}


class SoundRow(NamedTuple):
    """A sound of a library.

    `size` (bytes), `mtime` (nanoseconds) and `stamp` tell whether the file or its caption changed
    since, `digest` tells sounds of equal content, `source` where the caption came from.
    """

    path: str
    size: int
    mtime: int
    stamp: str
    digest: str
    seconds: float
    caption: str
    source: str


_TYPES = (str, int, int, str, str, float, str, str)
_COLUMNS = ", ".join(SoundRow._fields)


class Store:
    """Access to the file of a library.

    Parameters
    ----------
    path : str or Path
        The file; it is created when something is first written.
    """

    def __init__(self, path: str | Path):
        self.path = Path(os.path.abspath(Path(path).expanduser()))

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Connection that sees one state of the library until it is closed.

        Raises
        ------
        InputError
            If there is no library, or the file is damaged or another program's.
        """
        if not self.path.is_file():
            found = "a folder" if self.path.is_dir() else "nothing"
            raise InputError(
                f"library {self.path}: expected the file of a library, found {found}; create one "
                f"with: dreamaudio library add FOLDER --library {self.path.name}"
            )
        with self._connection() as db:
            db.execute("BEGIN")
            if not self._check(db):
                raise self.empty()
            yield db

    @contextlib.contextmanager
    def write(self, encoder: str) -> Iterator[sqlite3.Connection]:
        """Connection inside a transaction that no other process can enter: committed at the end,
        undone by an error. The first one creates the library, for vectors of this encoder.

        Raises
        ------
        InputError
            If the file cannot be written, is damaged, another program's, or another encoder's.
        """
        if self.path.is_dir():
            raise InputError(
                f"library {self.path}: expected a file, found a folder; name a file in it, such as "
                f"{self.path / 'sounds.sqlite'}"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"library {self.path}: cannot be created ({error.strerror}); choose another folder"
            ) from error
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            # Tables and first contents are committed together, so that an interrupted first call
            # leaves an empty file, which the next one fills.
            if not self._check(db):
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {_VERSION}")
                for statement in _TABLES.values():
                    db.execute(statement)
                settings = {"revision": 0, "encoder": encoder}
                db.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())
            self.check_encoder(db, encoder)
            yield db
            db.execute(
                "UPDATE settings SET value = CAST(value AS INTEGER) + 1 WHERE name = 'revision'"
            )
            db.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            # Closing undoes an open transaction.
            with contextlib.closing(
                sqlite3.connect(self.path, timeout=60, isolation_level=None)
            ) as db:
                # A foreign file's triggers and views must not run functions of this process.
                db.execute("PRAGMA trusted_schema = OFF")
                yield db
        except sqlite3.Error as error:
            raise InputError(
                f"library {self.path}: cannot be used ({error}); check its permissions and the "
                "free space, or delete it and add the sounds again"
            ) from error

    def _check(self, db: sqlite3.Connection) -> bool:
        """Whether the file holds a library; False if it is still empty."""
        tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        if not tables and not application:
            return False
        if application != _APPLICATION_ID:
            raise InputError(
                f"library {self.path}: this is another program's database; choose another file"
            )
        if version != _VERSION or tables != _TABLES:
            raise self.damaged(f"expected version {_VERSION}, found {version} or other tables")
        return True

    def empty(self) -> InputError:
        """Error for a library without sounds."""
        return InputError(f"library {self.path}: holds no sounds; add a folder first")

    def damaged(self, reason: str) -> InputError:
        """Error for values that this program does not write."""
        return InputError(
            f"library {self.path}: {reason}; delete the file and add the sounds again"
        )

    def revision(self, db: sqlite3.Connection) -> str:
        """Changes with every transaction that is committed."""
        return self._setting(db, "revision")

    def check_encoder(self, db: sqlite3.Connection, encoder: str) -> None:
        """Refuse a library whose vectors come from another text encoder than this one, named by
        its digest.
        """
        if self._setting(db, "encoder") != encoder:
            raise self.damaged("its vectors come from another text encoder than this version's")

    def _setting(self, db: sqlite3.Connection, name: str) -> str:
        row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def sounds(
        self, db: sqlite3.Connection, where: str = "TRUE", *values: object
    ) -> Iterator[SoundRow]:
        """Sounds by path, those that the condition `where` chooses.

        Raises
        ------
        InputError
            If a value is of another type than those that are written.
        """
        query = f"SELECT {_COLUMNS} FROM sounds WHERE {where} ORDER BY path"
        for row in db.execute(query, values):
            if tuple(map(type, row)) != _TYPES:
                raise self.damaged(f"the entry {str(row[0])[:200]!r} has values of other types")
            yield SoundRow(*row)

    def vectors(self, db: sqlite3.Connection, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [N], ascending, and vectors [N, dim], float16, of all sounds.

        Raises
        ------
        InputError
            If a vector has another size or holds NaN.
        """
        rows = db.execute("SELECT id, vector FROM sounds ORDER BY id").fetchall()
        size = dim * _VECTOR.itemsize
        if not all(isinstance(vector, bytes) and len(vector) == size for _, vector in rows):
            raise self.damaged(f"expected vectors of {size} bytes")
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        found = np.frombuffer(bytearray().join([row[1] for row in rows]), _VECTOR)
        if not np.isfinite(found).all():
            raise self.damaged("a vector holds NaN or infinite values")
        return ids, found.reshape(len(rows), dim)

    def put(self, db: sqlite3.Connection, sound: SoundRow, vector: np.ndarray) -> None:
        """Insert a sound with the vector [dim] of its caption, or replace what is known of it."""
        packed = np.ascontiguousarray(vector, dtype=_VECTOR).tobytes()
        marks = ", ".join("?" * (len(sound) + 1))
        db.execute(
            f"INSERT OR REPLACE INTO sounds ({_COLUMNS}, vector) VALUES ({marks})", (*sound, packed)
        )

    def delete(self, db: sqlite3.Connection, paths: Iterable[str]) -> None:
        """Delete the sounds of these files, if they are there."""
        db.executemany("DELETE FROM sounds WHERE path = ?", [(path,) for path in paths])
