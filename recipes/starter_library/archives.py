"""Files in the archives that games keep sounds in: zip, Qt resources, OpenClonk groups."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

# C4Group: a gzip stream under another magic number; a scrambled header, entries, then the files.
_GROUP_MAGIC, _GZIP_MAGIC = b"\x1e\x8c", b"\x1f\x8b"
_GROUP_HEADER, _GROUP_ENTRY, _GROUP_KEY = 204, 316, 0xED


def read_member(path: Path, member: str) -> bytes:
    """The file `member` of the archive `path`; the kind of archive follows from its name.

    Raises
    ------
    KeyError
        If there is no such file in the archive.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    if path.suffix == ".rcc":
        return _resource(path.read_bytes(), member)
    return _group_member(path.read_bytes(), member)


def _resource(data: bytes, member: str) -> bytes:
    """A file of a Qt resource collection: a tree of nodes, their names, and the data."""
    version, tree, payload, names = struct.unpack(">4i", data[4:20])
    size = 22 if version >= 2 else 14

    def name(offset: int) -> str:
        length = struct.unpack_from(">H", data, names + offset)[0]
        return data[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    node = 0
    for part in member.split("/"):
        count, first = struct.unpack_from(">2I", data, tree + node * size + 6)
        children = {
            name(struct.unpack_from(">I", data, tree + child * size)[0]): child
            for child in range(first, first + count)
        }
        node = children[part]
    flags = struct.unpack_from(">H", data, tree + node * size + 4)[0]
    start = payload + struct.unpack_from(">I", data, tree + node * size + 10)[0]
    length = struct.unpack_from(">I", data, start)[0]
    content = data[start + 4 : start + 4 + length]
    return zlib.decompress(content[4:]) if flags & 1 else content


def _group_member(data: bytes, member: str) -> bytes:
    """A file of an OpenClonk group; groups lie in groups."""
    if data[:2] in (_GROUP_MAGIC, _GZIP_MAGIC):
        data = zlib.decompress(_GZIP_MAGIC + data[2:], 31)
    header = bytearray(data[:_GROUP_HEADER])
    for i in range(0, _GROUP_HEADER - 2, 3):
        header[i], header[i + 2] = header[i + 2], header[i]
    count = struct.unpack_from("<i", bytes(b ^ _GROUP_KEY for b in header), 36)[0]
    content = _GROUP_HEADER + _GROUP_ENTRY * count
    first, _, rest = member.partition("/")
    for k in range(count):
        entry = data[_GROUP_HEADER + _GROUP_ENTRY * k :][:_GROUP_ENTRY]
        if entry[:260].split(b"\0")[0].decode("latin-1") != first:
            continue
        _, _, size, _, offset = struct.unpack_from("<5i", entry, 260)
        found = data[content + offset : content + offset + size]
        return _group_member(found, rest) if rest else found
    raise KeyError(f"no {first} in the group")
