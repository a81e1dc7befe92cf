"""Real disks that are full, or that may not be written: at every stage an error in one line,
nothing lost, nothing half under its name, and the same command goes on once there is room.

The disks are file systems in memory, so these tests need the right to mount one.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from dreamaudio_core.batch.batch import LOCK, STAGED
from dreamaudio_core.batch.journal import NAME
from dreamaudio_core.cli import main
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.training.run_state import saved_checkpoints, write_checkpoint
from small_model import make_folder

CROW = Path(__file__).parent.parent / "dreamaudio_core" / "examples" / "crow.flac"
PAGE = 4096
SIZE = 256 * PAGE
FILLER = "filler"


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    words = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or mount is None:
        pytest.skip("mounts a file system as Linux does")
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("models") / "tiny"))


def fill(disk, pages):
    """Leave so many pages free."""
    (disk / FILLER).unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free
    with open(disk / FILLER, "wb") as file:
        file.write(b"x" * (free - pages * PAGE))
    assert shutil.disk_usage(disk).free == pages * PAGE


def parts_of(model):
    return [f"--{part}={model}/{part}.safetensors" for part in ("flow", "vae", "vocoder")]


def partial(folder):
    return [path for path in folder.rglob("*.part")]


def refused(capsys, words):
    """Whether a command was refused in one line, as it has to be where it was not done."""
    code = main(words)
    told = capsys.readouterr().err.strip().splitlines()
    if code:
        assert code == 2 and told[-1].startswith("error: ")
        assert not any("Traceback" in line for line in told)
    return code == 2


def test_a_generated_sound_is_whole_or_absent(model, disk, capsys):
    out = disk / "a.wav"
    words = ["generate", "--prompt", "a crow caws", "--model", model, "--seconds", "0.64"]
    words += ["--steps", "1", "--device", "cpu", "--out", str(out)]
    for pages, enough in ((0, False), (1, False), (3, False), (8, True)):
        fill(disk, pages)
        assert refused(capsys, words) != enough
        assert out.exists() == enough and not partial(disk)
    assert soundfile.info(out).frames == 10_240
    # A file that was there stays as it was where its successor finds no room.
    before = out.read_bytes()
    fill(disk, 1)
    assert refused(capsys, [*words, "--overwrite"])
    assert out.read_bytes() == before and not partial(disk)


def test_a_batch_goes_on_where_the_disk_was_full(model, disk, tmp_path, capsys):
    reference = {"audio": str(CROW), "caption": "a crow"}
    rows = [
        {"prompt": "a crow caws", "name": f"r{k}", "seconds": 0.64, "steps": 1, "seed": k}
        for k in range(3)
    ]
    file = tmp_path / "scenes.jsonl"
    file.write_text("".join(json.dumps({**row, "references": [reference]}) + "\n" for row in rows))
    counts = []
    for pages in (0, 1, 4, 7, 9, 14, 16):
        out = disk / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = ["batch", str(file), "--out", str(out), "--model", model, "--device", "cpu"]
        fill(disk, pages)
        assert refused(capsys, words)
        (disk / FILLER).unlink()
        assert main(words) == 0
        told = capsys.readouterr().err
        counts.append(int(told.split(" done before")[0].split()[-1]))
        lines = [json.loads(x) for x in (out / NAME).read_text().splitlines()]
        done = Counter(line["name"] for line in lines if line.get("event") == "done")
        assert done == {f"r{k}": 1 for k in range(3)}
        names = sorted(p.name for p in out.iterdir() if p.name not in (NAME, LOCK, STAGED))
        assert names == [f"r{k}.wav" for k in range(3)]
        assert all(soundfile.info(out / name).frames == 10_240 for name in names)
    # The disk was full before and after results.
    assert min(counts) == 0 and max(counts) == 2


def test_a_library_is_complete_after_the_same_command_again(disk, tmp_path, capsys):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for k in range(3):
        shutil.copy(CROW, sounds / f"crow{k}.flac")
    (sounds / "crow0.txt").write_text("a crow caws")
    library = str(disk / "my.sqlite")
    words = ["library", "add", str(sounds), "--library", library]
    told = []
    for pages in (0, 1, 8, 14, 24, 64):
        for path in disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        fill(disk, pages)
        told.append(refused(capsys, words))
        (disk / FILLER).unlink()
        assert main(words) == 0
        capsys.readouterr()
        assert main(["library", "list", "--library", library]) == 0
        listed = capsys.readouterr().out
        assert all(f"crow{k}.flac" in listed for k in range(3)) and "a crow caws" in listed
        assert main(["library", "search", "a crow caws", "--library", library]) == 0
        # All three have this caption, so any may be first.
        assert re.search(r"crow[012]\.flac", capsys.readouterr().out)
    assert told[0] and not told[-1] and told.count(True) >= 3


def test_checkpoints_before_stay_and_weights_are_not_half_written(model, disk, capsys):
    import torch

    state = {"step": 1, "settings": {}, "losses": {}, "ema": {"a": torch.ones(20_000)}}
    write_checkpoint(disk, 1, state, keep=2)
    for pages in (0, 1, 10, 19):
        fill(disk, pages)
        with pytest.raises(CheckpointError, match="free disk space"):
            write_checkpoint(disk, 2, {**state, "step": 2}, keep=1)
        assert [step for step, _ in saved_checkpoints(disk)] == [1] and not partial(disk)
    (disk / FILLER).unlink()
    write_checkpoint(disk, 2, {**state, "step": 2}, keep=1)
    assert [step for step, _ in saved_checkpoints(disk)] == [2]
    # Folders of models are copies of several files.
    for pages in (0, 2, 20, 60):
        fill(disk, pages)
        words = ["assemble", model, *parts_of(model), "--out", str(disk / "model")]
        assert refused(capsys, words) and not partial(disk)
        shutil.rmtree(disk / "model", ignore_errors=True)


def test_a_disk_that_may_only_be_read(model, disk, tmp_path, capsys):
    scenes = tmp_path / "s.csv"
    scenes.write_text("prompt,seconds,steps\nrain,0.64,1\n")
    shutil.copy(CROW, tmp_path / "crow.flac")
    (disk / "kept.wav").write_bytes(b"mine")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    generate = ["generate", "--prompt", "rain", "--model", model, "--steps", "1", "--device", "cpu"]
    for words in (
        [*generate, "--out", str(disk / "a.wav")],
        [*generate, "--out", str(disk / "kept.wav"), "--overwrite"],
        ["batch", str(scenes), "--out", str(disk / "out"), "--model", model],
        ["library", "add", str(tmp_path), "--library", str(disk / "my.sqlite")],
        ["assemble", model, *parts_of(model), "--out", str(disk / "model")],
    ):
        assert refused(capsys, words), words[0]
    assert [path.name for path in disk.iterdir()] == ["kept.wav"]
    assert (disk / "kept.wav").read_bytes() == b"mine"
