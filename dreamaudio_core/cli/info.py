"""`dreamaudio info`."""

from __future__ import annotations

import argparse
import json


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser("info", help="sizes of a preset, model folder or weight file")
    parser.add_argument("name", help="preset, embedded model, model folder or weight file")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is inside."""
    from ..weights.info import describe

    found = describe(args.name)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(found.get("name") or found["file"])
    for name, count in {**found["parameters"], **found.get("other_parameters", {})}.items():
        if count:
            print(f"  {name:<18} {count / 1e6:9.2f} M parameters")
    for name, size in found.get("files", {}).items():
        print(f"  {name:<34} {size / 2**20:8.1f} MiB")
    for part in found.get("missing", []):
        print(f"  missing: {part}")
    return 0
