"""Many runs on one ComfyUI server, with cancels and bad prompts between them: every good run must
give audio, every bad one an error, and memory must not grow.

    python benchmarks/soak.py --runs 500 --base FOLDER

FOLDER becomes the server's base directory, with this pack linked in `custom_nodes`. ComfyUI is
looked for as the tests do (COMFYUI_PATH). Prints the resident memory after run 50 and at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "comfyui")]
BASELINE_RUN = 50
PROMPTS = ("a crow caws twice", "a cash register rings, then a crow caws", "a guitar plays")


def resident_megabytes(pid: int) -> float:
    """Memory of a process that lies in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


def good_run(server, graph: dict) -> str:
    """Empty where the run gave a sound, else what it gave."""
    run = server.run(graph)
    if run.error or run.interrupted:
        return run.message or "interrupted"
    samples, _ = soundfile.read(io.BytesIO(server.fetch(run.outputs["save"]["audio"][0])))
    return "" if np.isfinite(samples).all() and np.abs(samples).max() > 1e-3 else "silence"


def cancelled_run(server, graph: dict, step: int) -> str:
    """Empty where a run that was cancelled at a step of the sampler has ended as cancelled."""
    graph["sampler"]["inputs"]["steps"] = 1000

    def cancel(node: str, reached: int, steps: int) -> None:
        if node == "sampler" and reached == step:
            server.interrupt()

    return "" if server.run(graph, on_progress=cancel).interrupted else "not cancelled"


def bad_run(server, graph: dict, draw: random.Random) -> str:
    """Empty where a wrong value has become an error, when queued or when run."""
    node, name, value = draw.choice(
        [
            ("sampler", "steps", -5),
            ("reference0", "audio", "../../etc/passwd"),
            ("arrange", "timeline", "[" * 10_000),
            ("model", "model_name", "no such model"),
        ]
    )
    graph[node]["inputs"][name] = value
    answer = server.post(graph)
    if answer.status_code == 400:
        return ""
    return "" if server.run(graph).error else f"{name}={value!r:.30} was taken"


def soak(server, runs: int, seed: int, model: str) -> dict:
    """Results of `runs` runs, a tenth of them cancelled and a tenth bad."""
    from graphs import scene

    draw = random.Random(seed)
    problems: list[str] = []
    counts = {"good": 0, "cancelled": 0, "bad": 0}
    baseline = peak = 0.0
    for number in range(1, runs + 1):
        graph = scene(
            references=draw.randint(1, 3),
            prompt=draw.choice(PROMPTS),
            model=model,
            prefix="soak",
            seconds=draw.choice((2.56, 5.12)),
            seed=number,
        )
        kind = draw.choices(("good", "cancelled", "bad"), (8, 1, 1))[0]
        counts[kind] += 1
        problem = {
            "good": lambda: good_run(server, graph),
            "cancelled": lambda: cancelled_run(server, graph, draw.randint(1, 20)),
            "bad": lambda: bad_run(server, graph, draw),
        }[kind]()
        if problem:
            problems.append(f"run {number} ({kind}): {problem}")
        now = resident_megabytes(server.process.pid)
        peak = max(peak, now)
        if number == min(BASELINE_RUN, runs):
            baseline = now
        if number % 25 == 0:
            print(f"{number} runs, {now:.0f} MB", file=sys.stderr)
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
    parser.add_argument("--model", default="mini")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--option", action="append", default=[], help="for ComfyUI's main.py")
    args = parser.parse_args()
    comfyui, reason = find_comfyui()
    if comfyui is None:
        parser.error(reason)
    nodes = args.base.resolve() / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    if not (nodes / "dreamaudio").exists():
        (nodes / "dreamaudio").symlink_to(ROOT)
    server = ComfyServer(comfyui, args.base.resolve(), *args.option).start()
    try:
        found = soak(server, args.runs, args.seed, args.model)
    finally:
        server.stop()
    print(json.dumps(found, indent=2))
    return 1 if found["problems"] or found["growth"] > 0.05 else 0


if __name__ == "__main__":
    sys.exit(main())
