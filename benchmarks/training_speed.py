"""What each switch of training gains: a step of the flow with it, against float32 without.

    python benchmarks/training_speed.py [--model NAME] [--batch 2] [--runs 3] [--compile]
    [--device cpu|cuda] [--json]

All variants take their steps in turn on the same random latents, so that what else the machine
does hits them alike; the first step of each is not counted. `--compile` adds the compiled step,
which takes minutes to compile on a CPU. Last, how many examples a second the loader prepares with
two workers.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from harness import Result, Stopwatch, parser, report

from dreamaudio_core.config import ModelConfig
from dreamaudio_core.data.shards import write_shard
from dreamaudio_core.training.loop import TrainingLoop
from dreamaudio_core.training.options import TrainOptions
from dreamaudio_core.training.tasks.flow_task import FlowTask
from dreamaudio_core.weights.folder import find_config

VARIANTS = {
    "float32": {},
    "channels last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
}
COMPILED = {"bf16, compiled": {"precision": "bf16", "compile": True}}
EXAMPLES = 200.0


def write_items(folder: Path, config: ModelConfig, items: int, references: int = 3) -> Path:
    """Random latents of the model's own length, with three references an item."""
    channels, frames, bands = config.latent_shape()
    sound, tokens, width = frames // 4, 12, config.mrc.text_dim
    texts, rows = items * (references + 1) + 1, items * references
    numbers = torch.arange(rows)
    spans = torch.stack([numbers * sound, (numbers + 1) * sound], dim=1)
    zeros = torch.zeros(rows, dtype=torch.long)
    text = torch.arange(texts) * tokens
    tensors = {
        "mean": torch.randn(items, channels, frames, bands).half(),
        "std": torch.full((items, channels, frames, bands), 0.1).half(),
        "silence": torch.zeros(channels, 1, bands),
        "sounds": torch.randn(rows * sound, channels, bands).half(),
        "tokens": torch.randn(texts * tokens, width).half(),
        "texts": torch.stack([text, text + tokens], dim=1),
        "prompts": torch.arange(1, items + 1),
        "references": numbers // references,
        "captions": torch.stack([numbers, zeros + 1, items + 1 + numbers], dim=1),
        "events": torch.cat([torch.stack([numbers, zeros], dim=1), spans], dim=1),
        "placements": torch.cat(
            [torch.stack([numbers, numbers % references * sound], dim=1), spans], dim=1
        ),
    }
    write_shard(folder / "items.safetensors", tensors, {})
    return folder


def loop_of(config: ModelConfig, data: Path, run: Path, device: str, batch: int, **switches):
    """A training run, ready to take steps."""
    torch.manual_seed(0)
    options = TrainOptions(
        run, steps=10**6, batch=batch, device=device if device == "cpu" else None, progress=False
    )
    return TrainingLoop(
        FlowTask(config, [data]), replace(options, **{"precision": "no", **switches})
    )


def loader_rate(config: ModelConfig, data: Path, run: Path, batch: int, batches: int = 60) -> float:
    """Examples a second that two workers prepare."""
    loader = loop_of(config, data, run, "cpu", batch, workers=2)._loader()
    next(loader)
    started = time.perf_counter()
    for _ in range(batches):
        next(loader)
    return batches * batch / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    options.add_argument("--model", default="dreamaudio", help="preset or folder")
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--compile", action="store_true")
    args = options.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        options.error("--device cuda: this machine has no CUDA device")
    watch = Stopwatch(args)
    config, _ = find_config(args.model)
    variants = {**VARIANTS, **(COMPILED if args.compile else {})}
    with tempfile.TemporaryDirectory() as folder:
        data = write_items(Path(folder) / "data", config, items=4 * args.batch)
        steps = []
        for name, switches in variants.items():
            loop = loop_of(config, data, Path(folder) / name, args.device, args.batch, **switches)
            steps.append(partial(loop._train_step, loop._loader()))
        seconds = dict(zip(variants, watch.medians(*steps)))
        rate = loader_rate(config, data, Path(folder) / "loader", args.batch)
    base = seconds["float32"]
    for name, found in seconds.items():
        details = {"seconds": round(found, 3), "model": args.model, "batch": args.batch}
        report(
            args, Result(f"training step, {name}, against float32", found / base, 1.0, "", details)
        )
    details = {"examples_a_second": round(rate)}
    report(
        args,
        Result("200 examples a second against the loader's", EXAMPLES / rate, 1.0, "", details),
    )


if __name__ == "__main__":
    main()
