"""Batches spread with Ray: a real local Ray, real workers, one of them killed."""

import json
import os
import signal
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from dreamaudio_core.batch.batch import LOCK, STAGED, Batch
from dreamaudio_core.batch.journal import NAME
from dreamaudio_core.batch.ray_actor import Mark, Worker
from dreamaudio_core.batch.ray_crew import MAX_ENDS, Cluster, render_with_ray
from dreamaudio_core.batch.rendering import Rendered, Settings
from dreamaudio_core.cli import main
from dreamaudio_core.errors import InputError
from dreamaudio_core.scene.scene_files import read_scenes
from dreamaudio_core.scene.scenes import Scene
from small_model import make_folder

CROW = Path(__file__).parent.parent / "dreamaudio_core" / "examples" / "crow.flac"
COUNT = 12


@pytest.fixture(scope="module", autouse=True)
def _ray():
    ray = pytest.importorskip("ray")
    # Workers cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("models") / "tiny"))


def write(path, count, **settings):
    row = {"prompt": "a crow caws", "seconds": 0.64, "steps": 4, **settings}
    row["references"] = [{"audio": str(CROW), "caption": "a crow", "start": 0.1}]
    rows = [{**row, "name": f"take {k}", "seed": k} for k in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def done(folder):
    lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    return [r for r in map(json.loads, lines) if r.get("event") == "done"]


def results(folder):
    return {p.name: p for p in folder.iterdir() if p.name not in (NAME, LOCK, STAGED)}


def workers(mark):
    """Processes that work as our actors, idle or not; `mark` is in the environment of this run, as
    others may have workers on this machine too.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            ours = mark.encode() in (place / "environ").read_bytes()
            if ours and (place / "cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(int(place.name))
        except OSError:
            pass
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds workers as Linux lists them")
def test_a_killed_worker_loses_nothing_and_the_sounds_are_those_of_one_process(
    model, tmp_path, capfd, monkeypatch
):
    import torch

    file, out, single = write(tmp_path / "s.jsonl", COUNT), tmp_path / "out", tmp_path / "single"
    killed = []
    monkeypatch.setenv("DREAMAUDIO_TEST_RUN", mark := uuid.uuid4().hex)
    plain = Batch.done

    def done_and_kill(self, *given, **details):
        found = plain(self, *given, **details)
        if not killed and len(done(out)) >= 2:
            killed.append(workers(mark)[0])
            os.kill(killed[0], signal.SIGKILL)
        return found

    words = ["batch", str(file), "--model", model, "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "done", done_and_kill)
        assert main([*words, "--out", str(out), "--ray", "--actors", "2"]) == 0
    assert killed
    told = capfd.readouterr()
    assert f"{COUNT} done, 0 done before, 0 failed" in told.err
    assert sorted(told.out.splitlines()) == sorted(str(out / f"take {k}.wav") for k in range(COUNT))
    assert Counter(r["name"] for r in done(out)) == {f"take {k}": 1 for k in range(COUNT)}
    assert not (out / STAGED).exists()
    # The folder can be taken up by one process, and is that of one process.
    assert main([*words, "--out", str(out)]) == 0
    assert f"0 done, {COUNT} done before" in capfd.readouterr().err
    torch.set_num_threads(1)
    assert main([*words, "--out", str(single)]) == 0
    assert results(out).keys() == results(single).keys()
    for name, path in results(single).items():
        ours, theirs = soundfile.read(results(out)[name])[0], soundfile.read(path)[0]
        # Actors may have more threads than one, which sum in another order.
        assert ours.shape == theirs.shape and abs(ours - theirs).max() < 1e-3


@dataclass
class Odd:
    """Renders a text, and ends its process, fails or finds the disk full as the prompt says."""

    settings: Settings

    def render(self, scene, path):
        if scene.prompt == "end":
            os._exit(1)
        if scene.prompt == "fail":
            return Rendered(reason="no such thing")
        path.write_text(scene.references[0].audio.read_text() + scene.name)
        return Rendered({"seed": scene.seed})


def test_workers_that_end_again_and_again_and_machines_without_the_folder(
    model, tmp_path, monkeypatch
):
    sound = tmp_path / "sound.wav"
    sound.write_text("sound of ")
    file = tmp_path / "s.jsonl"
    prompts = ["rain", "end", "fail", "rain", "rain"]
    reference = [{"audio": "sound.wav"}]
    lines = (json.dumps({"prompt": p, "references": reference}) for p in prompts)
    file.write_text("\n".join(lines))
    # As on a machine that does not see the folder.
    monkeypatch.setattr(Mark, "__reduce__", lambda self: (Mark, (tmp_path / "no", "")))
    settings = Settings(model, device="cpu")
    with Batch(tmp_path / "out", settings.maker()) as batch:
        rows = batch.plan(read_scenes(file), ".wav")
        outcomes = render_with_ray(
            batch, rows, settings, settings.maker(), Cluster(actors=2), renderer=Odd
        )
        for row, rendered in outcomes:
            if rendered.reason:
                batch.failed(row, rendered.reason)
            else:
                batch.done(row, [f"{row.name}.wav"], **rendered.details)
        assert batch.report.failed.keys() == {"00002", "00003"}
        assert f"{MAX_ENDS} workers ended over it" in batch.report.failed["00002"]
        assert batch.report.failed["00003"] == "no such thing"
    names = {"00001", "00004", "00005"}
    assert results(tmp_path / "out").keys() == {f"{name}.wav" for name in names}
    for name in names:
        assert (tmp_path / "out" / f"{name}.wav").read_text() == f"sound of {name}"


def test_a_worker_refuses_another_model_and_a_broken_one(model, tmp_path):
    settings, mark = Settings(model, device="cpu"), Mark(tmp_path / "mark", "x")
    other = Worker(settings, {**settings.maker(), "model": "0" * 16}, mark)
    assert "the model differs" in other.start().problem
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    broken = Settings(str(tmp_path / "broken"), device="cpu")
    assert "config.json" in Worker(broken, settings.maker(), mark).start().problem
    assert not mark.seen()
    mark.path.write_text("x")
    worker = Worker(settings, settings.maker(), mark)
    assert worker.start() == worker.start() and worker.start().shared
    # A result that is no fault of input is told, with its traceback.
    strange = worker.render(Scene("x", solver="magic"), tmp_path / "a.wav", None)
    assert "solver" in strange.rendered.reason and not strange.rendered.sha256


def test_what_is_refused(model, tmp_path, monkeypatch, capsys):
    file = str(write(tmp_path / "s.jsonl", 1))
    words = ["batch", file, "--out", str(tmp_path / "out"), "--model", model, "--device", "cpu"]
    assert main([*words, "--actors", "2"]) == 2
    assert "together with --ray" in capsys.readouterr().err
    assert main([*words, "--ray", "--actors", "0"]) == 2
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*words, "--ray"]) == 2
    assert "pip install 'dreamaudio[ray]'" in capsys.readouterr().err
    assert not results(tmp_path / "out")
    with Batch(tmp_path / "out", Settings(model).maker()) as batch:
        with pytest.raises(InputError, match="needs the package ray"):
            next(render_with_ray(batch, [], Settings(model), {}, Cluster()))
