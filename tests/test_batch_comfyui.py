"""Batches on servers: a stub that refuses, answers late, loses its queue or stays away, and the
filling of workflows. tests/comfyui has real servers.
"""

import json
import threading
import time
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dreamaudio_core.batch import comfyui
from dreamaudio_core.batch.journal import NAME
from dreamaudio_core.batch.workflow import fill_workflow, read_workflow
from dreamaudio_core.cli import main
from dreamaudio_core.errors import InputError
from dreamaudio_core.scene.scenes import Scene, SceneReference

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "workflows" / "api" / "1b_full_chain.json"
TAKES = 0.03


class Stub:
    """Enough of a ComfyUI for a batch; a job's result is its prompt."""

    def __init__(self):
        self.jobs, self.inputs, self.posted, self.down = {}, {}, [], False
        self.broken = "fail"
        self.fault = lambda number, graph: None
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, data, status=200):
                data = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def do_GET(self):
                if stub.down:
                    return self.answer(b"starting", 503)
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                if url.path == "/queue":
                    waiting = [[0, i] for i, job in stub.jobs.items() if not stub.ended(job)]
                    return self.answer({"queue_running": waiting, "queue_pending": []})
                if url.path.startswith("/history/"):
                    job_id = url.path.rpartition("/")[2]
                    job = stub.jobs.get(job_id)
                    ended = job is not None and stub.ended(job)
                    return self.answer({job_id: stub.entry(job_id)} if ended else {})
                if query["type"] == "input":
                    found = stub.inputs.get(query["filename"])
                    return self.answer(found or b"", 200 if found else 404)
                return self.answer(stub.prompt(query["filename"].rpartition(".")[0]).encode())

            do_HEAD = do_GET

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if stub.down:
                    return self.answer(b"starting", 503)
                if self.path == "/upload/image":
                    name = body.split(b'filename="')[1].split(b'"')[0].decode()
                    data = body.split(b"octet-stream\r\n\r\n")[1].rpartition(b"\r\n--")[0]
                    stub.inputs[name] = data
                    return self.answer({"name": name})
                call = json.loads(body)
                stub.posted.append(call["prompt_id"])
                fault = stub.fault(len(stub.posted), call["prompt"])
                if fault == "refuse":
                    error = {"message": "Value not in list", "details": "model_name"}
                    nodes = {"1": {"class_type": "DreamAudioLoadModel", "errors": [error]}}
                    return self.answer({"error": {"message": "x"}, "node_errors": nodes}, 400)
                if fault != "lose":
                    stub.jobs[call["prompt_id"]] = (time.monotonic(), call["prompt"])
                if fault == "no answer":
                    return self.close_connection
                return self.answer({"prompt_id": call["prompt_id"], "number": 1})

        self.web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.web.server_port}"
        threading.Thread(target=self.web.serve_forever, args=(0.01,), daemon=True).start()

    def ended(self, job):
        return time.monotonic() - job[0] > TAKES

    def prompt(self, job_id):
        return next(
            node["inputs"]["prompt"]
            for node in self.jobs[job_id][1].values()
            if "prompt" in node["inputs"]
        )

    def entry(self, job_id):
        if self.broken and self.broken in self.prompt(job_id):
            wrong = {"node_type": "DreamAudioEncodeCaption", "exception_message": "too loud\n"}
            return {"status": {"status_str": "error", "messages": [["execution_error", wrong]]}}
        saved = {"filename": f"{job_id}.FLAC", "subfolder": "", "type": "output"}
        preview = {"filename": "x.png", "subfolder": "", "type": "temp"}
        outputs = {"9": {"images": [preview], "animated": [False]}, "10": {"audio": [saved]}}
        return {"status": {"status_str": "success"}, "outputs": outputs}


@pytest.fixture
def stubs(monkeypatch):
    monkeypatch.setattr(comfyui, "POLL", 0.01)
    found = [Stub(), Stub()]
    yield found
    for stub in found:
        stub.web.shutdown()
        stub.web.server_close()


def write(path, prompts):
    crow = str(ROOT / "dreamaudio_core" / "examples" / "crow.flac")
    row = {"references": [{"audio": crow, "caption": "a crow", "start": [0.5, 2]}]}
    rows = [{**row, "name": f"s{k}", "prompt": prompt} for k, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(tmp_path, *stubs, patience="60"):
    words = ["comfyui-batch", str(tmp_path / "scenes.jsonl"), "--workflow", str(WORKFLOW)]
    words += ["--out", str(tmp_path / "out"), "--patience", patience]
    return main(words + [word for stub in stubs for word in ("--server", stub.url)])


def results(tmp_path):
    return {p.stem: p.read_text() for p in (tmp_path / "out").glob("*.flac")}


def done(tmp_path):
    lines = (tmp_path / "out" / NAME).read_text().splitlines()
    return Counter(r["name"] for r in map(json.loads, lines) if r.get("event") == "done")


def test_every_kind_of_trouble_costs_nothing(stubs, tmp_path, capsys):
    first, second = stubs
    prompts = [f"prompt {k}" for k in range(8)]
    write(tmp_path / "scenes.jsonl", prompts)

    def trouble(number, graph):
        if number == 4:
            first.down = True
            threading.Timer(0.2, setattr, (first, "down", False)).start()
        return {2: "no answer", 5: "lose"}.get(number)

    first.fault = trouble
    assert run(tmp_path, first) == 0
    assert "8 done, 0 done before, 0 failed" in capsys.readouterr().err
    assert results(tmp_path) == {f"s{k}": prompt for k, prompt in enumerate(prompts)}
    assert set(done(tmp_path).values()) == {1} and len(done(tmp_path)) == 8
    # The one that was lost was queued again, the one without an answer was not.
    assert len(first.posted) == 9 and len(set(first.posted)) == 8
    assert len(first.inputs) == 1 and len(next(iter(first.inputs.values()))) == 15_628
    assert run(tmp_path, first) == 0 and len(first.posted) == 9
    prompts += [f"prompt {k}" for k in range(8, 16)]
    write(tmp_path / "scenes.jsonl", prompts)
    assert run(tmp_path, first, second) == 0
    assert len(first.posted) + len(second.posted) == 17 and len(results(tmp_path)) == 16


def test_a_server_that_stays_away_leaves_its_scenes_to_the_others(stubs, tmp_path, capsys):
    first, second = stubs
    write(tmp_path / "scenes.jsonl", ["a", "b", "c"])
    first.down = True
    assert run(tmp_path, first, second, patience="0.1") == 0
    assert f"{first.url}: 503 starting; given up" in capsys.readouterr().err
    write(tmp_path / "scenes.jsonl", ["a", "b", "c", "d"])
    second.down = True
    assert run(tmp_path, first, second, patience="0.1") == 1
    assert "0 done, 3 done before, 0 failed, 1 left" in capsys.readouterr().err


def prompt_of(graph):
    encoders = (n for n in graph.values() if n["class_type"] == "DreamAudioEncodeCaption")
    return next(encoders)["inputs"]["prompt"]


def test_failures_tell_why_and_are_tried_again(stubs, tmp_path, capsys):
    stub = stubs[0]
    write(tmp_path / "scenes.jsonl", ["fail once", "refuse me", "lose me", "fine"])
    words = {"refuse me": "refuse", "lose me": "lose"}
    stub.fault = lambda number, graph: words.get(prompt_of(graph))
    assert run(tmp_path, stub) == 1
    told = capsys.readouterr().err
    assert "1 done, 0 done before, 3 failed" in told
    assert "failed: s0: DreamAudioEncodeCaption: too loud" in told
    assert "failed: s1: DreamAudioLoadModel: Value not in list model_name" in told
    assert f"failed: s2: {stub.url} lost the job 5 times" in told
    words.clear()
    stub.broken = ""
    assert run(tmp_path, stub) == 0
    assert len(results(tmp_path)) == 4


def test_a_job_of_a_killed_process_is_not_queued_twice(stubs, tmp_path, monkeypatch, capsys):
    stub = stubs[0]
    write(tmp_path / "scenes.jsonl", ["a", "b"])
    with monkeypatch.context() as patch:
        patch.setattr(comfyui.Worker, "_keep", lambda *_: (_ for _ in ()).throw(SystemError("end")))
        with pytest.raises(SystemError):
            run(tmp_path, stub)
    assert len(stub.posted) == 1 and not results(tmp_path)
    assert run(tmp_path, *stubs) == 0
    assert len(stub.posted) + len(stubs[1].posted) == 2 and len(results(tmp_path)) == 2


# Workflows


def scene(**fields):
    sound = SceneReference(Path("a.wav"), "a crow", (0.5, 3.0), strength=2.0, begin=0.25)
    return Scene("a crow caws", (sound, SceneReference(Path("b.wav"), "a bell")), "one", **fields)


def test_fields_go_to_the_inputs_of_their_names():
    graph = read_workflow(WORKFLOW)
    given = scene(seed=7, seconds=5.0, steps=9, missing="silence")
    filled = fill_workflow(graph, given, ["x.wav", "y.wav"], "batch/1")
    nodes = {node["class_type"]: node["inputs"] for node in filled.values()}
    assert nodes["DreamAudioEncodeCaption"]["prompt"] == "a crow caws"
    assert (nodes["DreamAudioMRCFlowSampler"]["seed"], given.steps) == (7, 9)
    assert nodes["DreamAudioMRCFlowSampler"]["steps"] == 9
    assert nodes["DreamAudioArrangeReferences"]["seconds"] == 5.0
    assert nodes["DreamAudioArrangeReferences"]["missing"] == "silence"
    assert nodes["DreamAudioSaveAudio"]["filename_prefix"] == "batch/1"
    slots = {k: v for k, v in nodes["DreamAudioEncodeCaption"].items() if "." in k}
    loaders = [filled[link[0]]["inputs"] for link in slots.values()]
    assert sorted(slots) == ["references.reference0", "references.reference1"]
    own = {"audio": "x.wav", "caption": "a crow", "strength": 2.0, "start": "0.5, 3", "gain": 0.0}
    assert loaders[0].items() >= own.items() and loaders[0]["trim"] == "silence"
    assert (loaders[0]["begin"], loaders[0]["end"]) == (0.25, 0.0)
    # A part of another file is none of this one.
    assert (loaders[1]["begin"], loaders[1]["start"]) == (0.0, "auto")
    assert graph == read_workflow(WORKFLOW)
    alone = fill_workflow(graph, Scene("rain"), [], "p")
    assert not any("." in key for node in alone.values() for key in node["inputs"])


def test_placeholders_serve_nodes_of_other_packs():
    graph = {
        "1": {"class_type": "Other", "inputs": {"text": "{{ prompt }}", "n": "{{seed}}"}},
        "2": {"class_type": "LoadAudio", "inputs": {"audio": "{{audio1}}", "v": "{{caption1}}!"}},
        "3": {"class_type": "Save", "inputs": {"filename_prefix": "x/{{name}}", "audio": ["2", 0]}},
    }
    one = Scene("rain", (SceneReference(Path("a.wav"), "drops"),), "one", seed=3)
    filled = fill_workflow(graph, one, ["u.wav"], "p")
    assert filled["1"]["inputs"] == {"text": "rain", "n": 3}
    assert filled["2"]["inputs"] == {"audio": "u.wav", "v": "drops!"}
    assert filled["3"]["inputs"]["filename_prefix"] == "x/one"
    with pytest.raises(InputError, match="audio2: the workflow has no"):
        fill_workflow(graph, scene(seed=3), ["u.wav", "v.wav"], "p")
    with pytest.raises(InputError, match="{{audio1}}: the scene has no such field"):
        fill_workflow(graph, Scene("rain"), [], "p")


@pytest.mark.parametrize(
    "fields, word",
    [({"free": True}, "free: the workflow")],
)
def test_fields_without_a_place_are_refused(fields, word):
    with pytest.raises(InputError, match=word):
        fill_workflow(read_workflow(WORKFLOW), scene(**fields), ["x.wav", "y.wav"], "p")


def test_files_that_are_no_workflow(tmp_path, capsys):
    path = tmp_path / "w.json"
    for text in ("no json", "[]", '{"nodes": []}', '{"1": {"class_type": "X"}}'):
        path.write_text(text)
        with pytest.raises(InputError, match="--workflow"):
            read_workflow(path)
    write(tmp_path / "scenes.jsonl", ["a"])
    words = ["comfyui-batch", str(tmp_path / "scenes.jsonl"), "--workflow", str(WORKFLOW)]
    assert main([*words, "--out", str(tmp_path / "out"), "--server", "ftp://x"]) == 2
    assert "--server: expected an address" in capsys.readouterr().err
