"""How soon things start: imports, the help of `dreamaudio generate`, loading mini.

    python benchmarks/start.py [--json]

Each in new processes; the median counts. The import of torch is taken off where it belongs to
nobody's work.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import Result, parser, report

ROOT = Path(__file__).resolve().parent.parent
IMPORT = "import time, torch; a = time.{clock}(); import {name}; print(time.{clock}() - a)"
LOAD = (
    "import time, torch; from dreamaudio_core import load_model; a = time.{clock}(); "
    "load_model('mini'); print(time.{clock}() - a)"
)


def spent(code: str, runs: int) -> float:
    """Seconds that a program prints: the median of several processes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    options = {"check": True, "capture_output": True, "text": True, "env": environment}
    found = [subprocess.run(command, **options).stdout for _ in range(runs)]
    return statistics.median(float(text.split()[-1]) for text in found)


def help_seconds(runs: int, processor: bool) -> float:
    """Seconds of `dreamaudio generate --help`, start and end of the process included."""
    command = [sys.executable, "-m", "dreamaudio_core", "generate", "--help"]
    times = []
    for _ in range(runs):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append(used if processor else wall)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    args = parser(__doc__).parse_args()
    processor = args.clock == "processor"
    clock = "process_time" if processor else "perf_counter"
    package = IMPORT.format(clock=clock, name="dreamaudio_core")
    report(
        args,
        Result("import dreamaudio_core, over torch", 1000 * spent(package, args.runs), 50, "ms"),
        Result("dreamaudio generate --help", help_seconds(args.runs, processor), 0.3, "s"),
        Result(
            "loading mini, imports included", spent(LOAD.format(clock=clock), args.runs), 1, "s"
        ),
    )


if __name__ == "__main__":
    main()
