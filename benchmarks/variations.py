"""Ten variations of one sound, the commonest job in game audio.

    python benchmarks/variations.py FILE [FILE ...] [--variation 0.5] [--count 10]

For each file, rendered alone by the whole model once for each seed at one place over silence:

- pairwise log-mel L1 in the stretch that the sound fills (bar: 0.2 to 0.6);
- how many are recognised: nearest to their own sound among all files and the starter library;
- levels of the variations against one another in dB (bar: 2), and the highest peak.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import combinations
from pathlib import Path

import torch
from reference_detail import AUDIO, MelNearest, mono16
from torch import Tensor

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.loading import load_model
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.scene.reference import Reference, load_reference
from dreamaudio_core.scene.starter import starter_sounds

START = 0.2
TAIL = 0.3


def variations(
    model: DreamAudio, reference: Reference, variation: float, count: int, steps: int | None
) -> tuple[list[Tensor], int]:
    """Waveforms [channels, samples] of `count` seeds and their rate; rendered together, so that
    they keep their levels among one another.
    """
    result = model.generate(
        reference.caption,
        [reference.at([START])],
        seconds=START + reference.seconds + TAIL,
        seeds=list(range(count)),
        variation=variation,
        missing="silence",
        steps=steps,
    )
    return list(result.waveforms), result.sample_rate


def measure(
    takes: list[Tensor], rate: int, reference: Reference, nearest: MelNearest, index: int
) -> dict[str, float]:
    """Figures of the variations of sound `index` of `nearest`."""
    log_mel = LogMel(AUDIO)
    mono = [mono16(take, rate) for take in takes]
    first = round(START * 100)
    span = slice(first, first + math.ceil(reference.seconds * 100))
    mels = [log_mel(wave[None])[0, 0][span] for wave in mono]
    apart = [float((a - b).abs().mean()) for a, b in combinations(mels, 2)]
    levels = [10.0 * math.log10(float(take.square().sum())) for take in takes]
    votes = [int(nearest.distances(wave, START).argmin()) == index for wave in mono]
    return {
        "log_mel_l1_min": min(apart),
        "log_mel_l1_median": sorted(apart)[len(apart) // 2],
        "log_mel_l1_max": max(apart),
        "recognised": sum(votes),
        "level_range_db": max(levels) - min(levels),
        "peak": max(float(take.abs().max()) for take in takes),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--variation", type=float, default=0.5)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--caption", default="a footstep")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model)
    given = [load_reference(file, args.caption) for file in args.files]
    others = [load_reference(sound.path, sound.caption) for sound in starter_sounds()]
    nearest = MelNearest(
        [mono16(r.original.waveform, r.original.sample_rate) for r in (*given, *others)]
    )
    for index, (file, reference) in enumerate(zip(args.files, given)):
        takes, rate = variations(model, reference, args.variation, args.count, args.steps)
        found = measure(takes, rate, reference, nearest, index)
        print(json.dumps({"file": file.name, **{k: round(v, 3) for k, v in found.items()}}))


if __name__ == "__main__":
    main()
