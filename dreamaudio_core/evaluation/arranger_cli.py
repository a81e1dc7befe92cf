"""Command `evaluate arranger`: how many prompts a model arranges wholly right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..scene.scenes import Scene
from .timelines import Timeline, evaluate_prompts, read_prompts

PROMPTS = Path(__file__).with_name("prompts.jsonl")


def add_arranger(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "arranger", help="share of prompts whose timeline is wholly what they ask for"
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        default=PROMPTS,
        metavar="FILE",
        help="scenes with expectations (default: the open set of the package)",
    )
    parser.add_argument("--model", default="mini", help="embedded model or model folder")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--faults", action="store_true", help="print what is wrong with each prompt"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Arrange every prompt and print the figures."""
    items = read_prompts(args.prompts)
    import torch

    from ..loading import load_text_stages
    from ..scene.reference import Reference

    model = load_text_stages(args.model)

    def arrange(item: Scene) -> tuple[Timeline, tuple[str, ...]]:
        # Only lengths count here, so that silence stands for the sounds.
        rate = model.config.audio.sample_rate
        references = [
            Reference(torch.zeros(round((r.seconds or 0.0) * rate)), r.caption, name=r.name)
            for r in item.references
        ]
        arrangement = model.arrange(model.condition(item.prompt, references), item.seconds)
        return [r.placements or () for r in arrangement.references], arrangement.warnings

    found = evaluate_prompts(items, arrange)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    print(f"{found['right']} % of {found['prompts']} prompts wholly right")
    if args.faults:
        for wrong in found["wrong"]:
            print(f"{wrong['prompt']}: {'; '.join(wrong['faults'])}")
    return 0
