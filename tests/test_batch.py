"""Batches: what survives kills at every stage, what is refused, and the command as users run it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from dreamaudio_core.batch.batch import LOCK, STAGED, Batch
from dreamaudio_core.batch.journal import NAME, Journal
from dreamaudio_core.cli import main
from dreamaudio_core.errors import InputError
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.scene.scenes import Scene, SceneReference
from small_model import make_folder

ROOT = Path(__file__).parent.parent
MAKER = {"model": "a" * 64}
COUNT = 8
needs_kill = pytest.mark.skipif(os.name == "nt", reason="kills as POSIX systems do")


def scenes(count=COUNT):
    return [Scene("rain", name=f"r{k}", seed=k) for k in range(count)]


def render(batch, rows, text="sound of {}"):
    for row in rows:
        batch.staged(f"{row.name}.txt").write_text(text.format(row.name))
        batch.done(row, [f"{row.name}.txt"])


def records(folder):
    lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines][1:]


def everything(folder):
    return sorted(p.name for p in folder.iterdir() if p.name not in (NAME, LOCK, STAGED))


# Processes that are killed, for real, at a stage of keeping their second result.
KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from dreamaudio_core.batch import batch as module
from dreamaudio_core.scene.scenes import Scene

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def work(stage):
    with module.Batch(Path(sys.argv[1]), {maker!r}) as batch:
        scenes = [Scene("rain", name=f"r{{k}}", seed=k) for k in range({count})]
        for number, row in enumerate(batch.plan(scenes, ".txt")):
            batch.staged(f"{{row.name}}.txt").write_text(f"sound of {{row.name}}")
            if number == 1 and stage == "staged":
                module.file_digest = die
            elif number == 1 and stage == "half a record":
                with open(batch.journal.path, "ab") as file:
                    file.write(b'{{"event": "done", "name": "r')
                die()
            elif number == 1 and stage == "recorded":
                os.link = die
            elif number == 1 and stage == "moved":
                Path.unlink = die
            batch.done(row, [f"{{row.name}}.txt"])

for stage in ("staged", "half a record", "recorded", "moved"):
    child = os.fork()
    if not child:
        work(stage)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_kill
def test_killed_at_every_stage_nothing_is_lost_or_done_twice(tmp_path):
    folder, script = tmp_path / "out", tmp_path / "killed.py"
    script.write_text(KILLED.format(root=str(ROOT), maker=MAKER, count=COUNT))
    ended = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert ended.stdout.split() == ["-9"] * 4, ended.stderr
    with Batch(folder, MAKER) as batch:
        rows = batch.plan(scenes(), ".txt")
        # Each run made one result; those killed after the record have another one.
        assert [row.name for row in rows] == ["r6", "r7"]
        render(batch, rows)
        assert (batch.report.done, batch.report.before, batch.report.exit_code) == (2, 6, 0)
    counts = Counter(r["name"] for r in records(folder) if r["event"] == "done")
    assert counts == {f"r{k}": 1 for k in range(COUNT)}
    assert everything(folder) == [f"r{k}.txt" for k in range(COUNT)]
    for k in range(COUNT):
        assert (folder / f"r{k}.txt").read_text() == f"sound of r{k}"
    assert not (folder / STAGED).exists()


def test_a_changed_scene_is_refused_or_redone(tmp_path):
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"one")
    scene = Scene("rain", (SceneReference(sound, "rain"),), "r0")
    with Batch(tmp_path / "out", MAKER) as batch:
        render(batch, batch.plan([scene], ".txt"))
    same = replace(scene, extra={"note": "x"}, target=sound)
    sound.write_bytes(b"two")
    for changed in (replace(scene, steps=3), scene):
        with Batch(tmp_path / "out", MAKER) as batch:
            assert batch.plan([changed], ".txt") == []
            assert "--redo" in batch.report.failed["r0"] and batch.report.exit_code == 1
    with Batch(tmp_path / "out", MAKER, redo=True) as batch:
        render(batch, batch.plan([same], ".txt"), "again {}")
    assert (tmp_path / "out" / "r0.txt").read_text() == "again r0"
    with Batch(tmp_path / "out", MAKER) as batch:
        assert batch.plan([same], ".txt") == [] and batch.report.before == 1
    # A result that was taken away is made again.
    (tmp_path / "out" / "r0.txt").unlink()
    with Batch(tmp_path / "out", MAKER) as batch:
        assert len(batch.plan([same], ".txt")) == 1


def test_files_of_others_are_never_overwritten(tmp_path):
    (tmp_path / "r0.txt").write_text("mine")
    with Batch(tmp_path, MAKER) as batch:
        rows = batch.plan(scenes(2), ".txt")
        assert [row.name for row in rows] == ["r1"]
        assert "not from this batch" in batch.report.failed["r0"]
        # One that appears while the scene is rendered.
        (tmp_path / "r1.txt").write_text("mine too")
        with pytest.raises(InputError, match="r1.txt: is there already"):
            render(batch, rows)
    assert [(tmp_path / f"r{k}.txt").read_text() for k in (0, 1)] == ["mine", "mine too"]
    # Where the suffix is not known beforehand, any file of that name counts.
    (tmp_path / "r2.ogg").write_text("mine")
    with Batch(tmp_path, MAKER) as batch:
        assert [row.name for row in batch.plan(scenes(4))] == ["r3"]
        assert "r2.ogg: is there already" in batch.report.failed["r2"]


def test_a_file_system_without_links_serves_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Batch(tmp_path, MAKER) as batch:
        render(batch, batch.plan(scenes(2), ".txt"))
        rows = batch.plan(scenes(3))
        (tmp_path / "r2.txt").write_text("mine")
        with pytest.raises(InputError, match="r2.txt: is there already"):
            render(batch, rows)
    assert everything(tmp_path) == ["r0.txt", "r1.txt", "r2.txt"]


def test_a_redone_scene_survives_a_kill_before_its_file_is_replaced(tmp_path, monkeypatch):
    first, second = scenes(1), [replace(scenes(1)[0], steps=5)]
    with Batch(tmp_path, MAKER) as batch:
        render(batch, batch.plan(first, ".txt"))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, Batch(tmp_path, MAKER, redo=True) as batch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            render(batch, batch.plan(second, ".txt"), "again {}")
    assert (tmp_path / "r0.txt").read_text() == "sound of r0"
    with Batch(tmp_path, MAKER) as batch:
        assert batch.plan(second, ".txt") == [] and batch.report.before == 1
    assert (tmp_path / "r0.txt").read_text() == "again r0"


def test_a_folder_has_one_process_and_one_maker(tmp_path):
    with Batch(tmp_path, MAKER):
        with pytest.raises(InputError, match="another process works"):
            Batch(tmp_path, MAKER)
    with pytest.raises(InputError, match="begun with another model"):
        Batch(tmp_path, {"model": "b" * 64})
    with Batch(tmp_path, MAKER):
        pass
    with open(tmp_path / NAME, "a") as file:
        file.write("no record\n")
    with pytest.raises(InputError, match="line 2: not a record"):
        Batch(tmp_path, MAKER)
    (tmp_path / NAME).write_text('{"other": 1}\n')
    with pytest.raises(InputError, match="not a journal"):
        Journal(tmp_path, MAKER)


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("models") / "tiny"))


def write(path, count, **settings):
    crow = ROOT / "dreamaudio_core" / "examples" / "crow.flac"
    row = {"prompt": "a crow caws", "seconds": 0.64, "steps": 1, **settings}
    row["references"] = [{"audio": str(crow), "caption": "a crow", "start": 0.1}]
    rows = [{**row, "name": f"take {k}", "seed": k} for k in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_renders_each_scene_once(model, tmp_path, capsys):
    file, out = write(tmp_path / "scenes.jsonl", 2), tmp_path / "out"
    words = ["batch", file, "--out", str(out), "--model", model, "--format", "flac"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "2 done, 0 done before, 0 failed" in captured.err
    assert captured.out.splitlines() == [str(out / f"take {k}.flac") for k in (0, 1)]
    stamps = [(out / f"take {k}.flac").stat().st_mtime_ns for k in (0, 1)]
    assert main(words) == 0
    assert "0 done, 2 done before, 0 failed" in capsys.readouterr().err
    assert [(out / f"take {k}.flac").stat().st_mtime_ns for k in (0, 1)] == stamps
    # As `generate` with the same settings.
    single = ["generate", "--prompt", "a crow caws", "--seconds", "0.64", "--steps", "1"]
    single += ["--reference", str(ROOT / "dreamaudio_core/examples/crow.flac"), "a crow"]
    single += ["--at", "0.1", "--seed", "1", "--model", model, "--out", str(tmp_path / "x.flac")]
    assert main(single) == 0
    ours, rate = soundfile.read(out / "take 1.flac")
    theirs, expected_rate = soundfile.read(tmp_path / "x.flac")
    assert rate == expected_rate and abs(ours - theirs).max() < 1e-3
    assert main([*words[:-1], "wav"]) == 2
    assert "begun with another format" in capsys.readouterr().err


def test_one_bad_scene_does_not_end_the_others(model, tmp_path, capsys):
    file, out = tmp_path / "scenes.jsonl", tmp_path / "out"
    write(file, 3)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    first, *rest = file.read_text().splitlines()
    bad = {"prompt": "x", "name": "bad", "references": [{"audio": "broken.wav"}]}
    strange = {"prompt": "x", "name": "strange", "solver": "magic"}
    file.write_text("\n".join([json.dumps(bad), first, json.dumps(strange), *rest]))
    words = ["batch", str(file), "--out", str(out), "--model", model]
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "3 done, 0 done before, 2 failed" in told
    assert "failed: bad: reference 1 " in told and "failed: strange: solver" in told
    assert everything(out) == [f"take {k}.wav" for k in range(3)]
    # What failed is tried again.
    file.write_text(file.read_text().replace("magic", "euler").replace("broken.wav", "good.wav"))
    soundfile.write(tmp_path / "good.wav", [0.0, 0.5, -0.5] * 2000, 16_000)
    assert main(words) == 0
    assert "2 done, 3 done before, 0 failed" in capsys.readouterr().err


def test_scenes_without_sounds_are_refused_at_once(model, tmp_path, capsys):
    file = tmp_path / "scenes.jsonl"
    file.write_text('{"prompt": "x", "references": [{"label": "dog"}]}')
    assert main(["batch", str(file), "--out", str(tmp_path / "out"), "--model", model]) == 2
    assert "scene 00001: reference 1: audio: expected a sound file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# The command, which waits for ever before its third scene.
WAITS = """
import itertools, sys, time
sys.path.insert(0, {root!r})
from dreamaudio_core.cli import main
from dreamaudio_core.pipeline import DreamAudio

plain, calls = DreamAudio.generate, itertools.count(1)

def generate(*args, **kwargs):
    while next(calls) > 2:
        time.sleep(1)
    return plain(*args, **kwargs)

DreamAudio.generate = generate
main(sys.argv[1:])
"""


def wait_for(folder, count, process):
    """Wait until the journal has so many results."""
    end = time.monotonic() + 600
    while time.monotonic() < end and process.poll() is None:
        if (folder / NAME).exists() and (folder / NAME).read_bytes().count(b'"done"') >= count:
            return
        time.sleep(0.005)
    pytest.fail(f"no {count} results: {process.communicate()}")


@needs_kill
def test_killed_and_interrupted_and_taken_up_again(model, tmp_path, monkeypatch, capsys):
    count, out = 8, tmp_path / "out"
    file = write(tmp_path / "scenes.jsonl", count, steps=4)
    words = ["batch", file, "--out", str(out), "--model", model]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS.format(root=str(ROOT)), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(out, 2, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = len(everything(out))
    # The journal has a result before its file has its name.
    assert kept in (1, 2)

    plain, calls = DreamAudio.generate, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(*args, **kwargs)

    # A suite that a shell started in the background ignores Ctrl-C, and Python then does so too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(DreamAudio, "generate", interrupted)
            assert main(words) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    told = capsys.readouterr().err
    assert "2 done, " in told and " left" in told and "stopped" in told
    assert main(words) == 0
    assert "0 failed" in capsys.readouterr().err
    counts = Counter(r["name"] for r in records(out) if r["event"] == "done")
    assert len(counts) == count and set(counts.values()) == {1}
    assert everything(out) == sorted(f"take {k}.wav" for k in range(count))
    lengths = {soundfile.info(out / f"take {k}.wav").frames for k in range(count)}
    assert len(lengths) == 1


def test_a_full_disk_ends_the_batch(model, tmp_path, monkeypatch, capsys):
    file, out = write(tmp_path / "scenes.jsonl", 3), tmp_path / "out"
    words = ["batch", file, "--out", str(out), "--model", model]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert main(words) == 2
    told = capsys.readouterr().err
    assert "0 done, 0 done before, 0 failed, 3 left" in told and "free the disk" in told
    assert main(words) == 0
