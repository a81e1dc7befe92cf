"""How a batch that is spread with Ray grows, and what limits it: rows a second by actors with a
stand-in of fixed cost, the ceiling of the command itself, and the real cost of a model.

    python benchmarks/scale.py growth --cost 0.5 --actors 1 2 4 8
    python benchmarks/scale.py ceiling --actors 4
    python benchmarks/scale.py journal --rows 100000
    python benchmarks/scale.py model --rows 12

The stand-in sleeps and writes 10.24 s of noise (328 kB), so that many actors run on few processors.
`ceiling` lets it cost nothing: with a folder that the actors see, and with one that they do not, so
that every result passes through Ray's object store. `journal` takes up a folder with that many
results. Rates count from the first result on, without the start of Ray and of the workers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Workers look for the package where the command does.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from dreamaudio_core.batch.batch import Batch  # noqa: E402
from dreamaudio_core.batch.ray_actor import Mark  # noqa: E402
from dreamaudio_core.batch.ray_crew import Cluster, render_with_ray  # noqa: E402
from dreamaudio_core.batch.rendering import Rendered, Renderer, Settings  # noqa: E402
from dreamaudio_core.scene.scenes import Scene, SceneReference  # noqa: E402

CROW = ROOT / "dreamaudio_core" / "examples" / "crow.flac"
SECONDS, RATE = 10.24, 16_000


class StandIn:
    """Renders noise at a fixed cost."""

    cost = 0.0

    def __init__(self, settings: Settings):
        import numpy

        noise = numpy.random.default_rng(0).normal(0, 0.1, int(SECONDS * RATE))
        self._samples = noise.astype("float32")

    def render(self, scene: Scene, path: Path) -> Rendered:
        """See `Renderer.render`."""
        import soundfile

        began = time.monotonic()
        soundfile.write(path, self._samples, RATE)
        time.sleep(max(0.0, self.cost - (time.monotonic() - began)))
        return Rendered({"seed": scene.seed})


def scenes(count: int) -> list[Scene]:
    """Scenes with one reference, all of the same sound."""
    reference = SceneReference(CROW, "a crow caws")
    return [
        Scene("a crow caws twice", (reference,), f"take {k}", SECONDS, seed=k) for k in range(count)
    ]


def spread(rows: int, actors: int, settings: Settings, renderer: Callable[[Settings], Any]) -> dict:
    """Rows a second, the time that the journal and the moves took, and the command's processor
    time.
    """
    times, kept, used = [], 0.0, 0.0
    with tempfile.TemporaryDirectory() as name:
        with Batch(Path(name) / "out", settings.maker()) as batch:
            planned = batch.plan(scenes(rows), f".{settings.format}")
            cluster = Cluster(actors=actors)
            outcomes = render_with_ray(
                batch, planned, settings, settings.maker(), cluster, renderer
            )
            with contextlib.closing(outcomes):
                for row, rendered in outcomes:
                    times.append(time.monotonic())
                    used = used or time.process_time()
                    assert not rendered.reason, rendered.reason
                    digests = [rendered.sha256] if rendered.sha256 else None
                    batch.done(row, [f"{row.name}.wav"], digests, **rendered.details)
                    kept += time.monotonic() - times[-1]
                end, used = time.monotonic(), time.process_time() - used
    return {
        "actors": actors,
        "rows": rows,
        "rows a second": (rows - 1) / (end - times[0]),
        "ms a row for journal and moves": 1000 * kept / rows,
        "ms a row of the command's processor time": 1000 * used / rows,
    }


def growth(args: argparse.Namespace) -> list[dict]:
    """Rows a second by actors, the best of the repeats, with the share of the ideal."""
    StandIn.cost = args.cost
    best: dict[int, dict] = {}
    for _ in range(args.repeats):
        for actors in args.actors:
            found = spread(args.rows * actors, actors, Settings("mini", device="cpu"), StandIn)
            found["of the ideal"] = found["rows a second"] * args.cost / actors
            if actors not in best or found["rows a second"] > best[actors]["rows a second"]:
                best[actors] = found
    return list(best.values())


def ceiling(args: argparse.Namespace) -> list[dict]:
    """Rows a second of actors that cost nothing."""
    out = []
    for shared in (True, False):
        hidden = mock.patch.object(Mark, "__reduce__", lambda self: (Mark, (Path("/no"), "")))
        with contextlib.nullcontext() if shared else hidden:
            settings = Settings("mini", device="cpu")
            runs = [spread(args.rows, args.actors[0], settings, StandIn) for _ in range(2)]
        best = max(runs, key=lambda found: found["rows a second"])
        out.append({"folder seen by the actors": shared, **best})
    return out


def journal(args: argparse.Namespace) -> list[dict]:
    """Seconds to take up a folder with many results, and to find that nothing is left."""
    settings, listed = Settings("mini", device="cpu"), scenes(args.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Batch(folder, settings.maker()) as batch:
            began = time.monotonic()
            rows = batch.plan(listed, ".wav")
            planned = time.monotonic() - began
            lines = []
            for row in rows:
                (folder / f"{row.name}.wav").touch()
                lines.append(
                    json.dumps(
                        {
                            "event": "done",
                            "name": row.name,
                            "scene": row.digest,
                            "files": [f"{row.name}.wav"],
                            "sha256": ["0" * 64],
                            "replaces": [],
                        }
                    )
                )
            with open(batch.journal.path, "a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        began = time.monotonic()
        with Batch(folder, settings.maker()) as batch:
            assert not batch.plan(listed, ".wav")
            taken = time.monotonic() - began
    return [{"rows": args.rows, "seconds to plan": planned, "seconds to take up": taken}]


def model(args: argparse.Namespace) -> list[dict]:
    """Seconds a row of a model in one process."""
    settings, took = Settings(args.model), []
    renderer = Renderer(settings)
    with tempfile.TemporaryDirectory() as name:
        for scene in scenes(args.rows):
            rendered = renderer.render(scene, Path(name) / "a.wav")
            assert not rendered.reason, rendered.reason
            took.append(rendered.details["took"])
    took.sort()
    return [{"model": args.model, "best": took[0], "median": took[len(took) // 2]}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("growth", "ceiling", "journal", "model"))
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--cost", type=float, default=0.5, help="seconds of the stand-in")
    parser.add_argument("--rows", type=int, default=20, help="for growth, those of each actor")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    measure = {"growth": growth, "ceiling": ceiling, "journal": journal, "model": model}
    for found in measure[args.what](args):
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}
        print(json.dumps(rounded), flush=True)


if __name__ == "__main__":
    main()
