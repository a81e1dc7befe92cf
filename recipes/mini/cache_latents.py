"""Compose training items and cache their latents and token features in shards; skips the shards that are there.

    python recipes/mini/cache_latents.py BANK/manifest.jsonl CACHE --vae VAE.safetensors [--shards N] [--split train]

Odd shards hold items of 5.12 s, even ones of 10.24 s.
"""

import argparse
import time
from pathlib import Path

import torch

from dreamaudio_core.config import PRESETS
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.composer import Composer, ComposerConfig
from dreamaudio_core.data.latents import LatentEncoder, write_shard
from dreamaudio_core.pipeline import MODELS, build_vae
from dreamaudio_core.text import load_text_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--items", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = PRESETS["mini"]
    vae = build_vae(args.vae)
    config = config.__class__(**{**config.__dict__, "vae": vae.config})
    encoder = LatentEncoder(config, vae, load_text_encoder(MODELS / "mini" / config.text.source, config.text))
    events = Bank(args.manifest, kinds=("event", "speech"))
    backgrounds = Bank(args.manifest, kinds=("ambience", "music"))
    composers = [Composer(events, backgrounds, ComposerConfig(short_probability=p), args.split) for p in (0.0, 1.0)]
    for number in range(args.shards):
        path = args.cache / f"{args.split}-{number:05d}.safetensors"
        if path.exists():
            continue
        started = time.time()
        composer = composers[number % 2]
        items = (composer.item(args.seed, number * args.items + i) for i in range(args.items))
        write_shard(path, encoder.shard(items), {"seed": args.seed, "first": number * args.items})
        print(f"{path.name}: {args.items} items in {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
