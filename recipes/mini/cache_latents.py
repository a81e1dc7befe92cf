"""Compose training items and cache their latents and token features in shards; skips the shards
that are there.

    python recipes/mini/cache_latents.py BANK/manifest.jsonl CACHE --vae VAE.safetensors [--shards
    N] [--workers N]

Odd shards hold items of 5.12 s, even ones of 10.24 s. With `--text-only SECONDS` all hold single
events in that length, asked for by their caption and without a reference. Of N workers, each writes
every N-th shard.
"""

import argparse
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import torch

from dreamaudio_core.config import PRESETS
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.composer import Composer, ComposerConfig
from dreamaudio_core.data.latents import LatentEncoder, write_shard
from dreamaudio_core.networks.text_encoder import load_text_encoder
from dreamaudio_core.weights.folder import MODELS
from dreamaudio_core.weights.load import load_part


def write_shards(args: argparse.Namespace, first: int, threads: int) -> None:
    """Write every `args.workers`-th shard from `first` on."""
    torch.set_num_threads(threads)
    config = PRESETS["mini"]
    vae = load_part("vae", args.vae)
    config = config.__class__(**{**config.__dict__, "vae": vae.config})
    encoder = LatentEncoder(
        config, vae, load_text_encoder(MODELS / "mini" / config.text.source, config.text)
    )
    events = Bank(args.manifest, kinds=("event", "speech"))
    backgrounds = Bank(args.manifest, kinds=("ambience", "music"))
    configs = [ComposerConfig(short_probability=p) for p in (0.0, 1.0)]
    if args.text_only:
        # Also in a short target an event may last 2.5 s.
        configs = [
            ComposerConfig(
                short_seconds=args.text_only,
                short_probability=1.0,
                kinds={"sequence": 1.0},
                counts=(1.0,),
                distractor=0.0,
                long_reference=0.0,
                unreferenced=1.0,
                speech=0.1,
                max_event=max(5.0, 25.6 / args.text_only),
            )
        ]
    composers = [Composer(events, backgrounds, config, args.split) for config in configs]
    for number in range(first, args.shards, args.workers):
        path = args.cache / f"{args.split}-{number:05d}.safetensors"
        if path.exists():
            continue
        started = time.time()
        composer = composers[number % len(composers)]
        items = (composer.item(args.seed, number * args.items + i) for i in range(args.items))
        write_shard(path, encoder.shard(items), {"seed": args.seed, "first": number * args.items})
        print(f"{path.name}: {args.items} items in {time.time() - started:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument(
        "--text-only", type=float, metavar="SECONDS", help="single events without references"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--items", type=int, default=128)
    parser.add_argument(
        "--threads", type=int, default=1, help="torch threads when there is one worker"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, of one torch thread each (default 1)",
    )
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f"--workers: expected 1 or more, found {args.workers}")
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.workers == 1:
        write_shards(args, 0, args.threads)
        return
    context = get_context("spawn")
    workers = [
        context.Process(target=write_shards, args=(args, first, 1)) for first in range(args.workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("a worker failed; the same command continues with the shards that are missing")


if __name__ == "__main__":
    main()
