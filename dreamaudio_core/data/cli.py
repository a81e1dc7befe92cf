"""Command line: `data scan`, `data build`, `data compose` and `data cache`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import DreamAudioError, InputError
from ..json_text import parse_json
from .datasets import COUNTS, DATASETS, AudioCapsGeneral, Composed

FANTASY = "fantasy"
"""Test set without a bank."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command `data`; each of its sub-commands sets `run`, a function of the arguments to
    an exit code.
    """
    parser = subparsers.add_parser(
        "data",
        help="build sound banks, data sets and caches",
        description="From published sound collections to training data and test sets.",
    )
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")

    scan = commands.add_parser("scan", help="list a collection in a manifest")
    scan.add_argument("layout", choices=("audiocaps", "wavcaps", "urbansound8k", "esc50", "folder"))
    scan.add_argument("folder", type=Path, help="top folder of the collection")
    scan.add_argument(
        "--out", type=Path, required=True, metavar="MANIFEST", help="JSON-lines file to write"
    )
    scan.add_argument(
        "--longest",
        type=float,
        metavar="SECONDS",
        help="leave out sounds of this length or more (the paper: 10 for WavCaps)",
    )
    scan.add_argument("--license", help="license of the sounds, instead of the collection's own")
    scan.set_defaults(run=_scan)

    build = commands.add_parser("build", help="join manifests into one packed bank at 16 kHz")
    build.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    build.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    build.add_argument("--max-seconds", type=float, help="cut longer sounds")
    build.set_defaults(run=_build)

    compose = commands.add_parser("compose", help="write a fixed test set to disk")
    compose.add_argument(
        "dataset",
        choices=(*DATASETS, FANTASY),
        help=f"{FANTASY}: the scenes of a file, which have no target",
    )
    compose.add_argument(
        "manifest", type=Path, nargs="?", help=f"bank manifest; none for {FANTASY}"
    )
    compose.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    compose.add_argument(
        "--scenarios",
        type=Path,
        metavar="FILE",
        help=f"{FANTASY}: scenes with their references (JSONL or CSV)",
    )
    compose.add_argument(
        "--sounds",
        type=Path,
        metavar="FOLDER",
        help=f"{FANTASY}: where the references lie (default: next to the file)",
    )
    compose.add_argument("--split", default="test", choices=("train", "test"))
    compose.set_defaults(run=_compose)

    cache = commands.add_parser("cache", help="compute latents and text features once")
    cache.add_argument(
        "dataset",
        choices=[name for name in DATASETS if "train" in COUNTS[name]],
        help="composed: prompts of many layouts with their timelines; the others as in the paper",
    )
    cache.add_argument("manifest", type=Path, help="bank manifest")
    cache.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    cache.add_argument(
        "--model", required=True, help="preset, embedded model or model folder: decides sizes"
    )
    cache.add_argument("--vae", type=Path, help="VAE weights (default: the model folder's)")
    cache.add_argument("--text-encoder", help="folder or hub id (default: the model's own)")
    cache.add_argument("--split", default="train", choices=("train", "test"))
    cache.add_argument("--shard-items", type=int, default=128, metavar="N")
    cache.add_argument(
        "--share",
        default="1/1",
        metavar="K/N",
        help="cache only the K-th of N shares of the shards",
    )
    cache.add_argument(
        "--seconds",
        type=_lengths,
        metavar="S[,S...]",
        help="composed: lengths, alternating from shard to shard (default: 10.24)",
    )
    cache.add_argument(
        "--text-only",
        action="store_true",
        help="composed: only single events that are asked for by their caption, without references",
    )
    cache.add_argument("--workers", type=int, default=1, metavar="N", help="processes")
    cache.add_argument("--device", default="cpu")
    cache.set_defaults(run=_cache)

    for command in (compose, cache):
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--count", type=int, help="items (default: as many as in the paper)")
        command.add_argument(
            "--groups", type=int, default=3, help="references that the events are grouped into"
        )
        command.add_argument(
            "--collections",
            type=lambda text: tuple(text.split(",")),
            metavar="A[,B...]",
            help="draw from these collections of the bank alone, by the names of their layouts",
        )
        command.add_argument(
            "--library",
            type=Path,
            metavar="FILE",
            help="general: give each clip the sounds of this library that answer its caption best "
            "(default: no references)",
        )
    return parser


def _bar(total: int | None, label: str, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=label, unit=unit, disable=None)


def _report(problems: list[str], shown: int = 5) -> None:
    for line in problems[:shown]:
        print(f"left out: {line}", file=sys.stderr)
    if len(problems) > shown:
        print(f"left out: {len(problems) - shown} more", file=sys.stderr)


def _seconds(path: Path) -> dict[str, float]:
    """Lengths of an earlier or interrupted scan."""
    known: dict[str, float] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = parse_json(line)
                known[entry["path"]] = entry["seconds"]
            except (ValueError, KeyError, TypeError):
                continue
    return known


def _scan(args: argparse.Namespace) -> int:
    from .bank import write_manifest
    from .scan import scan

    args.out.parent.mkdir(parents=True, exist_ok=True)
    lengths = args.out.with_name(args.out.name + ".lengths")
    known = {**_seconds(args.out), **_seconds(lengths)}
    with open(lengths, "a", encoding="utf-8") as log, _bar(None, args.layout, "file") as bar:

        def each(entry: Any) -> None:
            bar.update()
            if entry is not None and entry.path not in known:
                log.write(json.dumps({"path": entry.path, "seconds": entry.seconds}) + "\n")

        try:
            found = scan(
                args.layout,
                args.folder,
                args.out.parent,
                known,
                license=args.license,
                longest=args.longest,
                each=each,
            )
        except DreamAudioError:
            log.close()
            if lengths.stat().st_size == 0:
                lengths.unlink()
            raise
    write_manifest(args.out, found.entries)
    lengths.unlink()
    _report(found.problems)
    splits: dict[str, int] = {}
    for entry in found.entries:
        splits[entry.split] = splits.get(entry.split, 0) + 1
    hours = sum(entry.seconds for entry in found.entries) / 3600
    print(
        f"{args.out}: {len(found.entries)} sounds "
        f"({', '.join(f'{k} {v}' for k, v in splits.items())}), {hours:.2f} h"
    )
    return 0


def _build(args: argparse.Namespace) -> int:
    from .pack import pack_bank, read_manifests

    sources = read_manifests(args.manifests)
    with _bar(len(sources), "packing", "sound") as bar:
        problems = pack_bank(sources, args.out, args.max_seconds, bar.update)
    _report(problems)
    print(f"{args.out / 'manifest.jsonl'}: {len(sources) - len(problems)} sounds")
    return 0


def _lengths(text: str) -> tuple[float, ...]:
    lengths = tuple(float(length) for length in text.split(","))
    if not all(0.3 <= length <= 120.0 for length in lengths):
        raise argparse.ArgumentTypeError(f"expected seconds from 0.3 to 120, found {text!r}")
    return lengths


def _at_least_one(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')}: expected at least 1, found {value}")


def _datasets(args: argparse.Namespace) -> list[Any]:
    """The dataset of the command line, once for each length."""
    from .bank import Bank
    from .compose.config import ComposerConfig

    bank = Bank(args.manifest, collections=args.collections)
    common = (args.split, args.seed, args.count, args.groups)
    if args.library is not None:
        return [_retrieved(args, bank, common)]
    lengths = getattr(args, "seconds", None)
    text_only = getattr(args, "text_only", False)
    if args.dataset != "composed":
        if lengths or text_only:
            raise InputError("--seconds, --text-only: only the dataset 'composed' has these")
        return [DATASETS[args.dataset](bank, *common)]
    make = ComposerConfig.text_only if text_only else ComposerConfig.fixed_length
    configs = [make(length) for length in lengths] if lengths else [make()]
    return [Composed(bank, *common, config=config) for config in configs]


def _retrieved(args: argparse.Namespace, bank: Any, common: tuple) -> Any:
    from ..retrieval import SoundLibrary

    if args.dataset != AudioCapsGeneral.name:
        raise InputError(f"--library: only the dataset {AudioCapsGeneral.name!r} has one")
    if not args.library.is_file():
        raise InputError(
            f"--library: {args.library}: no such file; make it with: dreamaudio library add "
            f"MANIFEST --library {args.library}"
        )
    return AudioCapsGeneral(bank, *common, library=SoundLibrary(args.library))


def _compose_scenarios(args: argparse.Namespace) -> int:
    from .scenarios import read_scenarios, write_scenarios

    if args.scenarios is None:
        raise InputError(
            f"--scenarios: expected a file of scenes for {FANTASY}, found none; the paper's recipe "
            "has one: recipes/paper/fantasy.jsonl"
        )
    scenes = read_scenarios(args.scenarios, args.sounds)[: args.count]
    with _bar(len(scenes), FANTASY, "item") as bar:
        count = write_scenarios(scenes, args.out, bar.update)
    print(f"{args.out / 'scenes.jsonl'}: {count} scenes")
    return 0


def _compose(args: argparse.Namespace) -> int:
    from .export import write_test_set

    _at_least_one(args, "count", "groups")
    if args.dataset == FANTASY:
        return _compose_scenarios(args)
    if args.scenarios or args.sounds:
        raise InputError(f"--scenarios, --sounds: only {FANTASY} is made of these")
    if args.manifest is None:
        raise InputError(
            f"manifest: expected the manifest of a bank for {args.dataset}, found none"
        )
    (dataset,) = _datasets(args)
    with _bar(len(dataset), args.dataset, "item") as bar:
        count = write_test_set(dataset, args.out, each=bar.update)
    print(f"{args.out / 'scenes.jsonl'}: {count} scenes")
    return 0


def _share(text: str) -> tuple[int, int]:
    number, _, total = text.partition("/")
    if not (number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total)):
        raise InputError(f"--share: expected K/N with 1 <= K <= N, such as 1/4, found {text!r}")
    return int(number) - 1, int(total)


def _cache_config(args: argparse.Namespace) -> tuple[Any, Path, str | Path]:
    """Configuration of the model, its VAE's file, and its text encoder's folder or hub id."""
    from ..weights.folder import find_config

    config, folder = find_config(args.model)
    vae = args.vae or (folder / "vae.safetensors" if folder else None)
    if vae is None:
        raise InputError(
            f"--vae: expected VAE weights, because {args.model!r} is a preset without any; name a "
            "file or a model folder"
        )
    own = folder / config.text.source if folder else None
    text = args.text_encoder or (own if own is not None and own.is_dir() else config.text.source)
    return config, vae, text


def _prepare_cache(args: argparse.Namespace) -> tuple[Any, Any]:
    """Items by index, and their encoder."""
    from dataclasses import replace

    from ..device import resolve_device
    from ..networks.fusion import fusion_of
    from ..networks.text_encoder import load_text_encoder
    from ..weights.load import load_part
    from .latents import LatentEncoder

    config, vae_path, text_source = _cache_config(args)
    vae = load_part("vae", vae_path)
    found, wanted = vae.config, config.vae
    if (found.latent_channels, found.stride) != (wanted.latent_channels, wanted.stride):
        raise InputError(
            f"--vae: {vae_path} has {found.latent_channels} channels at stride {found.stride}, the "
            f"model expects {wanted.latent_channels} at {wanted.stride}"
        )
    downloads = args.text_encoder is not None
    text_encoder = load_text_encoder(text_source, config.text, allow_download=downloads)
    timeline = fusion_of(config.mrc).uses_timeline
    config = replace(config, vae=vae.config)
    datasets = _datasets(args)

    def item(index: int) -> Any:
        return datasets[index // args.shard_items % len(datasets)][index]

    return item, LatentEncoder(config, vae, text_encoder, resolve_device(args.device), timeline)


def _cache(args: argparse.Namespace) -> int:
    from functools import partial

    from ..files import content_digest
    from ..networks.fusion import fusion_of
    from .export import write_cache

    _at_least_one(args, "count", "groups", "shard_items", "workers")
    share = _share(args.share)
    config, vae, text_encoder = _cache_config(args)
    datasets = _datasets(args)
    count = len(datasets[0])
    origin = {
        **datasets[0].origin(),
        "seconds": list(args.seconds or ()),
        "timeline": fusion_of(config.mrc).uses_timeline,
        "vae": content_digest(vae),
        "text encoder": content_digest(text_encoder),
    }
    with _bar(count, f"caching {args.dataset}", "item") as bar:
        written = write_cache(
            partial(_prepare_cache, args),
            count,
            args.out,
            origin,
            args.shard_items,
            share,
            args.workers,
            bar.update,
        )
    print(f"{args.out}: {written} shards written, {count} items in all")
    return 0
