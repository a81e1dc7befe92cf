"""Time and peak memory of the command line making 10.24 s with three references, process start
included.

    python benchmarks/generate.py [--runs N] [--steps N] [--model NAME|FOLDER]

Prints wall time as a ratio to the sound's length, and peak resident memory as a ratio to the weight
files.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "dreamaudio_core" / "examples"
SECONDS = 10.24


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    captions = json.loads((EXAMPLES / "captions.json").read_text(encoding="utf-8"))
    references = [
        w
        for name, caption in captions.items()
        for w in ("--reference", str(EXAMPLES / name), caption)
    ]
    prompt = "a crow caws, then a cash register rings while a guitar plays"
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.runs):
            started = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "dreamaudio_core",
                    "generate",
                    "--model",
                    args.model,
                    "--prompt",
                    prompt,
                    *references,
                    "--seconds",
                    str(SECONDS),
                    "--steps",
                    str(args.steps),
                    "--out",
                    str(Path(folder) / "out.wav"),
                    "--overwrite",
                ],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            walls.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    weights = sum(
        p.stat().st_size
        for p in (ROOT / "dreamaudio_core" / "models" / "mini").rglob("*")
        if p.is_file()
    )
    print(
        f"wall {min(walls):.1f} s (best of {args.runs}): {min(walls) / SECONDS:.2f} x the "
        "sound's length"
    )
    print(f"peak {peak / 2**20:.0f} MiB: {peak / weights:.1f} x the embedded model's files")


if __name__ == "__main__":
    main()
