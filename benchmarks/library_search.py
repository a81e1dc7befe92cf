"""Times of searches in a large sound library: python benchmarks/library_search.py [--clips 100000]

Fills a library with random unit vectors (their values do not change the work) and searches it for
prompts of one, three and eight events. Each time is the median of the runs, with the fastest, the
slowest and the processor's time, which tells what a search takes on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from dreamaudio_core.retrieval import SoundLibrary, split_events  # noqa: E402
from dreamaudio_core.retrieval.store import SoundRow  # noqa: E402

PROMPTS = (
    "a dog barks",
    "a dog barks, then a door slams while rain falls",
    "a dog barks, then a door slams, then rain falls, then a bell rings, then a crow caws, then a "
    "car starts, then a baby cries, then a phone rings",
)


@dataclass(frozen=True)
class Times:
    """Milliseconds of repeated calls: median, least and greatest on the clock, and the median of
    the processor's time.
    """

    median: float
    least: float
    greatest: float
    processor: float

    def __str__(self) -> str:
        spread = f"{self.least:.1f} to {self.greatest:.1f}"
        return f"{self.median:.1f} ms ({spread}; {self.processor:.1f} of processor time)"


def measure(call: Callable[[], object], runs: int) -> Times:
    """Times of `runs` calls; one call before them is not counted."""
    call()
    clock, processor = [], []
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        call()
        clock.append(1000 * (time.perf_counter() - start[0]))
        processor.append(1000 * (time.process_time() - start[1]))
    return Times(statistics.median(clock), min(clock), max(clock), statistics.median(processor))


class RandomVectors:
    """In the place of a library's text encoder: each text gets a random unit vector of its own."""

    identity = "random"

    def __init__(self, dim: int):
        self.dim = dim

    def embed(self, texts: list[str]) -> np.ndarray:
        vectors = np.stack(
            [
                np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim)
                for text in texts
            ]
        )
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fill(library: SoundLibrary, clips: int, sound: Path) -> None:
    """Add `clips` sounds that all lie at one real file, each by another spelling of its path."""
    status = sound.stat()
    rng = np.random.default_rng(0)

    def spelling(row: int) -> str:
        slashes = "".join("/." if row >> bit & 1 else "/" for bit in range(24))
        return f"{sound.parent}{slashes}/{sound.name}"

    store = library.store
    for start in range(0, clips, 10_000):
        rows = range(start, min(clips, start + 10_000))
        vectors = rng.standard_normal((len(rows), library.text.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with store.write(library.text.identity) as db:
            for row, vector in zip(rows, vectors):
                entry = SoundRow(
                    spelling(row),
                    status.st_size,
                    status.st_mtime_ns,
                    "",
                    f"digest {row}",
                    1.0,
                    f"caption {row}",
                    "name",
                )
                store.put(db, entry, vector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384, help="size of the vectors")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument(
        "--limit",
        type=float,
        default=50.0,
        metavar="MS",
        help="exit status 1 if a search is slower",
    )
    args = parser.parse_args()
    examples = Path(__file__).parent.parent / "dreamaudio_core" / "examples"
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        library = SoundLibrary(Path(folder) / "library.sqlite", RandomVectors(args.dim))
        library.add(examples)
        fill(library, args.clips, examples / "crow.flac")
        start = time.perf_counter()
        library.search(PROMPTS[0])
        print(
            f"clips {len(library)}, threads {torch.get_num_threads()}, "
            f"{library.path.stat().st_size / 2**20:.0f} MiB; first search, which reads the "
            f"vectors, {1000 * (time.perf_counter() - start):.0f} ms"
        )
        for prompt in PROMPTS:
            search = measure(lambda p=prompt: library.search(p), args.runs)
            slow |= search.median > args.limit
            events = len(split_events(prompt))
            print(f"{events} events: search without text encoder {search}", flush=True)
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
