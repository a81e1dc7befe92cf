"""Files: writing them whole or not at all, and telling them apart by their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

# A killed process cannot delete its temporary files; no write takes as long as a day.
STALE_SECONDS = 86_400.0
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.part")
_swept: set[Path] = set()


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file that appears complete or not at all.

    Yields a temporary path in the same folder (created if missing). On success it replaces `path`;
    on any exception, also Ctrl-C, it is deleted and `path` stays as it was. What killed processes
    left in the folder is deleted once it is older than `STALE_SECONDS`.

    Parameters
    ----------
    path : str or Path
        The file to write.

    Raises
    ------
    OSError
        If the folder or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    # The name does not grow with that of the file, which may already have the longest one allowed.
    temporary = path.with_name(f".{os.getpid():08x}{secrets.token_hex(4)}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete stale temporary files of a folder, once in the life of this process."""
    # Listing a large folder, such as a feature cache, for each of its files would be slow.
    if folder.absolute() in _swept:
        return
    _swept.add(folder.absolute())
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                # Another process may finish or delete it at the same moment.
                with contextlib.suppress(OSError):
                    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    # A clock that was set forward makes all files old.
                    if age > STALE_SECONDS and not _runs(int(entry.name[1:9], 16)):
                        os.unlink(entry.path)


def _runs(process: int) -> bool:
    """Whether a process of that number is known to run on this machine."""
    if os.name == "nt":
        return False  # Where asking would end it.
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def folder_digest(folder: str | Path, suffixes: tuple[str, ...]) -> str:
    """SHA-256 over the names and bytes of a folder's files with the given suffixes, hexadecimal."""
    folder = Path(folder)
    digest = hashlib.sha256()
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in suffixes and path.is_file()
    }
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def content_digest(path: str | Path) -> str:
    """Short digest of a weight file or model folder; what is neither, such as a hub id, is its
    own.
    """
    found = Path(path).expanduser()
    if found.is_dir():
        return folder_digest(found, (".json", ".safetensors", ".model", ".bin", ".txt"))[:16]
    return file_digest(found)[:16] if found.is_file() else str(path)
