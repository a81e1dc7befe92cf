"""Command line: `library add`, `search`, `list` and `remove`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .library import SoundLibrary

_SHOWN = 20


def add_parser(subparsers) -> argparse.ArgumentParser:
    """Add the command `library`; each of its sub-commands sets `run`, a function of the arguments
    to an exit code.
    """
    parser = subparsers.add_parser(
        "library",
        help="index sounds, and find references for a prompt",
        description="Index folders of sounds and search them by prompt.",
    )
    commands = parser.add_subparsers(dest="library_command", required=True, metavar="COMMAND")

    add = _command(commands, "add", _add, "add sounds, or bring them up to date")
    add.add_argument(
        "sources",
        nargs="+",
        metavar="FOLDER|LIST",
        help="folder of sounds; or a bank's manifest or scenes (.jsonl), with their captions",
    )
    add.add_argument("--no-recursive", action="store_true", help="leave out sub-folders")
    _encoders(add)

    search = _command(commands, "search", _search, "find sounds for a prompt or for a sound")
    search.add_argument("prompt", nargs="?", help="each of its events gets a sound of its own")
    search.add_argument("--audio", metavar="FILE", help="search by this sound instead (CLAP)")
    search.add_argument(
        "--count", type=int, metavar="N", help="how many (default: one for each event)"
    )
    search.add_argument(
        "--by",
        choices=("caption", "audio", "both"),
        default="caption",
        help="compare the prompt with captions, with sounds (CLAP), or with both",
    )
    search.add_argument(
        "--min-score", type=float, default=-1.0, metavar="X", help="least similarity, -1 to 1"
    )
    _encoders(search)

    _command(commands, "list", _list, "show the sounds and their captions")
    remove = _command(commands, "remove", _remove, "remove sounds from the library; files stay")
    remove.add_argument("paths", nargs="+", metavar="PATH", help="files or folders")
    return parser


def _command(commands, name: str, run, description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description)
    parser.add_argument(
        "--library", required=True, metavar="FILE", help="file of the library, such as my.sqlite"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(run=run)
    return parser


def _encoders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clap",
        metavar="FOLDER|ID",
        help="CLAP model, to search by sound; only a hub id that you name is downloaded",
    )
    parser.add_argument(
        "--text-encoder", metavar="FOLDER", help="use this text encoder (default: mini's)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto (default: cpu)")


def _open(args: argparse.Namespace) -> SoundLibrary:
    from ..device import resolve_device
    from .library import SoundLibrary

    return SoundLibrary(
        args.library,
        getattr(args, "text_encoder", None),
        getattr(args, "clap", None),
        resolve_device(getattr(args, "device", "cpu")),
    )


def _print(args: argparse.Namespace, found: object, lines: list[str]) -> None:
    if args.json:
        lines = [json.dumps(found, indent=1, ensure_ascii=False)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _add(args: argparse.Namespace) -> int:
    library = _open(args)
    found, lines = [], []
    for source in args.sources:
        report = library.add(source, recursive=not args.no_recursive, show_progress=True)
        reasons = [problem.reason for problem in report.problems]
        counts = {
            name: getattr(report, name) for name in ("added", "updated", "unchanged", "removed")
        }
        problems = [{"path": str(p.path), "reason": p.reason} for p in report.problems]
        found.append({"source": source, **counts, "problems": problems})
        lines += [f"left out: {reason}" for reason in reasons[:_SHOWN]]
        if len(reasons) > _SHOWN:
            lines.append(f"... and {len(reasons) - _SHOWN} more")
        lines.append(f"{source}: {report}")
    _print(args, found, [*lines, f"{args.library}: {len(library)} sounds"])
    return 0


def _search(args: argparse.Namespace) -> int:
    if (args.prompt is None) == (args.audio is None):
        raise InputError("search: expected a prompt or --audio FILE, and not both")
    library = _open(args)
    if args.audio is not None:
        count = 1 if args.count is None else args.count
        hits = library.search_audio(args.audio, count, min_score=args.min_score)
    else:
        hits = library.search(args.prompt, args.count, by=args.by, min_score=args.min_score)
    found = [
        {
            "path": str(hit.path),
            "caption": hit.caption,
            "score": round(hit.score, 4),
            "seconds": round(hit.seconds, 3),
            "event": hit.event,
        }
        for hit in hits
    ]
    lines = [
        f"{hit.score:6.3f}  {hit.seconds:7.2f} s  {hit.path}  {hit.caption}"
        + (f"  [{hit.event}]" if hit.event else "")
        for hit in hits
    ]
    _print(args, found, lines or ["nothing found"])
    return 0 if hits else 1


def _list(args: argparse.Namespace) -> int:
    entries = _open(args).entries()
    found = [
        {
            "path": str(entry.path),
            "caption": entry.caption,
            "source": entry.source,
            "seconds": round(entry.seconds, 3),
        }
        for entry in entries
    ]
    lines = [f"{e.seconds:7.2f} s  {e.path}  {e.caption}  ({e.source})" for e in entries]
    _print(args, found, lines)
    return 0


def _remove(args: argparse.Namespace) -> int:
    library = _open(args)
    removed = sum(library.remove(path) for path in args.paths)
    left = len(library)
    _print(args, {"removed": removed, "left": left}, [f"{removed} removed, {left} left"])
    return 0
