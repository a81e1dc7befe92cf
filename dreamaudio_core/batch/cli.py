"""`dreamaudio batch`: every scene of a file, with the model loaded once."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..audio.levels import LEVELS
from ..errors import DreamAudioError, InputError
from ..progress import progress_bar
from ..scene.scenes import Scene, read_scenes
from .batch import Batch, Report, Row

if TYPE_CHECKING:
    from ..pipeline import DreamAudio

PARTS = ("flow", "vae", "vocoder", "text_encoder")
FORMATS = ("wav", "flac", "ogg")
# After one of these every further scene would fail alike.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
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
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
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
        help="render scenes that have changed since they were done again, in place of their files",
    )
    parts = parser.add_argument_group("parts (default: the model's own)")
    for part in PARTS:
        option = part.replace("_", "-")
        parts.add_argument(f"--{option}", metavar="PATH", help=f"use this {option} instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render what is left of the scenes, and report."""
    from ..files import content_digest
    from ..weights.folder import model_folder

    scenes = read_scenes(args.scenes)
    check_sounds(scenes, args.scenes)
    parts = {part: getattr(args, part) for part in PARTS if getattr(args, part)}
    maker = {
        "command": "batch",
        "model": content_digest(model_folder(args.model)),
        "format": args.format,
        "level": args.level,
        **{part: content_digest(path) for part, path in parts.items()},
    }
    with Batch(args.out, maker, args.redo) as batch:
        rows = batch.plan(scenes, f".{args.format}")
        try:
            if rows:
                _render_all(batch, rows, args, parts)
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


def _render_all(
    batch: Batch, rows: list[Row], args: argparse.Namespace, parts: dict[str, Any]
) -> None:
    from ..device import resolve_device
    from ..loading import load_model

    model = load_model(args.model, device=resolve_device(args.device), **parts)
    total = batch.report.before + len(rows)
    with progress_bar(total, args.out.name) as bar:
        bar.update(batch.report.before)
        for row in rows:
            name = f"{row.name}.{args.format}"
            try:
                details = _render(model, row.scene, batch.staged(name), args.level)
                (path,) = batch.done(row, [name], **details)
                bar.write(str(path))
            except Exception as error:
                _stop_if_full(error)
                # One scene must not end a long night; what is no fault of input is told in full.
                reason = str(error).removeprefix(f"{row.name}: ")
                if not isinstance(error, DreamAudioError):
                    log.exception("%s", row.name)
                    reason = f"{type(error).__name__}: {error}"
                batch.failed(row, reason)
                bar.write(f"failed: {row.name}: {reason}", file=sys.stderr)
            bar.update()


def _render(model: DreamAudio, scene: Scene, path: Path, level: str) -> dict[str, Any]:
    """Render one scene to a file; details for the journal."""
    from ..audio.levels import set_level
    from ..audio.write import write_audio

    began = time.monotonic()
    result = model.generate(**scene.arguments())
    rate = result.sample_rate
    write_audio(path, set_level(result.waveforms[0].cpu(), rate, level)[0], rate)
    return {
        "seed": scene.seed,
        "seconds": result.arrangement.seconds,
        "sample_rate": rate,
        "warnings": list(result.warnings),
        "took": round(time.monotonic() - began, 3),
    }


def _stop_if_full(error: BaseException) -> None:
    """End the batch where nothing more can be written."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            raise InputError(f"{error}; free the disk and start the same command again") from error
        cause = cause.__cause__
