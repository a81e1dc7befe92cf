"""Times of searches in a large reference library: python benchmarks/library_search.py [--clips
100000]

Fills a library with random unit vectors (their values do not change the work), searches it for
prompts of one, three and eight events, and compares the matrix product that it rests on with two
others over the same vectors: float16 numbers, and a product by plain NumPy without BLAS (`einsum`).
Each time is the median of the runs, with the fastest, the slowest and the processor's time, which
tells what a search takes on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from dreamaudio_core.retrieval import Library, split_events  # noqa: E402

PROMPTS = (
    "a dog barks",
    "a dog barks, then a door slams while rain falls",
    "a dog barks, then a door slams, then rain falls, then a bell rings, then a crow caws, then "
    "a car starts, then a baby "
    "cries, then a phone rings",
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


def fill(library: Library, clips: int, dim: int, sound: Path) -> None:
    """Add `clips` entries that all lie at one real file, each by another spelling of its path."""
    rng = np.random.default_rng(0)
    status = sound.stat()

    def spelling(row: int) -> str:
        detour = "".join("/." if row >> bit & 1 else "/" for bit in range(24))
        return f"{sound.parent}{detour}/{sound.name}"

    with library.store.write() as db:
        for start in range(0, clips, 10_000):
            vectors = rng.standard_normal((min(10_000, clips - start), dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            rows = library.store.append(db, "text", vectors)
            db.executemany(
                "INSERT INTO files (path, size, mtime, digest, sidecars, state, reason, seconds, "
                "caption, source, text_row) "
                "VALUES (?, ?, ?, ?, '', 'ok', '', 1.0, ?, 'name', ?)",
                (
                    (
                        spelling(row),
                        status.st_size,
                        status.st_mtime_ns,
                        f"digest {row}",
                        f"caption {row}",
                        row,
                    )
                    for row in rows
                ),
            )


class Encoded:
    """Texts that were encoded beforehand, in the place of a library's text encoder."""

    def __init__(self, encoder, texts: list[str]):
        self.identity = encoder.identity
        self.vectors = dict(zip(texts, encoder.embed(texts)))

    def embed(self, texts: list[str]) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument(
        "--limit",
        type=float,
        default=50.0,
        metavar="MS",
        help="exit status 1 where a search takes longer",
    )
    args = parser.parse_args()
    examples = Path(__file__).parent.parent / "dreamaudio_core" / "examples"
    few = max(3, args.runs // 10)
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        library = Library.open(folder)
        library.add(examples)
        encoder = library._text
        fill(library, args.clips, encoder.dim, examples / "crow.flac")
        start = time.perf_counter()
        view = library._current()
        print(
            f"clips {len(view.ids)}, threads {torch.get_num_threads()}, index read in "
            f"{1000 * (time.perf_counter() - start):.0f} ms (once, and after each change)"
        )
        for prompt in PROMPTS:
            parts = split_events(prompt)
            encode = measure(lambda t=parts: encoder.embed(t), few)
            library._text = Encoded(encoder, parts)
            search = measure(lambda p=prompt: library.search(p), args.runs)
            slow |= search.median > args.limit
            print(
                f"{len(parts)} events: search {search}, {search.median / args.limit:.2f} of "
                f"{args.limit:g} ms; text encoder "
                f"before it {encode}",
                flush=True,
            )
        matrix = view.vectors["text"]
        query = np.ascontiguousarray(encoder.embed(["a dog barks"]).T)
        half = matrix.astype(np.float16)
        product = measure(lambda: matrix @ query, args.runs)
        print(f"product, float32 on disk ({matrix.nbytes / 2**20:.0f} MiB): {product}")
        for name, call in {
            "float16 on disk, made float32": lambda: half.astype(np.float32) @ query,
            "einsum": lambda: np.einsum("nd,dk->nk", matrix, query),
        }.items():
            found = measure(call, few)
            print(
                f"product, {name}: {found}, {found.processor / product.processor:.1f} times the "
                "processor time"
            )
    sys.exit(1 if slow else 0)


if __name__ == "__main__":
    main()
