"""The file of a library: one SQLite database with captions, sounds and vectors.

A library may come from somebody else, so nothing in the file is trusted: its tables must be exactly
those written here, values are checked when they are read, and no path in it is ever written to.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..json_text import parse_json

_APPLICATION_ID = 0x44724C62
_VERSION = 1
_VECTOR = np.dtype("<f2")
"""Unit vectors lose less than 0.001 of their similarities in half precision."""
_MAX_DIM = 65_536
_TABLES = {
    "settings": "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # Vectors lie apart from the sounds, so that a scan of either table reads nothing else.
    "captions": "CREATE TABLE captions (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, "
    "vector BLOB NOT NULL)",
    # A sound without a caption cannot be used; `problem` says why.
    "sounds": "CREATE TABLE sounds (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, "
    "size INTEGER NOT NULL, mtime INTEGER NOT NULL, stamp TEXT NOT NULL, digest TEXT NOT NULL, "
    "seconds REAL NOT NULL, caption INTEGER REFERENCES captions, source TEXT NOT NULL, "
    "problem TEXT NOT NULL)",
    "clap_vectors": "CREATE TABLE clap_vectors (id INTEGER PRIMARY KEY REFERENCES sounds "
    "ON DELETE CASCADE, vector BLOB NOT NULL)",
    "sounds_caption": "CREATE INDEX sounds_caption ON sounds (caption)",
}
_WRONG_TYPES = """
SELECT path FROM sounds WHERE typeof(path) != 'text' OR typeof(size) != 'integer'
OR typeof(mtime) != 'integer' OR typeof(stamp) != 'text' OR typeof(digest) != 'text'
OR typeof(seconds) != 'real' OR typeof(caption) NOT IN ('integer', 'null')
OR typeof(source) != 'text' OR typeof(problem) != 'text'
UNION ALL SELECT text FROM captions WHERE typeof(text) != 'text' LIMIT 1
"""


@dataclass(frozen=True)
class Encoder:
    """The network that a library's vectors come from: digest of its files, where they were, and
    the size of its vectors.
    """

    identity: str
    source: str
    dim: int


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
    def write(self) -> Iterator[sqlite3.Connection]:
        """Connection inside a transaction that no other process can enter: committed at the end,
        undone by an error. The first one creates the library.

        Raises
        ------
        InputError
            If the file cannot be written, is damaged or is another program's.
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
                db.execute("INSERT INTO settings VALUES ('revision', '0')")
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
                db.execute("PRAGMA trusted_schema = OFF")
                db.execute("PRAGMA foreign_keys = ON")
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
        row = db.execute("SELECT value FROM settings WHERE name = 'revision'").fetchone()
        return str(row[0]) if row else ""

    # Encoders

    def encoder(self, db: sqlite3.Connection, name: str) -> Encoder | None:
        """Encoder of the `text` or `clap` vectors; None if there are none yet."""
        row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        try:
            found = Encoder(**parse_json(row[0]))
            types = (type(found.identity), type(found.source), type(found.dim))
            if types != (str, str, int) or not 1 <= found.dim <= _MAX_DIM:
                raise ValueError
        except (ValueError, TypeError) as error:
            raise self.damaged(f"{name}: expected the description of an encoder") from error
        return found

    def set_encoder(self, db: sqlite3.Connection, name: str, encoder: Encoder) -> None:
        """Set the encoder of the `text` or `clap` vectors, or check that it is the same.

        Raises
        ------
        InputError
            If the library has vectors of another encoder.
        """
        found = self.encoder(db, name)
        if found is None:
            db.execute("INSERT INTO settings VALUES (?, ?)", (name, json.dumps(vars(encoder))))
        elif found.identity != encoder.identity:
            raise self.other_encoder(name, found)

    def other_encoder(self, name: str, found: Encoder) -> InputError:
        """Error for vectors of another encoder than the present one."""
        kind = {"text": "text encoder", "clap": "CLAP model"}[name]
        return InputError(
            f"library {self.path}: was indexed with another {kind} ({found.source}); name that "
            "one, or add the sounds to a new library"
        )

    # Vectors

    def check_types(self, db: sqlite3.Connection) -> None:
        """Check the types of all values that are not vectors.

        Raises
        ------
        InputError
            If one is of another type.
        """
        wrong = db.execute(_WRONG_TYPES).fetchone()
        if wrong:
            raise self.damaged(f"the entry {str(wrong[0])[:200]!r} has values of other types")

    def vectors(
        self, db: sqlite3.Connection, table: str, dim: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids [N], ascending, and vectors [N, dim], float32, of `captions` or `clap_vectors`.

        Raises
        ------
        InputError
            If a vector has another size or holds NaN.
        """
        rows = db.execute(f"SELECT id, vector FROM {table} ORDER BY id").fetchall()
        size = dim * _VECTOR.itemsize
        if not all(isinstance(vector, bytes) and len(vector) == size for _, vector in rows):
            raise self.damaged(f"{table}: expected vectors of {size} bytes")
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        found = np.frombuffer(b"".join([row[1] for row in rows]), _VECTOR).astype(np.float32)
        if not np.isfinite(found).all():
            raise self.damaged(f"{table}: a vector holds NaN or infinite values")
        return ids, found.reshape(len(rows), dim)

    def caption_id(self, db: sqlite3.Connection, text: str) -> int | None:
        """Row of a caption; None if it is new."""
        row = db.execute("SELECT id FROM captions WHERE text = ?", (text,)).fetchone()
        return row[0] if row else None

    def put_caption(self, db: sqlite3.Connection, text: str, vector: np.ndarray) -> int:
        """Insert a caption with its vector [dim]; returns its row."""
        cursor = db.execute(
            "INSERT INTO captions (text, vector) VALUES (?, ?)", (text, _packed(vector))
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def put_sound(
        self,
        db: sqlite3.Connection,
        path: str,
        size: int,
        mtime: int,
        stamp: str,
        digest: str,
        seconds: float,
        caption: int | None,
        source: str,
        problem: str = "",
        clap: np.ndarray | None = None,
    ) -> None:
        """Insert a sound, or replace what is known of it; `clap` is its CLAP vector [dim]."""
        db.execute("DELETE FROM sounds WHERE path = ?", (path,))
        values = (path, size, mtime, stamp, digest, float(seconds), caption, source, problem)
        row = db.execute(
            "INSERT INTO sounds (path, size, mtime, stamp, digest, seconds, caption, source, "
            "problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        if clap is not None:
            db.execute("INSERT INTO clap_vectors VALUES (?, ?)", (row, _packed(clap)))

    def delete(self, db: sqlite3.Connection, paths: list[str]) -> None:
        """Delete sounds, and the captions that no other sound has."""
        db.executemany("DELETE FROM sounds WHERE path = ?", [(path,) for path in paths])
        db.execute(
            "DELETE FROM captions WHERE NOT EXISTS "
            "(SELECT 1 FROM sounds WHERE sounds.caption = captions.id)"
        )


def _packed(vector: np.ndarray) -> bytes:
    return np.ascontiguousarray(vector, dtype=_VECTOR).tobytes()
