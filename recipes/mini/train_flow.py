"""Train the embedded model's MRC UNet on cached latents (see cache_latents.py), placed and free references mixed.

    python recipes/mini/train_flow.py CACHE RUN_FOLDER [--steps N] [--threads N]

Shards that appear in CACHE while it runs are taken up. Writes `last.pt` every ten minutes and continues from it.
"""

import argparse
import copy
import math
import os
import time
from pathlib import Path

import torch

from dreamaudio_core.config import PRESETS
from dreamaudio_core.data.batches import Augmentation, placed_batch
from dreamaudio_core.data.latents import LatentShard
from dreamaudio_core.flow import flow_loss
from dreamaudio_core.mrc import MRCUNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=8, help="items of 5.12 s a step; half as many of 10.24 s")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--drop", type=float, default=0.25)
    parser.add_argument("--free", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.run.mkdir(parents=True, exist_ok=True)

    model = MRCUNet(PRESETS["mini"].mrc)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    augmentation = Augmentation(drop=args.drop, free=args.free)
    step = 0
    last = args.run / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]

    def save() -> None:
        state = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, last.with_suffix(".tmp"))
        os.replace(last.with_suffix(".tmp"), last)

    shards: dict[Path, LatentShard] = {}
    started, saved, total, count = time.time(), time.time(), 0.0, 0
    while step < args.steps:
        if step % 50 == 0 or not shards:
            for path in sorted(args.cache.glob("train-*.safetensors")):
                if path not in shards:
                    shards[path] = LatentShard(path)
        generator = torch.Generator().manual_seed(7_000_003 + step)
        names = list(shards)
        shard = shards[names[int(torch.randint(len(names), (), generator=generator))]]
        size = args.batch if shard.tensors["mean"].shape[2] <= 64 else args.batch // 2
        picks = torch.randperm(len(shard), generator=generator)[:size].tolist()
        batch = placed_batch([shard[i] for i in picks], shard.silence, shard.empty_text, augmentation, generator)
        progress = step / args.steps
        rate = args.rate * min(1.0, (step + 1) / 150) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        noise = torch.randn(batch.data.shape, generator=generator)
        # One stratum an item: the times of a batch cover [0, 1] evenly.
        lam = (torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size
        loss = flow_loss(lambda z, time: model(z, time, **batch.conditions()), batch.data, lam, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(0.997, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), model.parameters()):
                a.lerp_(b, 1 - decay)
        step += 1
        total, count = total + loss.item(), count + 1
        if step % 25 == 0 or step == args.steps:
            pace = (time.time() - started) / count
            print(f"step {step} loss {total / count:.4f} seconds/step {pace:.2f} shards {len(shards)}", flush=True)
            total, count, started = 0.0, 0, time.time()
        if time.time() - saved > 600 or step == args.steps:
            save()
            saved = time.time()


if __name__ == "__main__":
    main()
