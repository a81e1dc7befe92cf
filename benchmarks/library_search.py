"""Times of searches in a library of a million sounds.

    python benchmarks/library_search.py [--json] [--clips N]

Fills a library with random unit vectors (their values do not change the work) and searches it for
prompts of one, three and eight events, without the text encoder. The ten best for a prompt are
compared with those of a full comparison in double precision.
"""

from __future__ import annotations

import statistics
import tempfile
import zlib
from pathlib import Path

import numpy as np
from harness import Result, Stopwatch, parser, report

from dreamaudio_core.retrieval import SoundLibrary
from dreamaudio_core.retrieval.store import SoundRow

PROMPTS = (
    "a dog barks",
    "a dog barks, then a door slams while rain falls",
    "a dog barks, then a door slams, then rain falls, then a bell rings, then a crow caws, then a "
    "car starts, then a baby cries, then a phone rings",
)


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


def recall(library: SoundLibrary, prompt: str, count: int = 10) -> float:
    """Share of the best sounds of a full comparison that a search finds."""
    with library.store.read() as db:
        ids, vectors = library.store.vectors(db, library.text.dim)
        (query,) = library.text.embed([prompt]).astype(np.float64)
        parts = [
            vectors[i : i + 10_000].astype(np.float64) @ query for i in range(0, len(ids), 10_000)
        ]
        best = ids[np.argsort(-np.concatenate(parts))[:count]]
        captions = {next(library.store.sounds(db, "id = ?", int(row))).caption for row in best}
    found = {hit.caption for hit in library.search(prompt, count, whole=True)}
    return len(captions & found) / count


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=21)
    options.add_argument("--clips", type=int, default=1_000_000)
    options.add_argument("--dim", type=int, default=384, help="size of the vectors")
    args = options.parse_args()
    watch = Stopwatch(args)
    examples = Path(__file__).parent.parent / "dreamaudio_core" / "examples"
    with tempfile.TemporaryDirectory() as folder:
        library = SoundLibrary(Path(folder) / "library.sqlite", RandomVectors(args.dim))
        library.add(examples)
        fill(library, args.clips, examples / "crow.flac")
        first = watch.once(lambda: library.search(PROMPTS[0]))
        times = []
        for prompt in PROMPTS:
            each = [watch.once(lambda: library.search(prompt)) for _ in range(args.runs)]
            times.append([1000 * value for value in (statistics.median(each), min(each))])
        median, least = times[0]
        details = {
            "least_ms": round(least, 1),
            "three_events_ms": round(times[1][0], 1),
            "eight_events_ms": round(times[2][0], 1),
            "first_s": round(first, 1),
            "recall_of_10": recall(library, PROMPTS[0]),
        }
        size = library.path.stat().st_size / 2**30
    clips = f"{args.clips:,} clips"
    report(
        args,
        Result(f"library of {clips}: a search", median, 50, "ms", details),
        Result(f"library of {clips}: its file", size, 2, "GiB"),
    )


if __name__ == "__main__":
    main()
