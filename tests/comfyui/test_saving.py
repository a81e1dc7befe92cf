"""Save Audio when it is killed or has no room: a file is whole or absent."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests
import soundfile
from comfy_server import PACK, interpreter
from graphs import node, scene

SCRIPT = Path(__file__).parent / "saves.py"
FORMATS = ("flac", "wav", "wav 24-bit", "wav float", "mp3", "opus")
PAGE = 4096

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills as POSIX systems do")


def test_a_sound_is_whole_or_absent_in_every_format(comfyui, tmp_path):
    command = [interpreter(comfyui), SCRIPT, comfyui, PACK, tmp_path / "tries"]
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, cwd=tmp_path
    )
    tries = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("[")]
    assert ended.returncode == 0 and tries, ended.stderr[-3000:]
    kills, full = Counter(), Counter()
    for format, how, code, folder in tries:
        found = [p for p in Path(folder, "output").iterdir() if not p.name.endswith(".part")]
        if code:
            kills[format] += code == -9
            full[format] += code == 3
            # Killed after its last operation it may be there, but whole.
            assert code == -9 or not list(Path(folder, "output").iterdir()), (format, how)
            assert code == -9 or not list(Path(folder, "temp").iterdir()), (format, how)
        else:
            assert len(found) == 1
        for path in found:
            assert path.name.startswith("take_00001_.")
            assert abs(soundfile.info(path).duration - 2.0) < 0.2, (format, how)
            (whole,) = (f for g, _, c, f in tries if g == format and not c)
            whole = next(Path(whole, "output").glob("take*"))
            assert path.stat().st_size == whole.stat().st_size
    assert all(kills[format] >= 2 and full[format] == 2 for format in FORMATS), (kills, full)


@pytest.fixture
def disk(base):
    """A folder of ComfyUI's output folder on a disk of 1 MB."""
    folder, mount = base / "output" / "small disk", shutil.which("mount")
    if not sys.platform.startswith("linux") or mount is None:
        pytest.skip("mounts a file system as Linux does")
    folder.mkdir(parents=True)
    words = [mount, "-t", "tmpfs", "-o", f"size={256 * PAGE}", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("mounting a file system is not permitted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.mark.parametrize("format", ["wav", "flac", "mp3"])
def test_a_full_disk_is_told_and_the_next_run_saves(server, disk, format):
    graph = scene(prefix="x")
    graph["save"]["inputs"] |= {"filename_prefix": "small disk/take", "format": format}
    with open(disk / "filler", "wb") as file:
        file.write(b"x" * (shutil.disk_usage(disk).free - PAGE))
    run = server.run(graph)
    assert run.error is not None and "'small disk/take' cannot be saved" in run.message
    assert "No space left on device" in run.message
    assert [p.name for p in disk.iterdir()] == ["filler"]
    (disk / "filler").unlink()
    run = server.run(graph)
    assert run.error is None and run.executed == ["save"], "nothing is computed again"
    (saved,) = disk.iterdir()
    assert saved.name == f"take_00001_.{format}"
    assert abs(soundfile.info(saved).duration - 2.56) < 0.2


def test_keep_pressed_twice_gives_two_files(server, base):
    graph = scene(prefix="kept")
    graph["save"] = node("DreamAudioPreviewAudio", audio=["vocode", 0])
    (shown,) = server.run(graph).outputs["save"]["audio"]
    name = f"{shown['filename']} [temp]"
    folder = base / "output" / "audio"
    before = set(folder.glob("*")) if folder.exists() else set()
    answers = [
        requests.post(server.url("dreamaudio/keep"), json={"audio": name}, timeout=60).json()
        for _ in range(2)
    ]
    assert len({answer["filename"] for answer in answers}) == 2
    assert len(set(folder.glob("*")) - before) == 2
