"""Train the embedded model's vocoder on random segments of a sound bank with spectral losses.

    python recipes/mini/train_vocoder.py BANK/manifest.jsonl RUN_FOLDER [--steps N] [--threads N]
    python recipes/mini/train_vocoder.py --export RUN_FOLDER/last.pt vocoder.safetensors

Writes `last.pt` every ten minutes and continues from it exactly when started again. The loss is a multi-resolution STFT
distance (spectral convergence and L1 of log magnitudes) plus an L1 of log-mel spectrograms. Only entries of the split
"train" are used; a few fixed segments of the split "test" are only measured.
"""

import argparse
import copy
import math
import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from dreamaudio_core.audio import LogMel
from dreamaudio_core.checkpoint import save_weights
from dreamaudio_core.config import PRESETS
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.vocoder import BigVGAN

SEGMENT = 8000
CONTEXT = 640  # Samples on either side, so that the mel of a segment sees real sound beyond its ends.
RESOLUTIONS = (2048, 1024, 512, 256, 128)
BETAS = (0.8, 0.99)


class SpectralLoss(nn.Module):
    """Multi-resolution STFT distance and log-mel L1 of waveforms [B, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel(PRESETS["mini"].audio)
        self.windows = [torch.hann_window(size) for size in RESOLUTIONS]

    def magnitude(self, waveform: Tensor, window: Tensor) -> Tensor:
        """Magnitudes [B, bins, frames], floored so that the logarithm's gradient stays bounded."""
        spectrum = torch.stft(waveform, len(window), len(window) // 4, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).clamp(min=1e-8).sqrt()

    def forward(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spectral convergence and log-magnitude L1, both means over the resolutions, and log-mel L1."""
        convergence, magnitude = 0.0, 0.0
        for window in self.windows:
            found, wanted = self.magnitude(made, window), self.magnitude(real, window)
            distance = (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp(min=1.0)
            convergence = convergence + distance.mean()
            magnitude = magnitude + (found.log() - wanted.log()).abs().mean()
        mel = (self.log_mel(made) - self.log_mel(real)).abs().mean()
        return convergence / len(RESOLUTIONS), magnitude / len(RESOLUTIONS), mel


def draw_segments(bank: Bank, weights: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Segments [size, SEGMENT + 2 CONTEXT] at random levels: three in four of one sound, the others a mix of two."""
    length = SEGMENT + 2 * CONTEXT
    batch = torch.zeros(size, length)
    for row in batch:
        layers = 2 if torch.rand((), generator=generator) < 0.25 else 1
        for index in torch.multinomial(weights, layers, generator=generator).tolist():
            sound = bank.waveform(index)
            margin = length // 4
            low, high = -margin, max(len(sound) - length + margin, 1)
            start = int(torch.randint(low, high, (), generator=generator))
            piece = sound[max(start, 0) : start + length]
            peak = piece.abs().max().clamp(min=1e-3) if len(piece) else 1.0
            level = 10 ** (-1.5 * torch.rand((), generator=generator))
            row[max(-start, 0) : max(-start, 0) + len(piece)] += piece * (level / peak).clamp(max=8.0)
        row /= row.abs().max().clamp(min=1.0)
    return batch


def split_batch(segments: Tensor, log_mel: LogMel) -> tuple[Tensor, Tensor]:
    """Mels [B, n_mels, frames] and waveforms [B, SEGMENT] of the middle of `segments`."""
    with torch.no_grad():
        frames = CONTEXT // log_mel.config.hop_length
        mel = log_mel(segments).squeeze(1).transpose(1, 2)[..., frames:-frames]
    return mel.contiguous(), segments[:, CONTEXT:-CONTEXT].contiguous()


def sampling_weights(bank: Bank) -> Tensor:
    """Probability of each entry: its length's square root, so that music does not crowd out short events."""
    return torch.tensor([math.sqrt(min(entry.seconds, 30.0)) for entry in bank.entries])


def export(checkpoint: Path, target: Path) -> None:
    """Write the averaged weights of `checkpoint` as half-precision safetensors."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_weights(target, state["ema"], "vocoder", PRESETS["mini"].vocoder, torch.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the bank's manifest, or a checkpoint to export")
    parser.add_argument("target", type=Path, help="folder of the run, or the file to export to")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--mel-weight", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--no-compile", action="store_true", help="where there is no C++ compiler")
    args = parser.parse_args()
    if args.export:
        export(args.source, args.target)
        return

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.target.mkdir(parents=True, exist_ok=True)
    config = PRESETS["mini"].vocoder
    bank = Bank(args.source, split="train", min_seconds=0.1)
    held = Bank(args.source, split="test", min_seconds=0.3)
    weights, generator = sampling_weights(bank), torch.Generator().manual_seed(0)
    model, loss = BigVGAN(config), SpectralLoss()
    ema = copy.deepcopy(model).requires_grad_(False)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=args.rate, betas=BETAS, weight_decay=0.01)
    step, last = 0, args.target / "last.pt"
    if last.exists():
        state = torch.load(last, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        step = state["step"]
    if not args.no_compile:
        from dreamaudio_core.training.snake import compile_activations

        compile_activations(model)
    fixed = draw_segments(held, sampling_weights(held), 32, torch.Generator().manual_seed(1))

    def save() -> None:
        torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(), "step": step}, args.target / "last.pt.part")
        os.replace(args.target / "last.pt.part", last)

    stopping = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.append(True))
    sums, norms, since, saved, counted = torch.zeros(3), 0.0, time.monotonic(), time.monotonic(), 0
    print(f"{sum(p.numel() for p in parameters)} parameters, {len(bank)} sounds, from step {step}", flush=True)
    while step < args.steps and not stopping:
        ramp = min(1.0, (step + 1) / args.warmup)
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / args.steps)
        optimizer.param_groups[0]["lr"] = args.rate * ramp * (0.02 + 0.98 * cosine)
        mel, real = split_batch(draw_segments(bank, weights, args.batch, generator), loss.log_mel)
        terms = loss(model(mel).squeeze(1), real)
        optimizer.zero_grad()
        (terms[0] + terms[1] + args.mel_weight * terms[2]).backward()
        norm = float(nn.utils.clip_grad_norm_(parameters, 10.0))
        if math.isfinite(norm):
            optimizer.step()
        # The average covers a tenth of the steps so far, so that early checkpoints do not lag behind.
        torch._foreach_lerp_(list(ema.parameters()), parameters, max(0.001, 10 / (step + 10)))
        step += 1
        sums += torch.stack(terms).detach()
        norms += norm
        counted += 1
        if step % args.log_every == 0:
            pace = (time.monotonic() - since) / counted
            mean = (sums / counted).tolist()
            print(f"step {step}  convergence {mean[0]:.4f}  magnitude {mean[1]:.4f}  mel {mean[2]:.4f}  "
                  f"norm {norms / counted:.2f}  {pace:.3f} s/step", flush=True)
            sums, norms, since, counted = torch.zeros(3), 0.0, time.monotonic(), 0
        if step % (10 * args.log_every) == 0:
            with torch.no_grad():
                mel, real = split_batch(fixed, loss.log_mel)
                terms = [float(term) for term in loss(ema(mel).squeeze(1), real)]
            print(f"step {step}  held out (average weights): convergence {terms[0]:.4f}  magnitude {terms[1]:.4f}  "
                  f"mel {terms[2]:.4f}", flush=True)
            since = time.monotonic()
        if time.monotonic() - saved > 600:
            save()
            saved = time.monotonic()
    save()
    print(f"saved at step {step}", flush=True)


if __name__ == "__main__":
    main()
