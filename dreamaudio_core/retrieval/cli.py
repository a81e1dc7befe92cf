"""Command line: `library add`, `search`, `list` and `remove`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

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
        help="folder of sounds; or a bank's manifest (.jsonl), with their captions",
    )
    search = _command(commands, "search", _search, "find sounds for a prompt")
    search.add_argument("prompt", help="each of its events gets a sound of its own")
    search.add_argument(
        "--count", type=int, metavar="N", help="how many (default: one for each event)"
    )
    search.add_argument(
        "--min-score", type=float, default=-1.0, metavar="X", help="least similarity, -1 to 1"
    )
    for parser_with_device in (add, search):
        parser_with_device.add_argument(
            "--device", default="cpu", help="cpu, cuda, mps or auto (default: cpu)"
        )
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
    parser.set_defaults(run=run, device="cpu")
    return parser


def _open(args: argparse.Namespace) -> SoundLibrary:
    from ..device import resolve_device
    from .library import SoundLibrary

    return SoundLibrary(args.library, device=resolve_device(args.device))


def _print(args: argparse.Namespace, found: object, lines: list[str]) -> None:
    if args.json:
        lines = [json.dumps(found, indent=1, ensure_ascii=False)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _add(args: argparse.Namespace) -> int:
    library = _open(args)
    found, lines = [], []
    for source in args.sources:
        report = library.add(source, show_progress=True)
        found.append({"source": source, **vars(report)})
        lines += [f"left out: {reason}" for reason in report.problems[:_SHOWN]]
        if len(report.problems) > _SHOWN:
            lines.append(f"... and {len(report.problems) - _SHOWN} more")
        lines.append(f"{source}: {report}")
    _print(args, found, [*lines, f"{args.library}: {len(library)} sounds"])
    return 0


def _search(args: argparse.Namespace) -> int:
    hits = _open(args).search(args.prompt, args.count, min_score=args.min_score)
    found = [vars(hit) | {"path": str(hit.path), "score": round(hit.score, 4)} for hit in hits]
    lines = [
        f"{hit.score:6.3f}  {hit.seconds:7.2f} s  {hit.path}  {hit.caption}  [{hit.event}]"
        for hit in hits
    ]
    _print(args, found, lines or ["nothing found"])
    return 0 if hits else 1


def _list(args: argparse.Namespace) -> int:
    entries = _open(args).entries()
    fields = ("path", "caption", "source", "seconds")
    found = [{name: getattr(entry, name) for name in fields} for entry in entries]
    lines = [f"{e.seconds:7.2f} s  {e.path}  {e.caption}  ({e.source})" for e in entries]
    _print(args, found, lines)
    return 0


def _remove(args: argparse.Namespace) -> int:
    library = _open(args)
    removed = sum(library.remove(path) for path in args.paths)
    left = len(library)
    _print(args, {"removed": removed, "left": left}, [f"{removed} removed, {left} left"])
    return 0
