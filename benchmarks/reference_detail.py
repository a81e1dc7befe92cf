"""How much of its references a result keeps: scenes of three sounds from elsewhere.

    python benchmarks/reference_detail.py LIST ROOT [--scenes 20] [--detail 1] [--json OUT]

LIST names sound files below ROOT, one a line, that no training stage has used. Each scene places
three of them at fixed times over a few seconds, drawn by its number; what comes out is cut where
each reference lies and compared with every sound of the list:

- nearest by log-mel (best alignment) and by an embedding of sound effects that nobody here trained
  (aiSFX, Wen et al., ISMIR 2022; `pip install --no-deps aisfx librosa`), where it is installed;
- energy above 8 kHz against the references', in dB;
- level of each event against its reference, in dB, where nothing else sounds;
- signal-to-difference ratio of references that are placed alone over silence.

The references themselves, added up, are measured beside it as the ceiling.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dreamaudio_core.audio.mel import LogMel
from dreamaudio_core.audio.resample import resample
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.errors import AudioError
from dreamaudio_core.loading import load_model
from dreamaudio_core.rendering.detail import Detail, render_detail
from dreamaudio_core.rendering.events import render_events
from dreamaudio_core.scene.reference import Reference, load_reference
from dreamaudio_core.scene.timeline import Placement

LONGEST = 3.0
SECONDS = 7.68
STARTS = (0.31, 2.47, 4.12)
AUDIO = AudioConfig()


def caption_of(path: Path) -> str:
    """A caption from the file's name."""
    words = "".join(c if c.isalpha() else " " for c in path.stem).split()
    return "a sound of " + (" ".join(words).lower() or "something")


def load(listing: Path, root: Path) -> list[Reference]:
    """References of a list, at most `LONGEST` seconds each, shortest 0.1 s."""
    found = []
    for line in listing.read_text().splitlines():
        if line.strip():
            try:
                reference = load_reference(root / line.strip(), caption_of(Path(line)))
            except AudioError as error:
                print(error)
                continue
            place = Placement(0.0, min(LONGEST, reference.seconds))
            event = render_events(reference, (place,))[0]
            original = replace(reference.original, waveform=event.waveform)
            wave = event.for_network(AUDIO.sample_rate)
            found.append(replace(reference, waveform=wave, original=original))
    return found


def mono16(waveform: Tensor, rate: int) -> Tensor:
    return resample(waveform.mean(0), rate, AUDIO.sample_rate)


class MelNearest:
    """Which sound of the list lies at a place, by log-mel: the mean difference in the cells that a
    sound fills, at its own level and its best alignment within 40 ms.
    """

    def __init__(self, sounds: list[Tensor]):
        self.log_mel = LogMel(AUDIO)
        self.mels = [self.log_mel(s[None])[0, 0] for s in sounds]

    def distances(self, waveform: Tensor, start: float) -> Tensor:
        mel = self.log_mel(waveform[None])[0, 0]
        silence = torch.full((1000, mel.shape[1]), math.log(AUDIO.floor))
        mel = torch.cat((silence[:4], mel, silence))
        first = round(start * 100)
        out = []
        for other in self.mels:
            loud = other > other.max() - 5.0
            rows = [mel[first + i : first + i + len(other)] - other for i in range(9)]
            out.append(min(float(row[loud].abs().mean()) for row in rows))
        return torch.tensor(out)


class EmbeddingNearest:
    """Which sound of the list a segment resembles most, by aiSFX."""

    def __init__(self, sounds: list[tuple[Tensor, int]]):
        import numpy as np
        from aisfx.inference import load_bestModel, load_weights

        # The checkpoint holds a few NumPy integers beside its tensors; nothing else is unpickled.
        scalar = (np._core.multiarray.scalar, "numpy.core.multiarray.scalar")
        dtypes = [np.dtype, *(type(np.dtype(t)) for t in ("int64", "int32", "float64"))]
        with torch.serialization.safe_globals([scalar, *dtypes]):
            weights, classes = load_weights("cpu")
        self.model = load_bestModel(weights, classes, "cpu")
        self.rows = torch.stack([self.embed(*s) for s in sounds])

    @torch.no_grad()
    def embed(self, waveform: Tensor, rate: int) -> Tensor:
        import librosa
        from aisfx.preprocessing import spectrogram_normalize

        x = resample(waveform.mean(0), rate, 44_100)
        x = torch.nn.functional.pad(x, (0, max(0, 103_000 - len(x))))
        x = (x / x.abs().max().clamp(min=1e-9)).numpy()
        mel = librosa.feature.melspectrogram(
            y=x,
            sr=44_100,
            n_fft=2048,
            hop_length=1024,
            n_mels=96,
            fmin=0.0,
            fmax=22_050.0,
            htk=True,
            norm=1.0,
        )
        import numpy as np

        spec = spectrogram_normalize(np.log10(mel * 10_000.0 + 1.0)).T[:, :]
        blocks = torch.tensor(np.ascontiguousarray(spec), dtype=torch.float32)
        blocks = blocks.unfold(0, 100, 50).transpose(1, 2)
        rows = self.model.get_embedding(blocks)
        return torch.nn.functional.normalize(rows.mean(0), dim=0)

    def distances(self, waveform: Tensor, rate: int) -> Tensor:
        return 1.0 - self.rows @ self.embed(waveform, rate)


def high_energy(waveform: Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(waveform).abs().square().sum(0)
    return float(spectrum[round(8000 / rate * waveform.shape[-1]) :].sum()) / rate


def scene_of(sounds: list[Reference], number: int) -> list[int]:
    generator = torch.Generator().manual_seed(number)
    return torch.randperm(len(sounds), generator=generator)[:3].tolist()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--alone", type=int, default=20, help="references placed alone")
    parser.add_argument("--detail", type=float, default=1.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sounds = load(args.list, args.root)
    model = load_model(args.model)
    by_mel = MelNearest([mono16(r.original.waveform, r.original.sample_rate) for r in sounds])
    try:
        by_embedding = EmbeddingNearest(
            [(r.original.waveform, r.original.sample_rate) for r in sounds]
        )
    except ImportError:
        by_embedding = None
    hits: dict[str, list[bool]] = {}
    high, levels, jumps = [], [], []

    def judge(name: str, waveform: Tensor, rate: int, chosen: list[int]) -> None:
        for k, start in zip(chosen, STARTS):
            end = min(start + sounds[k].seconds, SECONDS)
            part = waveform[:, round(start * rate) : round(end * rate)]
            others = [i for i in range(len(sounds)) if i == k or i not in chosen]
            rows = {"mel": by_mel.distances(mono16(waveform, rate), start)}
            if by_embedding is not None:
                rows["embedding"] = by_embedding.distances(part, rate)
            for kind, row in rows.items():
                nearest = min(others, key=lambda i: float(row[i]))
                hits.setdefault(f"{name}, {kind}", []).append(nearest == k)

    for number in range(args.scenes):
        chosen = scene_of(sounds, number)
        given = [sounds[k].at([start]) for k, start in zip(chosen, STARTS)]
        prompt = ", then ".join(r.caption for r in given)
        result = model.generate(
            prompt,
            given,
            seconds=SECONDS,
            seeds=[number],
            missing="silence",
            detail=args.detail,
            steps=args.steps,
        )
        wave, rate = result.waveforms[0], result.sample_rate
        events = [render_events(r, p) for r, p in zip(given, result.timeline)]
        joined, _ = render_detail(
            torch.zeros(round(SECONDS * AUDIO.sample_rate)),
            torch.zeros(round(SECONDS * 100), AUDIO.n_mels),
            events,
            lambda x: torch.zeros(round(SECONDS * 100), AUDIO.n_mels),
            AUDIO,
            Detail(1.0, rate),
            rest=False,
        )
        if args.detail > 0.0:
            # Undo the common scaling, to compare levels.
            wave = wave * (joined.square().sum() / wave.square().sum()).sqrt()
            before, after = high_energy(joined, rate), high_energy(wave, rate)
            if before > 1e-6 * float(joined.square().sum()) / rate:
                high.append(10.0 * math.log10(max(after, 1e-20) / before))
            for k, start in zip(chosen, STARTS):
                for edge in (start, start + sounds[k].seconds):
                    near = slice(round((edge - 0.003) * rate), round((edge + 0.003) * rate))
                    if edge < SECONDS - 0.01:
                        most = joined.diff().abs().max()
                        jumps.append(float(wave[:, near].diff().abs().max() / most))
            for k, start in zip(chosen, STARTS):
                if start + sounds[k].seconds < 2.47 or k == chosen[2]:
                    span = slice(round(start * rate), round((start + sounds[k].seconds) * rate))
                    ratio = wave[:, span].square().sum() / joined[:, span].square().sum()
                    levels.append(10.0 * math.log10(float(ratio)))
        else:
            wave = wave * (joined.square().mean(0).sum() / wave.square().mean(0).sum()).sqrt()
        judge("output", wave, rate, chosen)
        judge("joined", joined, rate, chosen)
        print(number, [r.caption for r in given], flush=True)
    ratios, silences = [], []
    for k in range(min(args.alone, len(sounds)) if args.detail > 0.0 else 0):
        reference = sounds[k * len(sounds) // args.alone]
        result = model.generate(
            reference.caption,
            [reference.at([0.5133])],
            seconds=reference.seconds + 1.5,
            reference_guidance=1.0,
            missing="silence",
            detail=args.detail,
            steps=args.steps,
        )
        wave, rate = result.waveforms[0].double(), result.sample_rate
        event = render_events(reference, (Placement(0.0, reference.seconds),))[0]
        want = resample(event.waveform, reference.original.sample_rate, rate).double()
        begin = round(0.5133 * rate)
        got = wave[:, begin : begin + want.shape[-1]]
        want = want[:, : got.shape[-1]]
        # Up to the common scaling for headroom.
        want = want * ((got * want).sum() / want.square().sum())
        ratios.append(10.0 * math.log10(float(want.square().sum() / (got - want).square().sum())))
        away = torch.cat((wave[:, :begin], wave[:, begin + want.shape[-1] + rate // 10 :]), -1)
        silences.append(20.0 * math.log10(float(away.abs().max()) + 1e-9))
    report = {name: sum(row) / len(row) for name, row in hits.items()}
    for name, row in (
        ("above 8 kHz, dB", high),
        ("event level, dB", levels),
        ("largest jump at an edge against the references' largest", jumps),
        ("signal to difference alone, dB", ratios),
        ("silence, dBFS", silences),
    ):
        if row:
            report[name] = {
                "median": statistics.median(row),
                "min": min(row),
                "max": max(row),
                "count": len(row),
            }
    report["sounds"] = len(sounds)
    report["time"] = time.strftime("%Y-%m-%d")
    print(json.dumps(report, indent=2))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
