"""A file of many scenes against single commands, with mini.

    python benchmarks/batch.py [--json] [--scenes N] [--seconds S]

`dreamaudio batch` loads the model once; the single commands are processes of their own. A few
scenes are measured: what the first and each further one cost gives the time of a hundred.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from harness import Result, parser, report

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "dreamaudio_core" / "examples"
PROMPT, CAPTION, OTHER = "a crow caws, then a bell rings", "a crow is cawing", "a cash register"
HUNDRED = 100


def spent(args, *words: str) -> float:
    """Seconds of one command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "dreamaudio_core", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used if args.clock == "processor" else wall


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    options.add_argument("--scenes", type=int, default=8)
    options.add_argument("--seconds", type=float, default=5.12)
    args = options.parse_args()
    crow, bell = str(EXAMPLES / "crow.flac"), str(EXAMPLES / "cash_register.flac")
    single, one, several = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def batch(count: int, run: int) -> float:
            references = [{"audio": crow, "caption": CAPTION}, {"audio": bell, "caption": OTHER}]
            rows = [
                {
                    "name": f"scene{i}",
                    "prompt": PROMPT,
                    "references": references,
                    "seconds": args.seconds,
                    "seed": i,
                }
                for i in range(count)
            ]
            scenes = folder / f"scenes{count}.jsonl"
            scenes.write_text("".join(json.dumps(row) + "\n" for row in rows))
            out = folder / f"out{count}_{run}"
            return spent(args, "batch", str(scenes), "--out", str(out), "--device", args.device)

        for run in range(args.runs):
            given = ["--reference", crow, CAPTION, "--reference", bell, OTHER]
            given += ["--seconds", str(args.seconds), "--device", args.device]
            out = ["--out", str(folder / f"single{run}.wav"), "--seed", str(run)]
            single.append(spent(args, "generate", "--prompt", PROMPT, *given, *out))
            one.append(batch(1, run))
            several.append(batch(args.scenes, run))
    further = (median(several) - median(one)) / (args.scenes - 1)
    whole = median(one) + (HUNDRED - 1) * further
    details = {
        "single_s": round(median(single), 2),
        "first_s": round(median(one), 2),
        "further_s": round(further, 2),
        "extrapolated": f"from {args.scenes} scenes",
    }
    title = f"a batch of {HUNDRED} scenes against {HUNDRED} commands (extrapolated)"
    report(args, Result(title, whole / (HUNDRED * median(single)), 0.6, "", details))


if __name__ == "__main__":
    main()
