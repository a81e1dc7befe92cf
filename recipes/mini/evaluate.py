"""Measure everything that the model card of `mini` states, on held-out sounds.

    python recipes/mini/evaluate.py BANK/manifest.jsonl --out FOLDER [--model NAME|FOLDER]
    [--parts PART ...]

Writes FOLDER/evaluation.json and FOLDER/arranger.json.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from dreamaudio_core.cli.main import main as dreamaudio
from dreamaudio_core.config import AudioConfig
from dreamaudio_core.data.arranger_items import TextFeatures, compose_items, read_items, texts_of
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.wordings import with_similar_captions
from dreamaudio_core.evaluation.arranger_metrics import (
    measure_compositions,
    measure_prompts,
    prompt_texts,
)
from dreamaudio_core.evaluation.customization_cli import PARTS as CUSTOMIZATION
from dreamaudio_core.evaluation.customization_cli import Results
from dreamaudio_core.evaluation.reconstruction import measure_reconstruction
from dreamaudio_core.evaluation.timelines import read_prompts
from dreamaudio_core.loading import load_model
from dreamaudio_core.pipeline import DreamAudio

STEPS = 16
PARTS = ("codec", "arranger", *CUSTOMIZATION)
# The first were written by hand before the templates of training, the second before their last
# change.
PROMPTS = {
    "written_by_hand": "arranger_prompts.jsonl",
    "written_by_hand_2": "arranger_prompts_2.jsonl",
}


def griffin_lim(mel: torch.Tensor, audio: AudioConfig, iterations: int = 60) -> torch.Tensor:
    """Waveform of a log-mel [frames, bands] by librosa: the pseudo-inverse of the mel basis and
    Griffin-Lim.
    """
    import librosa

    basis = librosa.filters.mel(
        sr=audio.sample_rate,
        n_fft=audio.n_fft,
        n_mels=audio.n_mels,
        fmin=audio.fmin,
        fmax=audio.fmax,
    )
    magnitude = np.maximum(0.0, np.linalg.pinv(basis) @ np.exp(mel.numpy().T))
    wave = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=audio.hop_length,
        n_fft=audio.n_fft,
        center=True,
        random_state=0,
    )
    # Its frames are centred, those of our front-end begin (n_fft - hop) / 2 before the hop's
    # middle.
    wave, samples = wave[audio.hop_length // 2 :], len(mel) * audio.hop_length
    return torch.from_numpy(np.pad(wave, (0, max(0, samples - len(wave)))))[:samples]


def measure_arranger(model: DreamAudio, bank: Bank, items: int, folder: Path) -> dict[str, dict]:
    """Shares of right answers over held-out compositions and prompts written by hand."""
    path = folder / "items_test.jsonl"
    compose_items(bank, "test", items, path)
    composed, grid = read_items(folder, "test"), model.config.frame_seconds
    seconds = model.config.seconds
    prompts = {
        name: read_prompts(Path(__file__).with_name(file), seconds)
        for name, file in PROMPTS.items()
    }
    texts = dict.fromkeys(texts_of(composed))
    for found in prompts.values():
        texts.update(dict.fromkeys(prompt_texts(found)))
    features = TextFeatures.encode(list(texts), model.text_encoder)
    kinds = {entry.label: entry.kind for entry in bank.entries}
    similar = with_similar_captions(composed, features, kinds)
    reader = model.arranger
    return {
        "held_out": {
            "compositions": len(composed),
            **measure_compositions(reader, features, composed, grid),
        },
        "similar_captions": measure_compositions(reader, features, similar, grid),
        **{name: measure_prompts(reader, features, found, grid) for name, found in prompts.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--items", type=int, default=200, help="items per set and mode")
    parser.add_argument("--clips", type=int, default=60, help="clips of the part codec")
    parser.add_argument("--compositions", type=int, default=1_500, help="of the part arranger")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    customized = [part for part in CUSTOMIZATION if part in args.parts]
    if customized:
        words = ["evaluate", "customization", args.manifest, "--out", args.out]
        words += ["--model", args.model, "--steps", STEPS, "--items", args.items]
        words += ["--processes", args.processes, "--parts", *customized]
        code = dreamaudio([str(word) for word in words])
        if code:
            raise SystemExit(code)
    bank, model = Bank(args.manifest), load_model(args.model)
    if "codec" in args.parts:
        audio = model.config.audio
        others = {"griffin_lim": lambda mel: griffin_lim(mel, audio)}
        found = measure_reconstruction(model, bank, args.clips, others)
        Results(args.out / "evaluation.json").keep("codec", found)
    if "arranger" in args.parts:
        results = Results(args.out / "arranger.json")
        found = measure_arranger(model, bank, args.compositions, args.out / "arranger")
        for name, values in found.items():
            results.keep(name, values)


if __name__ == "__main__":
    main()
