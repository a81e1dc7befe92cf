"""Command line: `evaluate folders`, `ctta`, `customization`, `arranger`, `tables`, `listening`,
`ratings`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from ..audio.mel import log_mel
from ..audio.picture import Panel, draw_spectrograms
from ..config import AudioConfig
from ..device import resolve_device
from ..errors import InputError
from ..files import atomic_write
from ..scene.scene_files import read_scenes
from ..scene.scenes import Scene
from .arranger_cli import add_arranger
from .clips import read_clip
from .ctta import TEST_SETS, find_test_set, run_ctta
from .customization_cli import add_customization
from .evaluate import METRICS, Evaluation, Options, Weights, choose_metrics, evaluate
from .generators import Generator
from .listening import build_listening_page, read_ratings
from .pairs import Policy
from .report import Section, report_markdown, write_report
from .systems.by_name import load_generator
from .tables_cli import add_tables

LoadGenerator = Callable[..., Generator]
_PARTS = ("flow", "vae", "vocoder", "text-encoder")


def add_parser(
    subparsers, load_generator: LoadGenerator = load_generator
) -> argparse.ArgumentParser:
    """Add the command `evaluate`; each of its sub-commands sets `run`, a function of the arguments
    to an exit code.

    Parameters
    ----------
    subparsers
        What `ArgumentParser.add_subparsers` returned.
    load_generator : callable
        From the value of `--model`, with the keywords `device`, `steps`, `guidance`,
        `reference_guidance`, `parts` and `free` as far as given, to a `Generator`.
    """
    parser = subparsers.add_parser(
        "evaluate",
        help="score generated audio",
        description="Score generated audio as the paper does, and prepare listening tests.",
    )
    commands = parser.add_subparsers(dest="evaluate_command", required=True, metavar="COMMAND")

    folders = commands.add_parser(
        "folders", help="score folders of clips against a folder of targets"
    )
    folders.add_argument(
        "--generated",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="clips of a system; may be given more than once",
    )
    folders.add_argument("--target", metavar="FOLDER", help="targets with the same names")
    folders.add_argument(
        "--prompts", metavar="FILE", help="scene file, test-set folder, or JSON {stem: prompt}"
    )
    folders.add_argument(
        "--test-set",
        choices=sorted(TEST_SETS),
        help="show the paper's figures for this test set too",
    )
    folders.set_defaults(run=_run_folders)

    ctta = commands.add_parser("ctta", help="generate a test set with a model and score it")
    ctta.add_argument(
        "--model",
        required=True,
        help="embedded model, model folder, preset with all its parts, or a baseline "
        "(audioldm:FOLDER, ...)",
    )
    ctta.add_argument("--test-set", choices=sorted(TEST_SETS), required=True)
    ctta.add_argument(
        "--data",
        required=True,
        metavar="FOLDER",
        help="folder with scenes.jsonl, or with one folder a test set",
    )
    ctta.add_argument("--seed", type=int, default=0)
    ctta.add_argument("--limit", type=int, metavar="N", help="only the first N items")
    ctta.add_argument("--steps", type=int, help="solver steps")
    ctta.add_argument("--guidance", type=float, metavar="SCALE", help="guidance scale")
    ctta.add_argument(
        "--reference-guidance", type=float, metavar="SCALE", help="guidance scale of the references"
    )
    for part in _PARTS:
        ctta.add_argument(
            f"--{part}",
            metavar="PATH",
            help=f"use this {part.replace('-', ' ')} instead of the model's own",
        )
    ctta.add_argument(
        "--free", action="store_true", help="leave the placing of references to the network"
    )
    ctta.set_defaults(run=_run_ctta, load_generator=load_generator)

    for command in (folders, ctta):
        _add_scoring(command)

    add_customization(commands)

    add_arranger(commands)
    add_tables(commands)
    listening = commands.add_parser("listening", help="write a listening-test page")
    listening.add_argument(
        "--system",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="clips of a system; may be given more than once",
    )
    listening.add_argument(
        "--prompts",
        required=True,
        metavar="FILE",
        help="scene file or test-set folder, whose references are played too, or JSON "
        "{stem: prompt}; items of which no system has a clip are left out",
    )
    listening.add_argument("--count", type=int, metavar="N", help="draw N items")
    listening.add_argument("--seed", type=int, default=0, help="seed of the draw")
    listening.add_argument("--title", default="Listening test")
    listening.add_argument("--out", required=True, metavar="FILE.html")
    listening.set_defaults(run=_run_listening)

    ratings = commands.add_parser(
        "ratings", help="average the answers that listening-test pages saved"
    )
    ratings.add_argument("csv", nargs="+", metavar="CSV")
    ratings.set_defaults(run=_run_ratings)
    return parser


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    weights = parser.add_argument_group(
        "weights", "nothing is downloaded but a hub id that you name"
    )
    weights.add_argument("--vggish", metavar="FILE", help="VGGish for FAD")
    weights.add_argument("--cnn14", metavar="FILE", help="Cnn14 16 kHz for KL")
    weights.add_argument("--clap", metavar="FOLDER|ID", help="CLAP model for CLAP and CLAP_A")
    weights.add_argument(
        "--aesthetics", metavar="FILE|FOLDER", help="AudioBox-Aesthetics for PQ and CU"
    )
    parser.add_argument(
        "--metrics",
        metavar="A,B",
        help=f"out of {', '.join(METRICS)}; all that weights are given for by default",
    )
    parser.add_argument(
        "--ratings", nargs="+", metavar="CSV", help="answers of listening tests, for OVL and REL"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for the report")
    parser.add_argument("--cache", metavar="FOLDER", help="for features; inside --out by default")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto (default: cpu)")
    parser.add_argument(
        "--plots",
        type=int,
        default=0,
        metavar="N",
        help="draw spectrograms of the first N items (needs Pillow)",
    )
    policy = parser.add_argument_group("clips that do not fit")
    policy.add_argument("--unpaired", choices=("refuse", "skip"), default="refuse")
    policy.add_argument(
        "--bad-audio",
        choices=("refuse", "skip"),
        default="refuse",
        help="undecodable, empty or NaN files",
    )
    policy.add_argument(
        "--mixed-rates",
        choices=("refuse", "skip", "resample"),
        default="refuse",
        help="clips whose sample rate is not their folder's usual one",
    )


def _scoring(args: argparse.Namespace) -> tuple[Weights, list[str] | None, Options]:
    weights = Weights(args.vggish, args.cnn14, args.clap, args.aesthetics)
    metrics = [m.strip() for m in args.metrics.split(",")] if args.metrics else None
    policy = Policy(args.unpaired, args.bad_audio, args.mixed_rates)
    options = Options(
        args.cache or Path(args.out) / "features",
        args.batch_size,
        str(resolve_device(args.device)),
        policy,
        show_progress=True,
    )
    if args.plots < 0:
        raise InputError(f"plots: expected 0 or more, found {args.plots}")
    return weights, metrics, options


def _named(text: str) -> tuple[str, Path]:
    """NAME=FOLDER, or a folder that gives its own name."""
    name, separator, folder = text.partition("=")
    if separator and not Path(text).is_dir():
        if not name or not folder:
            raise InputError(f"{text!r}: expected NAME=FOLDER")
        return name, Path(folder)
    return Path(text).resolve().name, Path(text)


def _systems(given: list[str]) -> dict[str, Path]:
    systems: dict[str, Path] = {}
    for name, folder in map(_named, given):
        if name in systems:
            raise InputError(f"two systems are called {name!r}; tell them apart with NAME=FOLDER")
        systems[name] = folder
    return systems


def _run_folders(args: argparse.Namespace) -> int:
    weights, metrics, options = _scoring(args)
    scenes = _by_name(read_scenes(args.prompts)) if args.prompts else {}
    prompts = {name: scene.prompt for name, scene in scenes.items()} or None
    systems = _systems(args.generated)
    found = [
        evaluate(folder, args.target, prompts, weights, metrics, options, name)
        for name, folder in systems.items()
    ]
    return _finish(args, found, scenes)


def _run_ctta(args: argparse.Namespace) -> int:
    weights, metrics, options = _scoring(args)
    # Checked first, so that a mistake in the request is told before a model is loaded.
    scenes = read_scenes(find_test_set(args.data, args.test_set))
    choose_metrics(metrics, weights, any(scene.target for scene in scenes), has_prompts=True)
    wanted = ("steps", "guidance", "reference_guidance")
    settings = {key: value for key in wanted if (value := getattr(args, key)) is not None}
    parts = {
        key: value
        for p in _PARTS
        if (value := getattr(args, key := p.replace("-", "_"))) is not None
    }
    if parts:
        settings["parts"] = parts
    if args.free:
        settings["free"] = True
    generator = args.load_generator(args.model, device=options.device, **settings)
    result = run_ctta(
        generator,
        args.data,
        args.test_set,
        args.out,
        weights,
        metrics,
        options,
        args.seed,
        args.limit,
    )
    return _finish(args, [result.evaluation], _by_name(result.scenes))


def _by_name(scenes: list[Scene]) -> dict[str, Scene]:
    return {scene.name: scene for scene in scenes}


def _finish(
    args: argparse.Namespace, evaluations: list[Evaluation], scenes: dict[str, Scene]
) -> int:
    ratings = read_ratings(args.ratings) if args.ratings else {}
    out = Path(args.out)
    plots = []
    for stem in evaluations[0].pairing.stems[: args.plots]:
        scene = scenes.get(stem)
        references = scene.references if scene else ()
        panels = [(f"reference: {r.caption}", r.audio) for r in references if r.audio]
        target = evaluations[0].pairing.target.get(stem)
        panels += [("target", target.path)] if target else []
        panels += [
            (e.name, e.pairing.generated[stem].path)
            for e in evaluations
            if stem in e.pairing.generated
        ]
        prompt = scene.prompt if scene else ""
        plots.append(
            (
                f"{stem}: {prompt}" if prompt else stem,
                _plot(panels, out / "plots" / (args.test_set or "") / f"{stem}.png", prompt),
            )
        )
    section = Section(args.test_set, evaluations, ratings, plots)
    _, markdown = write_report(out, [section])
    sys.stdout.write(
        report_markdown([dataclasses.replace(section, plots=[])]) + f"\nwritten to {markdown}\n"
    )
    return 0


def _plot(sounds: list[tuple[str, Path]], path: Path, title: str) -> Path:
    """Draw the spectrograms of sound files with a heading each."""
    config = AudioConfig()
    panels = [
        Panel(log_mel(read_clip(file, config.sample_rate)[None], config)[0, 0], heading)
        for heading, file in sounds
    ]
    picture = draw_spectrograms(panels, config, title, size=(720, 140))
    with atomic_write(path) as partial:
        picture.save(partial, format="PNG")
    return path


def _run_listening(args: argparse.Namespace) -> int:
    scenes = _by_name(read_scenes(args.prompts))
    count = build_listening_page(
        _systems(args.system), scenes, args.out, args.count, args.seed, args.title
    )
    sys.stdout.write(f"{args.out}: {count} clips to rate\n")
    return 0


def _run_ratings(args: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(read_ratings(args.csv), indent=1) + "\n")
    return 0
