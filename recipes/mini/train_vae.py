"""Train the embedded model's VAE on random crops of a sound bank: log-mel L1 plus a small KL term.

    python recipes/mini/train_vae.py BANK/manifest.jsonl RUN_FOLDER [--steps N] [--threads N]
    python recipes/mini/train_vae.py BANK/manifest.jsonl RUN_FOLDER --decoder-of VAE.safetensors --seconds 5.12 --batch 4

The second form trains on a finished VAE's decoder alone, on longer crops; latents stay what they were.

Writes `last.pt` every ten minutes and continues from it when started again; at the end it writes the averaged weights,
with the scale factor measured on training crops, to RUN_FOLDER/vae.safetensors.
"""

import argparse
import copy
import dataclasses
import math
import os
import time
from pathlib import Path

import torch

from dreamaudio_core.audio import LogMel
from dreamaudio_core.checkpoint import load_state, load_weights, save_weights
from dreamaudio_core.config import PRESETS, VAEConfig
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.vae import AutoencoderKL

RATE = 16_000


def draw_batch(bank: Bank, indices: list[int], size: int, crop: int, generator: torch.Generator) -> torch.Tensor:
    """Crops [size, crop]: one sound or a mix of two, at a random level, silence where a sound ends."""
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    batch = torch.zeros(size, crop)
    for row in batch:
        for layer in range(2 if uniform(0, 1) < 0.35 else 1):
            pick = int(torch.randint(len(indices), (), generator=generator))
            sound = bank.waveform(indices[pick])
            shift = int(uniform(-0.25 * crop, max(len(sound) - 0.5 * crop, 1)))
            source = sound[max(shift, 0) : max(shift, 0) + crop - max(-shift, 0)]
            start = max(-shift, 0)
            row[start : start + len(source)] += source * 10 ** (uniform(-24, 6 if layer == 0 else -3) / 20)
    return batch.clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seconds", type=float, default=1.28, help="length of a crop")
    parser.add_argument("--decoder-of", type=Path, help="VAE whose encoder stays as it is")
    parser.add_argument("--kl", type=float, default=1e-5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.run.mkdir(parents=True, exist_ok=True)

    config = PRESETS["mini"]
    bank = Bank(args.manifest)
    train = [i for i, e in enumerate(bank.entries) if e.split == "train"]
    held = [i for i, e in enumerate(bank.entries) if e.split == "test"]
    log_mel = LogMel(config.audio)
    crop = round(args.seconds * RATE)
    model = AutoencoderKL(config.vae)
    vae_config = config.vae
    if args.decoder_of:
        vae_config, state = load_weights(args.decoder_of, "vae", VAEConfig)
        load_state(model, state, args.decoder_of)
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
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

    validation = log_mel(draw_batch(bank, held, 64, crop, torch.Generator().manual_seed(1)))
    saved, started, total, count = time.time(), time.time(), 0.0, 0
    while step < args.steps:
        generator = torch.Generator().manual_seed(1_000_003 + step)
        mel = log_mel(draw_batch(bank, train, args.batch, crop, generator))
        rate = args.rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Full precision on purpose: with so few channels, bf16 convolutions are slower than float32 ones on a CPU.
        output, posterior = model(mel.contiguous(memory_format=torch.channels_last))
        l1 = (output - mel).abs().mean()
        loss = l1 + args.kl * posterior.kl().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), model.parameters()):
                a.lerp_(b, 1 - decay)
        step += 1
        total, count = total + l1.item(), count + 1
        if step % 50 == 0 or step == args.steps:
            line = f"step {step} l1 {total / count:.4f} seconds/step {(time.time() - started) / count:.2f}"
            if step % 250 == 0 or step == args.steps:
                with torch.no_grad():
                    posterior = ema.posterior(validation)
                    error = (ema.decoder(ema.post_quant_conv(posterior.mean)) - validation).abs().mean()
                    spread = (posterior.mean.var() + posterior.logvar.exp().mean()).sqrt()
                line += f" held-out l1 {error:.4f} scale_factor {1 / spread:.4f}"
            print(line, flush=True)
            total, count, started = 0.0, 0, time.time()
        if time.time() - saved > 600 or step == args.steps:
            save()
            saved = time.time()

    if not args.decoder_of:
        posterior = ema.posterior(log_mel(draw_batch(bank, train, 64, crop, torch.Generator().manual_seed(2))))
        scale = 1.0 / (posterior.mean.var() + posterior.logvar.exp().mean()).sqrt().item()
        vae_config = dataclasses.replace(vae_config, scale_factor=scale)
    save_weights(args.run / "vae.safetensors", ema.state_dict(), "vae", vae_config, torch.float16)


if __name__ == "__main__":
    main()
