"""Time and memory against the length of a sound: both should grow with it alone.

    python benchmarks/long_sounds.py detail [--seconds 10 30 60 120]
    python benchmarks/long_sounds.py scene [--seconds 0.3 1 30 120] [--steps 4]

`detail` renders the reference detail of a stereo bed at 48 kHz that fills the whole length and of
one short event every two seconds; `scene` generates a scene with a bed and an event by the whole
model. Each length runs in a process of its own, for its peak of memory; times are of one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch
from torch import Tensor

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.loading import load_model
from dreamaudio_core.rendering.detail import render_detail
from dreamaudio_core.rendering.events import network_mix, render_events
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.timeline import Placement

RATE = 48_000
AUDIO = AudioConfig()
LENGTHS = {"detail": [10.0, 30.0, 60.0, 120.0], "scene": [0.3, 1.0, 30.0, 120.0]}


def noise(channels: int, seconds: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(channels, round(seconds * RATE), generator=generator)


def detail(seconds: float, steps: int) -> float:
    """Seconds that the detail stage takes; the network's part of it is the mel of its mix."""
    del steps
    log_mel = LogMel(AUDIO)
    bed = prepare_reference(noise(2, 4.0), RATE, "rain", trim_silence=False)
    step = prepare_reference(noise(1, 0.3), RATE, "a step", trim_silence=False)
    places = tuple(Placement(float(t), 0.3) for t in range(1, int(seconds), 2))
    groups = [
        render_events(bed, (Placement(0.0, seconds),)),
        render_events(step, places),
    ]
    samples = round(seconds * AUDIO.sample_rate)
    mix = network_mix([e for group in groups for e in group], samples, AUDIO.sample_rate)
    mel = log_mel(mix[None])[0, 0] + 0.1
    begin = time.perf_counter()
    out, rate = render_detail(mix, mel, groups, lambda x: log_mel(x[None])[0, 0], AUDIO)
    assert out.shape[-1] == round(seconds * rate)
    return time.perf_counter() - begin


def scene(seconds: float, steps: int) -> float:
    """Seconds that `generate` takes, without loading."""
    model = load_model("mini")
    bed = prepare_reference(noise(2, 4.0), RATE, "rain falls", trim_silence=False)
    step = prepare_reference(noise(1, 0.2), RATE, "a step", trim_silence=False)
    given = [
        replace(bed, placements=(Placement(0.0, seconds),)),
        step.at([min(seconds / 3, seconds - 0.1)]),
    ]
    begin = time.perf_counter()
    result = model.generate("a step while rain falls", given, seconds=seconds, steps=steps)
    assert abs(result.waveforms[0].shape[-1] / result.sample_rate - seconds) < 0.01
    assert result.waveforms[0].isfinite().all() and result.waveforms[0].abs().max() > 0.0
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=LENGTHS)
    parser.add_argument("--seconds", type=float, nargs="+")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--here", action="store_true", help="measure one length in this process")
    args = parser.parse_args()
    lengths = args.seconds or LENGTHS[args.part]
    if args.here:
        torch.set_num_threads(1)
        took = {"detail": detail, "scene": scene}[args.part](lengths[0], args.steps)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": lengths[0], "took_s": took, "peak_mib": peak}))
        return
    first = None
    for seconds in lengths:
        command = [sys.executable, __file__, args.part, "--here", "--seconds", str(seconds)]
        done = subprocess.run(
            [*command, "--steps", str(args.steps)], check=True, capture_output=True, text=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        first = first or row
        row["times_first"] = row["took_s"] / first["took_s"]
        row["length_times_first"] = seconds / first["seconds"]
        print(json.dumps({key: round(value, 3) for key, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
