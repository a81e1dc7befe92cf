"""Processes that are killed, for real, at the file operations of what they write, one after the
other: afterwards a file is whole or absent, and the same command ends what was begun.

The longer commands are killed at every third or fifteenth operation; `stride=1` tries them all.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from dreamaudio_core.batch.batch import LOCK, STAGED
from dreamaudio_core.batch.journal import NAME
from small_model import make_folder

ROOT = Path(__file__).parent.parent
CROW = ROOT / "dreamaudio_core" / "examples" / "crow.flac"

# Runs a command once for each of its file operations in a folder and for each of its statements of
# SQL, in a fresh folder, and kills it there; then runs it again to its end.
KILLER = """
import json, os, shutil, signal, sqlite3, sys
root, stride, folder, *words = sys.argv[1:]
sys.path[:0] = [root, os.path.join(root, "tests")]
import torch
torch.set_num_threads(1)
from dreamaudio_core.cli import main
import dreamaudio_core.batch.cli, dreamaudio_core.retrieval.cli, dreamaudio_core.pipeline
import dreamaudio_core.audio.write, dreamaudio_core.training.run_state

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.truncate", "os.rmdir", "shutil.rmtree"}

def checkpoint(folder, step):
    from pathlib import Path
    from dreamaudio_core.training.run_state import write_checkpoint
    losses = {"a": torch.full((1000,), float(step))}
    state = {"step": step, "settings": {}, "losses": losses, "ema": {}}
    write_checkpoint(Path(folder), step, state, keep=1)
    return 0

def work():
    if words[0] == "checkpoint":
        return checkpoint(folder, 1) or checkpoint(folder, 2)
    return main(words)

def child(kill_at):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    count = 0

    def reached(*_):
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event, values):
        if event in EVENTS and any(str(v).startswith(folder) for v in values[:2]):
            reached()

    plain = sqlite3.connect

    def connect(*args, **kwargs):
        connection = plain(*args, **kwargs)
        connection.set_trace_callback(reached)
        return connection

    if kill_at:
        sqlite3.connect = connect
        sys.addaudithook(audit)
    os._exit(work())

at = 1
while True:
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    first = child(at)
    found = sorted(os.path.relpath(os.path.join(at_, f), folder)
                   for at_, _, files in os.walk(folder) for f in files)
    shutil.copytree(folder, f"{folder}-{at}")
    again = child(0)
    shutil.copytree(folder, f"{folder}-{at}-again")
    print(json.dumps([at, first, again]), flush=True)
    if first >= 0:
        break
    at += int(stride)
"""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.version_info < (3, 10), reason="kills as POSIX systems do"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("models") / "tiny"))


def killed_everywhere(tmp_path, words, stride=1, again=0):
    """Pairs of folders: after a kill, and after the same command again."""
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    folder = tmp_path / "out"
    command = [sys.executable, script, str(ROOT), str(stride), str(folder), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    runs = [json.loads(line) for line in ended.stdout.splitlines()]
    assert runs, ended.stderr
    *killed, last = runs
    assert len(killed) >= 3 and all(run[1] == -9 for run in killed) and last[1] == 0, runs
    assert all(run[2] in (0, again) for run in runs), runs
    return [(Path(f"{folder}-{at}"), Path(f"{folder}-{at}-again")) for at, *_ in runs]


def test_a_generated_sound_appears_whole(model, tmp_path):
    out = tmp_path / "out" / "a.wav"
    words = ["generate", "--prompt", "a crow caws", "--model", model, "--seconds", "0.64"]
    words += ["--steps", "1", "--device", "cpu", "--out", out]
    # Where it was written before the kill, the same command refuses to overwrite it.
    for killed, again in killed_everywhere(tmp_path, words, again=2):
        files = [path.name for path in killed.iterdir() if path.suffix != ".part"]
        assert files in ([], ["a.wav"])
        for folder in [killed] * len(files) + [again]:
            assert soundfile.info(folder / "a.wav").frames == 10_240


def test_a_batch_has_each_result_once(model, tmp_path):
    file = tmp_path / "s.csv"
    file.write_text("prompt,seconds,steps\n" + "rain,0.64,1\n" * 2)
    words = ["batch", file, "--out", tmp_path / "out", "--model", model, "--device", "cpu"]
    names = ["00001.wav", "00002.wav"]
    stages = set()
    for killed, again in killed_everywhere(tmp_path, words, stride=3):
        there = sorted(path.name for path in killed.glob("*.wav"))
        stages.add(len(there))
        assert all(soundfile.info(killed / name).frames == 10_240 for name in there)
        kept = {p.name for p in again.iterdir()} - {NAME, LOCK, STAGED}
        assert sorted(kept) == names
        assert all(soundfile.info(again / name).frames == 10_240 for name in names)
        lines = [json.loads(line) for line in (again / NAME).read_text().splitlines()]
        done = Counter(line["name"] for line in lines if line.get("event") == "done")
        assert done == {"00001": 1, "00002": 1}
    assert stages == {0, 1, 2}


def test_a_library_is_whole_after_the_same_command(tmp_path):
    from dreamaudio_core.cli import main

    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for k in range(2):
        shutil.copy(CROW, sounds / f"crow{k}.flac")
        (sounds / f"crow{k}.txt").write_text("a crow caws")
    words = ["library", "add", sounds, "--library", tmp_path / "out" / "my.sqlite"]
    folders = killed_everywhere(tmp_path, words, stride=15)
    for _, again in folders:
        library = str(again / "my.sqlite")
        assert main(["library", "search", "a crow caws", "--library", library]) == 0
        assert not list(again.rglob("*.part"))


def test_one_whole_checkpoint_is_always_there(tmp_path):
    from dreamaudio_core.training.run_state import (
        read_checkpoint,
        remove_partial_files,
        saved_checkpoints,
    )

    newest = []
    for killed, again in killed_everywhere(tmp_path, ["checkpoint"]):
        found = saved_checkpoints(killed)
        newest.append(found[-1][0] if found else 0)
        for step, path in found:
            assert read_checkpoint(path, step)["losses"]["a"][0] == step
        remove_partial_files(killed)
        assert not list(killed.rglob("*.part"))
        assert [step for step, _ in saved_checkpoints(again)] == [2]
    assert newest == sorted(newest) and set(newest) == {0, 1, 2}
