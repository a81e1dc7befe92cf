"""`dreamaudio arrange`."""

from __future__ import annotations

import argparse

from .options import add_scene_options, load_references


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "arrange", help="show where each reference would sound, without generating"
    )
    add_scene_options(parser)
    parser.add_argument("--json", action="store_true", help="print the arrangement as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the prompt and print the timeline."""
    from ..device import resolve_device
    from ..loading import load_text_stages

    references = load_references(args.references)
    model = load_text_stages(args.model, device=resolve_device(args.device))
    conditioning = model.condition(args.prompt, references)
    arrangement = model.arrange(conditioning, args.seconds, missing=args.missing)
    print(arrangement.to_json(indent=2) if args.json else "\n".join(arrangement.describe()))
    return 0
