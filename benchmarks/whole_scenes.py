"""What the whole model does with attacks, beds, missing sounds, hidden timelines and guidance.

    python benchmarks/whole_scenes.py LIST ROOT [--count 6]

LIST and ROOT as in `reference_detail.py`. Printed, each the median and the range over `--count`
sounds:

- attack: time from a tenth to nine tenths of the peak of a blow, output and reference, in ms;
- bed: a sound repeated to 8 s; level at its joins and at its end against its middle, in dB;
- generate: one sound placed, and a second event in the prompt that has no reference: level of the
  placed one, of what the network adds elsewhere, and whether the placed one is recognised;
- hidden: a placed scene's mel, searched for its reference (`find_placement`) without the timeline:
  share found within 50 ms, and share refused although another sound was asked for;
- free: references that the network places itself: share that is found at all;
- guidance: signal to difference alone and level at the model's highest guidance.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from reference_detail import AUDIO, MelNearest, load, mono16
from torch import Tensor

from dreamaudio_core.audio.resample import resample
from dreamaudio_core.loading import load_model
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.rendering.detail import find_placement
from dreamaudio_core.rendering.events import render_events
from dreamaudio_core.scene.reference import Reference, prepare_reference
from dreamaudio_core.scene.timeline import Placement
from dreamaudio_core.sound_stages import FOUND

START = 0.5133


def power_db(x: Tensor) -> float:
    return 10.0 * math.log10(float(x.double().square().mean()) + 1e-18)


def rise_ms(waveform: Tensor, rate: int) -> float:
    """Time from a tenth to nine tenths of the peak."""
    envelope = waveform.abs().amax(0)
    rising = envelope.cummax(0).values / envelope.max()
    return 1000.0 * float((rising < 0.9).sum() - (rising < 0.1).sum()) / rate


def blow(number: int, rate: int = 44_100) -> Reference:
    """Noise with an attack of 0.9 ms that decays over 0.2 s, after 10 ms of quiet."""
    generator = torch.Generator().manual_seed(number)
    time = torch.arange(round(0.3 * rate)) / rate
    shape = (time / 0.0009).clamp(max=1.0) * torch.exp(-time * 20.0)
    sound = 0.4 * torch.randn(len(time), generator=generator).clamp(-2.0, 2.0) * shape
    return prepare_reference(sound, rate, "a blow", trim_silence=False)


def event_wave(reference: Reference, rate: int | None = None) -> Tensor:
    event = render_events(reference, (Placement(0.0, reference.seconds),))[0]
    own = event.original.sample_rate
    return resample(event.waveform, own, rate or own)


def run(
    model: DreamAudio, reference: Reference, seconds: float, **options: Any
) -> tuple[Tensor, int]:
    options = {"missing": "silence", **options}
    prompt = options.pop("prompt", reference.caption)
    result = model.generate(prompt, [reference], seconds=seconds, **options)
    return result.waveforms[0], result.sample_rate


def attacks(model: DreamAudio, count: int) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"output_ms": [], "reference_ms": []}
    for number in range(count):
        reference = blow(number)
        wave, rate = run(model, reference.at([START]), 1.5)
        rows["output_ms"].append(rise_ms(wave, rate))
        rows["reference_ms"].append(rise_ms(event_wave(reference), 44_100))
    return rows


def beds(
    model: DreamAudio, sounds: list[Reference], seconds: float = 8.0
) -> dict[str, list[float]]:
    """A stretch of 1.5 s of each sound that goes on, repeated."""
    rows: dict[str, list[float]] = {"loudest_100_ms_db": [], "end_db": [], "quietest_100_ms_db": []}
    for sound in sounds:
        place = (Placement(0.0, seconds),)
        wave, rate = run(model, replace(sound, placements=place), seconds)
        want = render_events(sound, place)[0].waveform
        width = rate // 10
        # Against the sound's own fluctuation: the same windows of one pass.
        levels = [power_db(part) for part in wave[:, width:-width].split(width, -1)]
        own = [power_db(part) for part in event_wave(sound).split(width, -1)[:-1]]
        scale = power_db(wave) - power_db(want)
        rows["loudest_100_ms_db"].append(max(levels) - scale - max(own))
        rows["quietest_100_ms_db"].append(min(levels) - scale - min(own))
        rows["end_db"].append(power_db(wave[:, -width:]) - scale - max(own))
    return rows


def missing_generated(
    model: DreamAudio, sounds: list[Reference], nearest: MelNearest, indices: list[int]
) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"level_db": [], "added_dbfs": [], "recognised": []}
    for sound, index in zip(sounds, indices):
        prompt = f"{sound.caption}, then a dog barks"
        wave, rate = run(model, sound.at([START]), 5.12, prompt=prompt, missing="generate")
        want = event_wave(sound)
        begin = round(START * rate)
        span = slice(begin, begin + round(sound.seconds * rate))
        rows["level_db"].append(power_db(wave[:, span]) - power_db(want))
        rows["added_dbfs"].append(power_db(wave[:, span.stop + rate // 10 :]))
        votes = nearest.distances(mono16(wave, rate), START)
        rows["recognised"].append(float(int(votes.argmin()) == index))
    return rows


def hidden(model: DreamAudio, sounds: list[Reference]) -> dict[str, list[float]]:
    """Search for each sound where the network put it, and for the next one, which is not there."""
    rows: dict[str, list[float]] = {"found_within_50_ms": [], "other_refused": []}
    hop = AUDIO.hop_length
    mels = [model.codec(s.waveform)[: -(-len(s.waveform) // hop)].cpu() for s in sounds]
    for k, sound in enumerate(sounds):
        references = [sound.at([2.0133])]
        conditioning = model.condition(sound.caption, references)
        arrangement = model.arrange(conditioning, 5.12, missing="silence")
        mel = model.decode(model.sample(conditioning, arrangement, [k]))[0, 0].cpu()
        place, score = find_placement(mel, mels[k], AUDIO)
        rows["found_within_50_ms"].append(float(score < FOUND and abs(place.start - 2.0133) < 0.05))
        _, score = find_placement(mel, mels[(k + 1) % len(sounds)], AUDIO)
        rows["other_refused"].append(float(score >= FOUND))
    return rows


def free(model: DreamAudio, sounds: list[Reference]) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"found": [], "score": []}
    hop = AUDIO.hop_length
    for k, sound in enumerate(sounds):
        conditioning = model.condition(sound.caption, [sound])
        arrangement = model.arrange(conditioning, 5.12, free=True)
        mel = model.decode(model.sample(conditioning, arrangement, [k]))[0, 0].cpu()
        own = model.codec(sound.waveform)[: -(-len(sound.waveform) // hop)].cpu()
        _, score = find_placement(mel, own, AUDIO)
        rows["found"].append(float(score < FOUND))
        rows["score"].append(score)
    return rows


def guidance(model: DreamAudio, sounds: list[Reference]) -> dict[str, list[float]]:
    """At a scale far above what the model bears, which is cut to its highest."""
    rows: dict[str, list[float]] = {"sdr_db": [], "level_db": []}
    for sound in sounds:
        wave, rate = run(
            model, sound.at([START]), sound.seconds + 1.5, guidance=20.0, reference_guidance=20.0
        )
        want = event_wave(sound, rate)
        begin = round(START * rate)
        got = wave[:, begin : begin + want.shape[-1]]
        want = want[:, : got.shape[-1]]
        rows["level_db"].append(power_db(got) - power_db(want))
        want = want * ((got * want).sum() / want.square().sum())
        rows["sdr_db"].append(power_db(want) - power_db(got - want))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sounds = load(args.list, args.root)
    indices = [k * len(sounds) // args.count for k in range(args.count)]
    chosen = [sounds[k] for k in indices]
    steady = sorted(sounds, key=lambda s: s.waveform.abs().max() / s.waveform.std())
    going_on = [s for s in steady if s.seconds >= 1.0][: args.count]
    model = load_model(args.model)
    nearest = MelNearest([mono16(s.original.waveform, s.original.sample_rate) for s in sounds])
    for name, rows in (
        ("attack", attacks(model, args.count)),
        ("bed", beds(model, going_on)),
        ("generate", missing_generated(model, chosen, nearest, indices)),
        ("hidden", hidden(model, chosen)),
        ("free", free(model, chosen)),
        ("guidance", guidance(model, chosen)),
    ):
        for key, row in rows.items():
            found = {"median": statistics.median(row), "min": min(row), "max": max(row)}
            found["mean"] = statistics.mean(row)
            line = {k: round(v, 3) for k, v in found.items()}
            print(json.dumps({"part": name, "measure": key, **line}), flush=True)


if __name__ == "__main__":
    main()
