"""Measure the embedded model on sounds from elsewhere: packages that no stage trains on.

    python recipes/mini/evaluate_elsewhere.py SOUNDS --out FOLDER [--model NAME|FOLDER]

SOUNDS holds the packages of elsewhere.txt, as `fetch_sounds SOUNDS elsewhere.txt` unpacks them.
Adds the key `elsewhere` to FOLDER/evaluation.json:

- `vae_log_mel_l1`: of the first 8 s of each sound, trimmed, after the VAE; `noisy_...`: with noise
  of standard deviation 0.2 on the latents; `waveform_...`: after VAE and vocoder, on the waveform.
- `event_log_mel_l1`: the first second of each sound as the only reference, placed at 0.8 s of
  2.56 s, 16 steps without guidance: log-mel L1 in the event between the decoded output and the
  reference.
  `waveform_event_log_mel_l1`: the same after the vocoder.
- `nearest`: share of these events whose nearest sound among all first seconds of the list is their
  own, by log-mel distance at the same place.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamaudio_core.evaluation.customization_cli import Results
from dreamaudio_core.loading import load_model
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.scene.reference import Reference, load_reference
from dreamaudio_core.scene.timeline import Placement

LIST = Path(__file__).with_name("elsewhere.txt")
NOISE = 0.2
LONGEST, EVENT = 8.0, 1.0
START, SECONDS, STEPS = 0.8, 2.56, 16


def read_list(path: Path = LIST) -> list[str]:
    """Relative paths of the sounds."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def codec_distances(model: DreamAudio, waveform: Tensor) -> dict[str, float]:
    """Distances of a sound [T] after the VAE, with noise, and after the vocoder."""
    unit = model.config.audio.hop_length * model.config.vae.stride
    waveform = F.pad(waveform, (0, max(0, 2 * unit - len(waveform))))
    mel = model.log_mel(waveform[None, : len(waveform) // unit * unit])
    latent = model.vae.encode(mel)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    decoded = model.decode(latent)
    waveforms = model.vocode(decoded)[:, 0]
    found = {
        "vae_log_mel_l1": decoded,
        "noisy_log_mel_l1": model.decode(latent + NOISE * noise),
        "waveform_log_mel_l1": model.log_mel(waveforms),
    }
    return {name: float((value - mel).abs().mean()) for name, value in found.items()}


def event_mels(model: DreamAudio, reference: Reference) -> tuple[Tensor, Tensor, Tensor]:
    """Log-mels [frames, bands] of the event in the target, in the output and in its waveform."""
    rate = model.config.audio.sample_rate
    part = reference.waveform[: round(EVENT * rate)]
    length = len(part) / rate
    # No original: the network's own output is measured, without reference detail.
    placed = Reference(part, "a sound", placements=(Placement(START, length),))
    conditioning = model.condition("a sound", [placed])
    arrangement = model.arrange(conditioning, SECONDS, missing="generate")
    settings = replace(
        model.config.sampling, steps=STEPS, solver="euler", guidance=1.0, reference_guidance=1.0
    )
    mel = model.decode(model.sample(conditioning, arrangement, [0], settings))
    target = torch.zeros(round(SECONDS * rate))
    first = round(START * rate)
    target[first : first + len(part)] = part
    again = model.log_mel(model.vocode(mel, SECONDS)[:, 0])
    frames = rate / model.config.audio.hop_length
    span = slice(round(START * frames), round((START + length) * frames))
    return model.log_mel(target[None])[0, 0, span], mel[0, 0, span], again[0, 0, span]


def nearest_share(wanted: list[Tensor], found: list[Tensor]) -> float:
    """Share of `found` that lie nearer to their own of `wanted` than to any other; all [t, bands],
    compared over the shorter of two.
    """
    hits = []
    for k, mel in enumerate(found):
        distances = []
        for other in wanted:
            frames = min(len(mel), len(other))
            # A shorter sound is silent where the longer one still sounds.
            padded = F.pad(other[:frames], (0, 0, 0, len(mel) - frames), value=float(np.log(1e-5)))
            distances.append(float((padded - mel).abs().mean()))
        hits.append(int(np.argmin(distances)) == k)
    return float(np.mean(hits))


@torch.inference_mode()
def measure(model: DreamAudio, sounds: Path) -> dict[str, float]:
    """All figures of the list."""
    rows: dict[str, list[float]] = {}
    wanted, found, vocoded = [], [], []
    for path in read_list():
        reference = load_reference(sounds / path, "a sound")
        codec = codec_distances(model, reference.waveform[: round(LONGEST * reference.sample_rate)])
        for name, value in codec.items():
            rows.setdefault(name, []).append(value)
        target, mel, again = event_mels(model, reference)
        wanted.append(target)
        found.append(mel)
        vocoded.append(again)
        for name, value in (("event", mel), ("waveform_event", again)):
            distance = float((value - target).abs().mean())
            rows.setdefault(f"{name}_log_mel_l1", []).append(distance)
    means = {name: float(np.mean(values)) for name, values in rows.items()}
    shares = {
        "nearest": nearest_share(wanted, found),
        "waveform_nearest": nearest_share(wanted, vocoded),
    }
    return {"sounds": len(wanted), **means, **shares}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out / "evaluation.json")
    results.keep("elsewhere", measure(load_model(args.model), args.sounds))


if __name__ == "__main__":
    main()
