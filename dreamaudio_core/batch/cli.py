"""`dreamaudio batch`: every scene of a file, with the model loaded once."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Generator, Iterator

from ..audio.levels import LEVELS
from ..errors import InputError
from ..progress import progress_bar
from ..scene.scene_files import read_scenes
from ..scene.scenes import Scene
from .batch import Batch, Report, Row
from .rendering import Rendered, Renderer, Settings, failure, no_room

PARTS = ("flow", "vae", "vocoder", "text_encoder")
FORMATS = ("wav", "flac", "ogg")
log = logging.getLogger(__name__)


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "batch",
        help="generate every scene of a file; can be stopped and taken up again",
        description="Generate one file for each scene, named after it. Start the same command "
        "again after any kind of end: scenes that are done are kept, the others are rendered. "
        "Exit status 0: all done; 1: some failed; 2: nothing could be started, or no more be "
        "written.",
    )
    parser.add_argument(
        "scenes", type=Path, help="JSON lines, JSON array or CSV; see docs/batch.md"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--model",
        default="mini",
        help="embedded model, model folder, or a preset with all its parts",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ...")
    parser.add_argument("--format", choices=FORMATS, default="wav", help="default: wav")
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="as is",
        help="true peak of -1 dB, or a loudness (needs pyloudnorm)",
    )
    parser.add_argument(
        "--redo",
        action="store_true",
        help="render scenes again that have changed since, in place of their files",
    )
    spread = parser.add_argument_group("many devices")
    spread.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="spread the scenes with Ray, on this machine or on the cluster of this address ("
        "`auto`: the one that this machine belongs to); see docs/batch.md",
    )
    spread.add_argument(
        "--actors",
        type=int,
        metavar="N",
        help="with --ray: models loaded at once (default: one a GPU, or one a machine without any)",
    )
    parts = parser.add_argument_group("parts (default: the model's own)")
    for part in PARTS:
        option = part.replace("_", "-")
        parts.add_argument(f"--{option}", metavar="PATH", help=f"use this {option} instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render what is left of the scenes, and report."""
    if args.actors is not None and (args.ray is None or args.actors < 1):
        raise InputError("--actors: expected a whole number from 1, together with --ray")
    scenes = read_scenes(args.scenes)
    check_sounds(scenes, args.scenes)
    parts = {part: getattr(args, part) for part in PARTS if getattr(args, part)}
    settings = Settings(args.model, parts, args.device, args.format, args.level)
    maker = settings.maker()
    with Batch(args.out, maker, args.redo) as batch:
        rows = batch.plan(scenes, f".{args.format}")
        try:
            if rows:
                # Closed at once, not when it is collected: with Ray its end stops the actors.
                with closing(_outcomes(batch, rows, settings.absolute(), maker, args)) as outcomes:
                    _keep_all(batch, outcomes, batch.report.before + len(rows), args)
        finally:
            print_report(batch.report)
    return batch.report.exit_code


def check_sounds(scenes: list[Scene], file: Path) -> None:
    """Refuse scenes that describe a sound without its file."""
    for scene in scenes:
        for number, reference in enumerate(scene.references, 1):
            if reference.audio is None:
                raise InputError(
                    f"{file}: scene {scene.name}: reference {number}: audio: expected a sound "
                    "file, found none"
                )


def print_report(report: Report) -> None:
    """The figures and what failed, on standard error."""
    print("\n".join(report.lines()), file=sys.stderr)


def _outcomes(
    batch: Batch, rows: list[Row], settings: Settings, maker: dict[str, str], args
) -> Generator[tuple[Row, Rendered], None, None]:
    """Render rows, here or with Ray; the file of each that has one is staged."""
    if args.ray is not None:
        from .ray_crew import Cluster, render_with_ray

        yield from render_with_ray(batch, rows, settings, maker, Cluster(args.ray, args.actors))
        return
    renderer = Renderer(settings)
    for row in rows:
        yield row, renderer.render(row.scene, batch.staged(f"{row.name}.{settings.format}"))


def _keep_all(batch: Batch, outcomes: Iterator[tuple[Row, Rendered]], total: int, args) -> None:
    """Record what is rendered, and tell it."""
    listed = sys.stdout
    with progress_bar(total, args.out.name) as bar:
        bar.update(batch.report.before)
        for row, rendered in outcomes:
            if not rendered.reason:
                digests = [rendered.sha256] if rendered.sha256 else None
                names = [f"{row.name}.{args.format}"]
                try:
                    (path,) = batch.done(row, names, digests, **rendered.details)
                    bar.write(str(path), file=listed)
                except Exception as error:
                    rendered = failure(error, row.name)
            if rendered.no_room:
                raise no_room(rendered.reason)
            if rendered.reason:
                if rendered.trace:
                    log.error("%s\n%s", row.name, rendered.trace)
                batch.failed(row, rendered.reason)
                bar.write(f"failed: {row.name}: {rendered.reason}", file=sys.stderr)
            bar.update()
