"""What stays in memory between runs, what a cancelled run leaves, and what is given back."""

import io
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import requests
import soundfile
from comfy_server import PACK, interpreter
from graphs import scene

from closeness import same_sound

AFTER_THE_SAMPLER = {"sampler", "decode", "vocode", "save"}
AFTER_THE_CAPTIONS = AFTER_THE_SAMPLER | {"captions", "arrange"}
LOADS = "Requested to load"
ENCODES = "arranged and encoded"


def samples(server, run):
    return soundfile.read(io.BytesIO(server.fetch(run.outputs["save"]["audio"][0])))[0]


def test_another_seed_runs_the_sampler_and_what_follows_alone(server):
    server.free()
    graph = scene(references=2, prefix="resident", seed=100)
    first = server.run(graph)
    assert set(first.executed) == set(graph)
    assert {line.split()[-1] for line in first.log.splitlines() if LOADS in line} == {
        "TextEncoder",
        "AutoencoderKL",
        "Arranger",
        "MRCUNet",
        "BigVGAN",
    }
    assert first.log.count(ENCODES) == 1

    graph["sampler"]["inputs"]["seed"] = 101
    second = server.run(graph)
    assert set(second.executed) == AFTER_THE_SAMPLER
    assert set(second.cached) == set(graph) - AFTER_THE_SAMPLER
    assert LOADS not in second.log and ENCODES not in second.log
    assert not np.array_equal(samples(server, first), samples(server, second))

    for name, value in (("steps", 4), ("guidance", 3.0), ("batch_size", 2)):
        graph["sampler"]["inputs"][name] = value
        assert ENCODES not in server.run(graph).log, name
    graph["arrange"]["inputs"]["seconds"] = 2.0
    assert server.run(graph).log.count(ENCODES) == 1


def test_a_new_prompt_loads_nothing(server):
    server.run(scene(prefix="prompt"))
    run = server.run(scene(prefix="prompt", prompt="then a crow caws twice"))
    assert set(run.executed) == AFTER_THE_CAPTIONS
    assert LOADS not in run.log


def test_a_stage_loads_every_part_that_it_uses(server):
    """Captions cached and no model loaded: arranging loads the text encoder it reads with."""
    graph = scene(prefix="unloaded")
    server.run(graph)
    server.free(outputs=False)
    graph["arrange"]["inputs"]["seconds"] = 2.5
    run = server.run(graph)
    assert set(run.executed) == AFTER_THE_SAMPLER | {"arrange"}
    for part in ("TextEncoder", "Arranger", "AutoencoderKL"):
        assert f"{LOADS} {part}" in run.log
    server.free(outputs=False)
    graph["arrange"]["inputs"]["timeline"] = json.dumps(
        {"seconds": 2.5, "references": [{"placements": [{"start": 0.5, "duration": 1.0}]}]}
    )
    again = server.run(graph)
    assert f"{LOADS} TextEncoder" not in again.log and f"{LOADS} AutoencoderKL" in again.log


def test_a_changed_file_of_the_same_name_is_read_again(server, base):
    target = base / "input" / "mine.wav"
    tone = np.sin(np.arange(8000) * 0.3)
    soundfile.write(target, 0.5 * tone, 16000)
    graph = scene(prefix="changed")
    graph["reference0"]["inputs"].update(audio="mine.wav", start="0.2")
    first = samples(server, server.run(graph))
    soundfile.write(target, 0.5 * np.sign(tone), 16000)
    # Older by a clock that was set back meanwhile.
    os.utime(target, (0, 0))
    run = server.run(graph)
    assert "reference0" in run.executed
    assert not np.array_equal(samples(server, run), first)


def test_free_memory_releases_the_models(server):
    graph = scene(prefix="released")
    before = server.run(graph)
    server.free()
    after = server.run(graph)
    assert set(after.executed) == set(graph)
    for part in ("TextEncoder", "AutoencoderKL", "MRCUNet", "BigVGAN"):
        assert f"{LOADS} {part}" in after.log
    assert same_sound(samples(server, before), samples(server, after))


def test_cancel_stops_within_a_step_and_leaves_a_usable_server(server):
    # Minutes of steps, of which no listener is late by so many that none is left.
    graph = scene(prefix="cancelled", steps=1000, seed=200, seconds=20.48)
    cancelled_at = []

    def cancel(node, step, steps):
        if node == "sampler" and step >= 3 and not cancelled_at:
            cancelled_at.append(step)
            server.interrupt()

    run = server.run(graph, on_progress=cancel)
    assert run.interrupted and run.error is None and cancelled_at
    reached = max(step for node, step, _ in run.progress if node == "sampler")
    # Progress is reported without waiting for the listener, so a few tiny steps pass before the
    # request arrives.
    assert reached < 900
    deadline = time.monotonic() + 300
    while (queue := requests.get(server.url("queue"), timeout=30).json())["queue_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not queue["queue_pending"]

    graph["sampler"]["inputs"]["steps"] = 3
    again = server.run(graph)
    assert again.error is None and set(again.executed) == AFTER_THE_SAMPLER
    assert same_sound(
        samples(server, again),
        samples(server, server.run(scene(prefix="uncancelled", seed=200, seconds=20.48))),
    )


BUDGET_SCRIPT = Path(__file__).parent / "budget.py"


def test_results_are_equal_when_the_weights_stay_offloaded(comfyui, base):
    command = [
        interpreter(comfyui),
        str(BUDGET_SCRIPT),
        str(comfyui),
        str(PACK),
        str(base / "models" / "dreamaudio" / "tiny"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=base)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["casting layers"]) == {"flow", "vae", "vocoder", "text_encoder", "arranger"}
    assert all(count > 0 for count in found["casting layers"].values())
    assert found["offloaded megabytes"] > 0
    assert found["largest difference"] <= 1e-6 and found["peak"] > 1e-3
    assert found["patcher classes"] == ["True"]
