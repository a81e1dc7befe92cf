"""Many runs of the quick start on one ComfyUI server, with cancels and bad prompts between them:
every good run must give audio, every bad one an error, and memory must not grow.

    python benchmarks/soak.py --runs 500 --base FOLDER

FOLDER becomes the server's base directory, with this pack linked in `custom_nodes`. ComfyUI is
looked for as the tests do (COMFYUI_PATH). `FOLDER/soak.jsonl` gets a line a run, so that a soak
that is cut off has its figures too; the end prints the resident memory after run 50 and at the end.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "comfyui")]
QUICK_START = ROOT / "workflows" / "api" / "1_quick_start.json"
BASELINE_RUN = 50
REFERENCE, SCENE, SAVE = "1", "3", "4"
PROMPTS = (
    "a crow caws twice",
    "a cash register rings, then a crow caws",
    "a crow caws in the rain",
)
BROKEN = "broken.wav"


def resident_megabytes(pid: int) -> float:
    """Memory of a process that lies in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


def varied(graph: dict, draw: random.Random, number: int) -> dict:
    """The quick start with one of the prompts and lengths, and a seed of its own."""
    graph = copy.deepcopy(graph)
    scene = graph[SCENE]["inputs"]
    scene.update(prompt=draw.choice(PROMPTS), seconds=draw.choice((2.56, 5.12)), seed=number)
    if draw.random() < 0.3:
        del scene["references.reference1"]
    return graph


def good_run(server, graph: dict) -> str:
    """Empty where the run gave a sound, else what it gave."""
    run = server.run(graph)
    if run.error or run.interrupted:
        return run.message or "interrupted"
    samples, _ = soundfile.read(io.BytesIO(server.fetch(run.outputs[SAVE]["audio"][0])))
    return "" if np.isfinite(samples).all() and np.abs(samples).max() > 1e-3 else "silence"


def cancelled_run(server, graph: dict, step: int) -> str:
    """Empty where a run that was cancelled at a step of the sampler has ended as cancelled."""
    graph[SCENE]["inputs"].update(seconds=10.24, quality="high")
    sent: list[int] = []

    def cancel(node: str, reached: int, steps: int) -> None:
        if node == SCENE and reached >= step and not sent:
            sent.append(reached)
            server.interrupt()

    run = server.run(graph, on_progress=cancel)
    return "" if run.interrupted else f"not cancelled at {sent or 'no step'}; {run.progress[-1:]}"


def bad_run(server, graph: dict, draw: random.Random) -> str:
    """Empty where a wrong value has become an error, when queued or when run."""
    node, name, value = draw.choice(
        [
            (SCENE, "seconds", -5),
            (SCENE, "quality", "wonderful"),
            (REFERENCE, "audio", "../../etc/passwd"),
            (REFERENCE, "audio", BROKEN),
            (REFERENCE, "start", "[" * 10_000),
        ]
    )
    graph[node]["inputs"][name] = value
    answer = server.post(graph)
    if answer.status_code == 400:
        return ""
    return "" if server.run(graph).error else f"{name}={value!r:.30} was taken"


def soak(server, runs: int, seed: int, log: Path) -> dict:
    """Results of `runs` runs, a tenth of them cancelled and a tenth bad."""
    draw = random.Random(seed)
    quick_start = json.loads(QUICK_START.read_text(encoding="utf-8"))
    problems: list[str] = []
    counts = {"good": 0, "cancelled": 0, "bad": 0}
    baseline = peak = 0.0
    for number in range(1, runs + 1):
        graph = varied(quick_start, draw, number)
        kind = draw.choices(("good", "cancelled", "bad"), (8, 1, 1))[0]
        counts[kind] += 1
        began = time.monotonic()
        problem = {
            "good": lambda: good_run(server, graph),
            "cancelled": lambda: cancelled_run(server, graph, draw.randint(1, 12)),
            "bad": lambda: bad_run(server, graph, draw),
        }[kind]()
        if problem:
            problems.append(f"run {number} ({kind}): {problem}")
        now = resident_megabytes(server.process.pid)
        peak = max(peak, now)
        if number == min(BASELINE_RUN, runs):
            baseline = now
        took = round(time.monotonic() - began, 2)
        line = {"run": number, "kind": kind, "took": took, "MB": round(now), "problem": problem}
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return {
        "runs": counts,
        "problems": problems,
        f"megabytes after run {min(BASELINE_RUN, runs)}": round(baseline),
        "megabytes at the end": round(now),
        "peak megabytes": round(peak),
        "growth": round(now / baseline - 1.0, 3),
    }


def main() -> int:
    from comfy_server import ComfyServer, find_comfyui

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--option", action="append", default=[], help="for ComfyUI's main.py")
    args = parser.parse_args()
    comfyui, reason = find_comfyui()
    if comfyui is None:
        parser.error(reason)
    base = args.base.resolve()
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    if not (base / "custom_nodes" / "dreamaudio").exists():
        (base / "custom_nodes" / "dreamaudio").symlink_to(ROOT)
    (base / "input").mkdir(exist_ok=True)
    (base / "input" / BROKEN).write_bytes(b"no sound")
    server = ComfyServer(comfyui, base, *args.option).start()
    try:
        found = soak(server, args.runs, args.seed, base / "soak.jsonl")
    finally:
        server.stop()
    print(json.dumps(found, indent=2))
    return 1 if found["problems"] or found["growth"] > 0.05 else 0


if __name__ == "__main__":
    sys.exit(main())
