"""Files written whole or not at all, and digests of files and folders."""

from __future__ import annotations

import hashlib
import os

import pytest

from dreamaudio_core.files import atomic_write, file_digest, folder_digest


def test_leftovers_of_killed_processes_are_deleted_when_stale(tmp_path):
    stale, recent, other = (
        tmp_path / name for name in (f".{'a' * 16}.part", f".{'b' * 16}.part", "audio.bin.part")
    )
    for path in (stale, recent, other):
        path.write_bytes(b"x")
    for path in (stale, other):
        os.utime(path, (1.0, 1.0))
    with atomic_write(tmp_path / "new") as temporary:
        temporary.write_bytes(b"y")
    assert sorted(tmp_path.iterdir()) == sorted([recent, other, tmp_path / "new"])


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    target = tmp_path / "new" / ("x" * 250 + ".txt")
    with atomic_write(target) as temporary:
        temporary.write_text("first")
        assert not target.exists()
    assert target.read_text() == "first"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), atomic_write(target) as temporary:
            temporary.write_text("half of the sec")
            raise error
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(OSError), atomic_write(tmp_path / "nothing"):
        pass


def test_digests_tell_contents_and_names_apart(tmp_path):
    for name, text in (("a.json", "1"), ("sub/b.json", "2"), ("c.txt", "3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert file_digest(tmp_path / "a.json") == hashlib.sha256(b"1").hexdigest()
    before = folder_digest(tmp_path, (".json",))
    (tmp_path / "c.txt").write_text("4")
    assert folder_digest(tmp_path, (".json",)) == before
    (tmp_path / "sub/b.json").rename(tmp_path / "sub/d.json")
    assert folder_digest(tmp_path, (".json",)) != before
