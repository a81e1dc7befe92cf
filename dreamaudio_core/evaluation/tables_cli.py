"""Command line: `evaluate tables`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import InputError
from .listening import read_ratings
from .report import write_text
from .tables import make_tables, table_markdown, tables_json


def add_tables(commands) -> None:
    """Add the command `tables`."""
    parser = commands.add_parser(
        "tables",
        help="fill the paper's Tables III to VI",
        description="Puts the reports of evaluations next to the paper's figures.",
    )
    parser.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="ID=FOLDER",
        help="--out of `evaluate ctta`; known to the tables are base, l, ddpm, unet, sencoder, "
        "audiocaps, align-10000 and others; another one gets rows of its own",
    )
    parser.add_argument(
        "--ratings", nargs="+", metavar="CSV", help="answers of listening tests, for OVL and REL"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--plots", action="store_true", help="draw a picture of each (needs matplotlib)"
    )
    parser.add_argument("--title", default="Tables III to VI", help="heading of the page")
    parser.add_argument("--note", help="a line below the heading")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    systems: dict[str, Path] = {}
    for text in args.system:
        name, _, folder = text.partition("=")
        if not name or not folder or name in systems:
            raise InputError(f"--system: expected ID=FOLDER, each ID once, found {text!r}")
        systems[name] = Path(folder).expanduser()
    tables = make_tables(systems, read_ratings(args.ratings) if args.ratings else None)
    lines = [f"# {args.title}", "", *([args.note, ""] if args.note else [])]
    for table in tables:
        lines.append(table_markdown(table))
        if args.plots:
            from .table_plots import plot_table

            picture = args.out / f"table-{table.number}.png"
            plot_table(table, picture)
            lines.append(f"![Table {table.number}]({picture.name})\n")
    content = {"note": args.note, **tables_json(tables)}
    write_text(args.out / "tables.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(args.out / "tables.md", "\n".join(lines).rstrip() + "\n")
    sys.stdout.write(f"{args.out / 'tables.md'}: Tables {', '.join(t.number for t in tables)}\n")
    return 0
