"""BigVGAN against NVIDIA's package `bigvgan` on the same random weights at 16 kHz: time for 10.24 s
of mel, and peak memory for 60 s.

    python benchmarks/vocoder.py [--json] [--threads N] [--device cuda]

Memory is what a process holds at most beyond what it held before, each side in one of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bigvgan.bigvgan import BigVGAN as Official
from bigvgan.env import AttrDict
from harness import Result, Stopwatch, parser, report, require_equal
from torch import Tensor

from dreamaudio_core.config import PRESETS
from dreamaudio_core.networks.bigvgan import BigVGAN
from dreamaudio_core.weights.bigvgan import fold_weight_norm

CONFIG = PRESETS["dreamaudio"].vocoder
SIDES = ("ours", "theirs")


def mel_of(seconds: float, device: torch.device) -> Tensor:
    """A log-mel [1, 1, frames, bands] of noise."""
    frames = round(seconds * CONFIG.sampling_rate / CONFIG.hop_length)
    noise = torch.randn(1, 1, frames, CONFIG.num_mels, generator=torch.Generator().manual_seed(0))
    return (2.0 * noise - 5.0).to(device)


def vocoders(device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """Both vocoders, from mel to waveform [1, 1, samples]."""
    torch.manual_seed(0)
    theirs = Official(AttrDict(dataclasses.asdict(CONFIG)), use_cuda_kernel=False)
    state = fold_weight_norm(theirs.state_dict())
    theirs.remove_weight_norm()
    theirs = theirs.eval().requires_grad_(False).to(device)
    ours = BigVGAN(CONFIG).eval().requires_grad_(False)
    ours.load_state_dict({name: state[name] for name in ours.state_dict()})
    ours = ours.to(device)

    def official(mel: Tensor) -> Tensor:
        # Its convolutions give some samples more than the mel has.
        samples = mel.shape[2] * CONFIG.hop_length
        return theirs(mel[:, 0].transpose(1, 2))[..., :samples]

    return {"ours": ours.vocode, "theirs": official}


def resident() -> int:
    """Bytes of memory that this process holds now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no VmRSS")


def peak_of(side: str, seconds: float, device: torch.device) -> float:
    """MiB that one side takes beyond what is held before it starts."""
    vocode, mel = vocoders(device)[side], mel_of(seconds, device)
    vocode(mel[:, :, :64])
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        vocode(mel)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], resident())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    vocode(mel)
    done.set()
    watcher.join()
    return (most[0] - before) / 2**20


def peak_in_a_process(side: str, args: argparse.Namespace) -> float:
    """`peak_of` in a new process."""
    command = [sys.executable, __file__, "--peak", side, "--seconds", str(args.seconds)]
    command += ["--device", args.device, "--threads", str(args.threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="length for memory")
    options.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    args = options.parse_args()
    watch = Stopwatch(args)
    if args.peak:
        print(json.dumps(peak_of(args.peak, args.seconds, watch.device)))
        return
    made, mel = vocoders(watch.device), mel_of(10.24, watch.device)
    difference = require_equal(made["ours"](mel), made["theirs"](mel))
    times = watch.medians(*(lambda side=side: made[side](mel) for side in SIDES))
    peaks = [peak_in_a_process(side, args) for side in SIDES]
    details = {
        "ours_s": round(times[0], 3),
        "theirs_s": round(times[1], 3),
        "difference": f"{difference:.0e}",
    }
    memory = {"ours_mib": round(peaks[0], 1), "theirs_mib": round(peaks[1], 1)}
    package = "NVIDIA's bigvgan"
    report(
        args,
        Result(f"vocoder against {package}", times[0] / times[1], 0.7, "", details),
        Result(
            f"vocoder's memory for {args.seconds:g} s against {package}",
            peaks[0] / peaks[1],
            0.5,
            "",
            memory,
        ),
    )


if __name__ == "__main__":
    main()
