"""A batch on two real servers, of which one is killed and started again, as is the client."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from comfy_server import PACK, ComfyServer
from graphs import scene

# A short form; the long one is 200.
ROWS = int(os.environ.get("DREAMAUDIO_BATCH_ROWS", "14"))


@pytest.fixture
def second(base, comfyui, tmp_path_factory):
    """A server of its own, which a test may kill."""
    own = tmp_path_factory.mktemp("second")
    for name in ("custom_nodes", "models"):
        (own / name).symlink_to(base / name, target_is_directory=True)
    server = ComfyServer(comfyui, own)
    server.start()
    yield server
    server.stop()


def records(out):
    path = out / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [record for record in map(json.loads, lines) if "event" in record]


def finished(out):
    return sum(record["event"] == "done" for record in records(out))


def wait_for(condition, process):
    end = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX systems do")
def test_every_scene_has_one_result_whatever_is_killed(server, second, tmp_path):
    out, crow = tmp_path / "out", PACK / "dreamaudio_core" / "examples" / "crow.flac"
    sound = tmp_path / "own crow.flac"
    sound.write_bytes(crow.read_bytes())
    rows = [
        {
            "name": f"take {k}",
            "prompt": "a crow caws",
            "seed": k,
            "seconds": 1.28,
            "references": [{"audio": str(sound), "caption": "a crow caws", "start": 0.2}],
        }
        for k in range(ROWS)
    ]
    (tmp_path / "scenes.json").write_text(json.dumps(rows))
    (tmp_path / "workflow.json").write_text(json.dumps(scene(references=1)))
    words = [sys.executable, "-m", "dreamaudio_core", "comfyui-batch", tmp_path / "scenes.json"]
    words += ["--workflow", tmp_path / "workflow.json", "--out", out]
    words += ["--server", server.url(""), "--server", second.url("")]

    def start():
        return subprocess.Popen(
            words, cwd=PACK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def jobs_of(one):
        return sum(one.url("")[:-1] == r.get("server") for r in records(out))

    client = start()
    wait_for(lambda: jobs_of(second) >= 2 and finished(out) >= 2, client)
    second.process.kill()
    second.process.wait()
    client.kill()
    client.communicate()
    assert client.returncode == -signal.SIGKILL and finished(out) < ROWS
    client = start()
    second.start(second.port)
    if ROWS >= 100:
        before = jobs_of(second)
        wait_for(lambda: jobs_of(second) >= before + 2, client)
        second.process.kill()
        second.process.wait()
        second.start(second.port)
    told = client.communicate(timeout=600)[1]
    assert client.returncode == 0 and "0 failed" in told, told
    counts = Counter(r["name"] for r in records(out) if r["event"] == "done")
    assert counts == {f"take {k}": 1 for k in range(ROWS)}
    assert sorted(p.name for p in out.glob("*.wav")) == sorted(f"take {k}.wav" for k in range(ROWS))
    assert {soundfile.info(p).frames for p in out.glob("*.wav")} == {round(1.28 * 16_000)}
    # Different seeds, so that a result under a wrong name would be a repeated one.
    assert len({Path(p).read_bytes() for p in out.glob("*.wav")}) == ROWS
    uploads = [p.name for p in (server.base / "input").glob("scene_*")]
    assert len(uploads) == 1
