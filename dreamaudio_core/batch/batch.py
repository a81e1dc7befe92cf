"""A folder of results, one for each scene: nothing is lost, rendered twice or overwritten.

A result is written to `.staged` inside the folder, then recorded in the journal, then moved under
its name. A process that ends before the record leaves a scene that is rendered again; one that ends
after it leaves a staged file that the next process moves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Iterable

from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import file_digest
from ..scene.scene_files import to_row
from ..scene.scenes import Scene
from .journal import Journal

STAGED = ".staged"
LOCK = ".lock"


@dataclass(frozen=True)
class Row:
    """A scene and the SHA-256 of all that decides its sound."""

    scene: Scene
    digest: str

    @property
    def name(self) -> str:
        """Name of the scene."""
        return self.scene.name


@dataclass
class Report:
    """What became of the scenes.

    Parameters
    ----------
    done, before
        How many were rendered by this process, and by earlier ones.
    failed
        Why, by name.
    left
        How many were not reached.
    """

    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0

    @property
    def exit_code(self) -> int:
        """0 where every scene has its result."""
        return 1 if self.failed or self.left else 0

    def lines(self) -> list[str]:
        """The figures, and a line for each scene that failed."""
        figures = f"{self.done} done, {self.before} done before, {len(self.failed)} failed"
        head = figures + (f", {self.left} left" if self.left else "")
        return [head, *(f"failed: {name}: {reason}" for name, reason in self.failed.items())]


class SceneDigests:
    """SHA-256 of scenes; each sound file is read once."""

    def __init__(self) -> None:
        self._files: dict[Path, str] = {}

    def __call__(self, scene: Scene) -> str:
        """Digest of the fields that `generate` gets and of the references' files.

        Raises
        ------
        OSError
            If a file cannot be read.
        """
        # What a scene says to people and to evaluations does not change its sound.
        plain = replace(scene, target=None, expected=None, extra={})
        row = to_row(plain, Path())
        for values, reference in zip(row.get("references", []), scene.references):
            if reference.audio is not None:
                values["audio"] = self._file(reference.audio)
        return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()

    def _file(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = file_digest(path)
        return self._files[path]


class Batch:
    """A folder of results with its journal; a context manager that holds the folder's lock.

    Parameters
    ----------
    folder
        Created if missing.
    maker
        See `Journal`.
    redo
        Whether scenes that have changed since they were done are rendered again, in place of their
        results; they are refused otherwise.

    Raises
    ------
    InputError
        If another process works in the folder, or its journal does not fit.
    """

    def __init__(self, folder: Path, maker: dict[str, str], redo: bool = False):
        self.folder, self.redo, self.report = folder, redo, Report()
        try:
            (folder / STAGED).mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / LOCK)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"{folder}: another process works in this folder; wait for it, or choose another "
                "--out"
            ) from error
        except OSError as error:
            raise InputError(f"--out: {folder}: cannot be written ({error.strerror})") from error
        try:
            self.journal = Journal(folder, maker)
            self._done = {r["name"]: r for r in self.journal.records if r.get("event") == "done"}
            self._recover()
            _sync_folder(folder)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            (self.folder / STAGED).rmdir()
        self._lock.release()

    def plan(self, scenes: Iterable[Scene], suffix: str | None = None) -> list[Row]:
        """Scenes that are to be rendered, in their order; counts the others in the report.

        Parameters
        ----------
        suffix
            Of the results, where it is known. A scene whose file is there, though not from this
            batch, fails before it is rendered; without a suffix any file of its name counts.
        """
        rows, digest_of = [], SceneDigests()
        there = {path.stem: path for path in self.folder.iterdir() if path.is_file()}
        for scene in scenes:
            try:
                row = Row(scene, digest_of(scene))
            except OSError as error:
                reason = f"{error.filename}: cannot be read ({error.strerror})"
                self.failed(Row(scene, ""), reason)
                continue
            record = self._done.get(row.name)
            whole = record is not None and all(
                (self.folder / name).is_file() for name in record["files"]
            )
            if record is None or not whole:
                path = there.get(row.name)
                if suffix is not None:
                    path = self.folder / f"{row.name}{suffix}"
                mine = record is not None and path is not None and path.name in record["files"]
                if path is not None and path.exists() and not mine:
                    self.failed(row, _taken(path))
                else:
                    rows.append(row)
            elif record["scene"] == row.digest:
                self.report.before += 1
            elif self.redo:
                rows.append(row)
            else:
                self.failed(
                    row,
                    f"has changed since {', '.join(record['files'])} was made; give the scene "
                    "another name, or render it again with --redo",
                )
        self.report.left = len(rows)
        return rows

    def staged(self, name: str) -> Path:
        """Where a result is to be written; `name` is that of its file."""
        return self.folder / STAGED / name

    def done(
        self, row: Row, names: list[str], digests: list[str] | None = None, **details: Any
    ) -> list[Path]:
        """Record a scene whose results are staged under `names`, and move them into the folder.

        `digests` are the SHA-256 of files that are on disk already; without them the files are put
        there, and read.

        Raises
        ------
        InputError
            If a file of that name, which is not from this batch, is there.
        """
        earlier = self._done.get(row.name)
        replaced = earlier["files"] if earlier is not None else []
        for name in names:
            if (self.folder / name).exists() and name not in replaced:
                raise InputError(_taken(self.folder / name))
        record = {
            "event": "done",
            "name": row.name,
            "scene": row.digest,
            "files": names,
            "sha256": digests or [synced_digest(self.staged(name)) for name in names],
            "replaces": [name for name in names if name in replaced],
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **details,
        }
        self.journal.append(record)
        self._done[row.name] = record
        self._publish(record)
        self.report.done += 1
        self.report.left -= 1
        return [self.folder / name for name in names]

    def failed(self, row: Row, reason: str) -> None:
        """Record why a scene has no result; it is tried again next time."""
        self.journal.append(
            {"event": "failed", "name": row.name, "scene": row.digest, "reason": reason}
        )
        self.report.failed[row.name] = reason
        self.report.left = max(0, self.report.left - 1)

    def _publish(self, record: dict[str, Any]) -> None:
        for name in record["files"]:
            staged, path = self.staged(name), self.folder / name
            if name in record["replaces"]:
                os.replace(staged, path)
                continue
            try:
                os.link(staged, path)
            except FileExistsError as error:
                raise InputError(_taken(path)) from error
            except OSError:
                # A file system without links.
                if path.exists():
                    raise InputError(_taken(path)) from None
                os.rename(staged, path)
            staged.unlink(missing_ok=True)
        _sync_folder(self.folder)

    def _recover(self) -> None:
        """Move what was recorded as done and not moved; delete what was not recorded."""
        for record in list(self._done.values()):
            for name, digest in zip(record["files"], record["sha256"]):
                staged, path = self.staged(name), self.folder / name
                if not staged.is_file() or file_digest(staged) != digest:
                    continue
                if not path.exists() or name in record["replaces"]:
                    os.replace(staged, path)
                elif file_digest(path) != digest:
                    # Somebody put a file there between the record and the move.
                    self._done.pop(record["name"], None)
        shutil.rmtree(self.folder / STAGED)
        (self.folder / STAGED).mkdir()


def _taken(path: Path) -> str:
    return f"{path}: is there already and not from this batch; move it, or rename the scene"


def synced_digest(path: Path) -> str:
    """SHA-256 of a file whose bytes are on disk afterwards."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    return file_digest(path)


def _sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk, where the system has a way to."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
