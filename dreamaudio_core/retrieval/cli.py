"""Command line: `library add`, `search`, `list`, `verify` and `remove`."""

from __future__ import annotations

import argparse
import json
import sys

from ..errors import InputError

_SHOWN = 20


def add_parser(subparsers) -> argparse.ArgumentParser:
    """Add the command `library`; each of its sub-commands sets `run`, a function of the arguments
    to an exit code.
    """
    parser = subparsers.add_parser(
        "library",
        help="find reference sounds by prompt",
        description="Index folders of sounds and search them by prompt.",
    )
    commands = parser.add_subparsers(dest="library_command", required=True, metavar="COMMAND")

    add = _command(commands, "add", _add, "take in folders of sounds, or bring them up to date")
    add.add_argument("folders", nargs="+", metavar="FOLDER")
    add.add_argument(
        "--captions",
        metavar="A,B",
        help="where captions come from, the first that has one: sidecar, tags, "
        "clap, name (default: in this order, clap only with --labels)",
    )
    add.add_argument(
        "--labels", metavar="FILE", help="captions that CLAP may choose from, one a line"
    )
    add.add_argument(
        "--bad", choices=("skip", "refuse"), default="skip", help="sounds that cannot be used"
    )
    add.add_argument(
        "--missing",
        choices=("keep", "remove", "refuse"),
        default="keep",
        help="known files that are gone",
    )
    add.add_argument("--no-recursive", action="store_true", help="leave out sub-folders")
    add.add_argument(
        "--reencode", action="store_true", help="embed anew what another encoder has embedded"
    )
    _encoders(add)

    search = _command(commands, "search", _search, "find sounds for a prompt or for a sound")
    search.add_argument("prompt", nargs="?", help="each of its events gets a sound of its own")
    search.add_argument("--audio", metavar="FILE", help="search by this sound instead (CLAP)")
    search.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="how many (default: one for each event of the prompt)",
    )
    search.add_argument(
        "--by",
        choices=("caption", "audio", "both"),
        default="caption",
        help="compare the prompt with captions, with sounds (CLAP), or both",
    )
    search.add_argument(
        "--min-score", type=float, default=-1.0, metavar="X", help="least similarity, -1 to 1"
    )
    search.add_argument(
        "--changed",
        choices=("skip", "refuse", "use"),
        default="skip",
        help="files that were moved or changed since they were indexed",
    )
    _encoders(search)

    _command(commands, "list", _list, "show the sounds and their captions")
    verify = _command(
        commands,
        "verify",
        _verify,
        "compare the index with the files; exit status 1 if they differ",
    )
    verify.add_argument("--deep", action="store_true", help="compare contents too")
    remove = _command(commands, "remove", _remove, "forget sounds; the files themselves stay")
    remove.add_argument("paths", nargs="*", metavar="PATH", help="files or folders")
    remove.add_argument(
        "--missing", action="store_true", help="forget all sounds whose files are gone"
    )
    return parser


def _command(commands, name: str, run, description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description)
    parser.add_argument("--library", required=True, metavar="FOLDER", help="folder of the index")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=run)
    return parser


def _encoders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clap",
        metavar="FOLDER|ID",
        help="CLAP model; nothing is downloaded but a hub id that you name",
    )
    parser.add_argument(
        "--text-encoder", metavar="FOLDER", help="another text encoder than the embedded model's"
    )
    parser.add_argument("--device", default="cpu")


def _open(args: argparse.Namespace):
    from .library import Library

    given = {
        key: value
        for key in ("clap", "text_encoder", "device")
        if (value := getattr(args, key, None)) is not None
    }
    return Library.open(args.library, **given)


def _print(args: argparse.Namespace, found: object, lines: list[str]) -> None:
    sys.stdout.write(
        json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        if args.json
        else "".join(f"{x}\n" for x in lines)
    )


def _problems(problems) -> tuple[list[dict], list[str]]:
    lines = [f"{p.kind}: {p.reason}" for p in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... and {len(problems) - _SHOWN} more")
    return [{"path": str(p.path), "kind": p.kind, "reason": p.reason} for p in problems], lines


def _add(args: argparse.Namespace) -> int:
    from .caption_sources import read_labels

    library = _open(args)
    captions = [c.strip() for c in args.captions.split(",")] if args.captions else None
    labels = read_labels(args.labels) if args.labels else None
    found, lines = [], []
    for folder in args.folders:
        report = library.add(
            folder,
            captions=captions,
            labels=labels,
            bad=args.bad,
            missing=args.missing,
            recursive=not args.no_recursive,
            reencode=args.reencode,
            show_progress=True,
        )
        problems, shown = _problems(report.problems + report.missing)
        counts = {
            key: getattr(report, key)
            for key in ("added", "changed", "moved", "refreshed", "unchanged", "removed")
        }
        found.append({"folder": folder, **counts, "problems": problems})
        lines += [*shown, f"{folder}: {report}"]
    _print(args, found, [*lines, f"{args.library}: {len(library)} sounds"])
    return 0


def _search(args: argparse.Namespace) -> int:
    if (args.prompt is None) == (args.audio is None):
        raise InputError("search: expected a prompt or --audio FILE, and not both")
    library = _open(args)
    options = {"min_score": args.min_score, "changed": args.changed}
    if args.audio is not None:
        hits = library.search_audio(args.audio, args.count or 1, **options)
    else:
        hits = library.search(args.prompt, args.count, by=args.by, **options)
    found = [
        {
            "path": str(h.path),
            "caption": h.caption,
            "score": round(h.score, 4),
            "seconds": round(h.seconds, 3),
            "part": h.part,
        }
        for h in hits
    ]
    lines = [
        f"{h.score:6.3f}  {h.seconds:7.2f} s  {h.path}  {h.caption}"
        + (f"  [{h.part}]" if h.part else "")
        for h in hits
    ]
    _print(args, found, lines or ["nothing found"])
    return 0 if hits else 1


def _list(args: argparse.Namespace) -> int:
    entries = _open(args).entries()
    found = [
        {
            "path": str(e.path),
            "caption": e.caption,
            "source": e.source,
            "seconds": round(e.seconds, 3),
        }
        for e in entries
    ]
    _print(
        args, found, [f"{e.seconds:7.2f} s  {e.path}  {e.caption}  ({e.source})" for e in entries]
    )
    return 0


def _verify(args: argparse.Namespace) -> int:
    result = _open(args).verify(args.deep)
    problems, lines = _problems(result.problems)
    _print(
        args,
        {"intact": result.intact, "problems": problems},
        [*lines, f"{result.intact} intact, {len(problems)} not"],
    )
    return 1 if problems else 0


def _remove(args: argparse.Namespace) -> int:
    if not args.paths and not args.missing:
        raise InputError("remove: expected files or folders, or --missing")
    library = _open(args)
    removed = sum(library.remove(path) for path in args.paths)
    removed += library.remove_missing() if args.missing else 0
    _print(
        args,
        {"removed": removed, "left": len(library)},
        [f"{removed} removed, {len(library)} left"],
    )
    return 0
