"""Measure the embedded model on held-out labels: reconstruction, vocoder, customization.

    python recipes/mini/evaluate.py BANK/manifest.jsonl --out FOLDER [--items N] [--model NAME|FOLDER]

Customization: each event's stretch is cut out of the output where the target has the event, and compared with 16
held-out candidates (the event itself and 15 others) by log-mel distance at the best alignment within 0.16 s. The score
is the share of events for which the nearest candidate is the event. Prints a table and writes FOLDER/evaluation.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dreamaudio_core.audio import LogMel, log_mel
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.composer import Composer, ComposerConfig
from dreamaudio_core.pipeline import load_model
from dreamaudio_core.placing import cut_part
from dreamaudio_core.reference import Reference
from dreamaudio_core.timeline import Placement

FRAMES_PER_SECOND = 100
RATE = 16_000
CANDIDATES = 16
SHIFT = 16


def distance(piece: torch.Tensor, candidate: torch.Tensor, floor: float) -> float:
    """Mean absolute log-mel difference at the best shift; [frames, bands] each, the candidate padded with silence."""
    frames = len(piece)
    padded = F.pad(candidate, (0, 0, SHIFT, max(0, frames - len(candidate)) + SHIFT), value=floor)
    return min((piece - padded[s : s + frames]).abs().mean().item() for s in range(0, 2 * SHIFT + 1, 2))


def customization(model, bank: Bank, composer: Composer, items: int, seed: int, mode: str, on_waveform: bool) -> dict:
    """Share of events recognised in `items` generated items; `mode` is true, arranger, free or none."""
    to_mel = LogMel(model.config.audio)
    floor = float(np.log(model.config.audio.floor))
    pool = [i for i, e in enumerate(bank.entries) if e.split == "test" and 0.3 <= e.seconds <= 5.0]
    right = total = 0
    for index in range(items):
        item = composer.item(seed, index)
        references = [
            Reference(e.reference, e.reference_caption, placements=e.placements if mode == "true" else None,
                      digest=f"{seed}-{index}-{k}")
            for k, e in enumerate(item.references)
        ]
        references = references if mode != "none" else []
        conditioning = model.condition(item.prompt, references[:8])
        arrangement = model.arrange(conditioning, item.seconds, free=mode == "free")
        latent = model.sample(conditioning, arrangement, [index], steps=16)
        mel = model.decode(latent)
        if on_waveform:
            mel = to_mel(model.vocode(mel, item.seconds))
        mel = mel[0, 0]
        rng = np.random.default_rng((seed, index, 1))
        for event in item.events:
            if not event.asked or not event.placements or event.background:
                continue
            place = event.placements[0]
            begin = round(place.start * FRAMES_PER_SECOND)
            piece = mel[begin : begin + max(8, round(place.duration * FRAMES_PER_SECOND))]
            gain = 10 ** (place.gain / 20)
            sounds = [cut_part(event.reference, place, RATE)]
            while len(sounds) < CANDIDATES:
                other = pool[int(rng.integers(len(pool)))]
                if bank.entries[other].label != event.label:
                    sound = bank.waveform(other)
                    sounds.append(cut_part(sound, Placement(0.0, min(place.duration, len(sound) / RATE)), RATE) * gain)
            mels = [to_mel(s[None])[0, 0] for s in sounds]
            scores = [distance(piece, m, floor) for m in mels]
            right += int(np.argmin(scores) == 0)
            total += 1
    return {"events": total, "share": right / max(1, total)}


def griffin_lim(mel: torch.Tensor, model, iterations: int = 60) -> torch.Tensor:
    """Waveform of a log-mel [frames, bands] by 60 Griffin-Lim iterations from the basis's pseudo-inverse (librosa)."""
    import librosa

    audio = model.config.audio
    basis = librosa.filters.mel(sr=audio.sample_rate, n_fft=audio.n_fft, n_mels=audio.n_mels, fmin=audio.fmin, fmax=audio.fmax)
    magnitude = np.maximum(0.0, np.linalg.pinv(basis) @ np.exp(mel.numpy().T))
    wave = librosa.griffinlim(magnitude, n_iter=iterations, hop_length=audio.hop_length, n_fft=audio.n_fft, center=True,
                              random_state=0)
    # Its frames are centred, those of our front-end begin (n_fft - hop) / 2 before the hop's middle.
    wave = wave[audio.hop_length // 2 :]
    return torch.from_numpy(np.pad(wave, (0, max(0, len(mel) * audio.hop_length - len(wave)))))[: len(mel) * audio.hop_length]


def stft_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over resolutions of the L1 distance of log magnitudes (floor 1e-5) plus the spectral convergence."""
    parts = []
    for size in (512, 1024, 2048):
        window = torch.hann_window(size)
        x, y = (torch.stft(w, size, size // 4, window=window, return_complex=True).abs() for w in (a, b))
        logs = (x.clamp(min=1e-5).log() - y.clamp(min=1e-5).log()).abs().mean()
        parts.append(logs + torch.linalg.norm(x - y) / torch.linalg.norm(y))
    return float(sum(parts) / len(parts))


def codec(model, bank: Bank, clips: int) -> dict:
    """VAE reconstruction, and the vocoder against Griffin-Lim on true mels, over held-out clips of up to 5 s."""
    chosen = [i for i, e in enumerate(bank.entries) if e.split == "test" and e.seconds >= 1.0]
    chosen = [chosen[int(k)] for k in np.random.default_rng(3).permutation(len(chosen))[:clips]]
    out = {"vae_log_mel_l1": [], "vocoder_log_mel_l1": [], "vocoder_stft": [], "griffin_lim_log_mel_l1": [],
           "griffin_lim_stft": []}
    for index in chosen:
        wave = bank.waveform(index)[: 5 * RATE]
        wave = wave[: len(wave) // 1280 * 1280]
        mel = log_mel(wave[None], model.config.audio)
        out["vae_log_mel_l1"].append((model.decode(model.vae.encode(mel)) - mel).abs().mean().item())
        for name, made in (("vocoder", model.vocode(mel)[0]), ("griffin_lim", griffin_lim(mel[0, 0], model))):
            out[f"{name}_log_mel_l1"].append((log_mel(made[None], model.config.audio) - mel).abs().mean().item())
            out[f"{name}_stft"].append(stft_distance(made, wave))
    return {"clips": len(chosen), **{k: float(np.mean(v)) for k, v in out.items()}}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--modes", nargs="+", default=["true", "arranger", "free", "none"])
    parser.add_argument("--waveform", action="store_true", help="measure after VAE and vocoder instead of on the mel")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model)
    bank = Bank(args.manifest)
    events = Bank(args.manifest, kinds=("event", "speech"))
    backgrounds = Bank(args.manifest, kinds=("ambience", "music"))
    results = {}
    if args.clips:
        results["codec"] = codec(model, bank, args.clips)
        print("codec", results["codec"], flush=True)
    for name, config in (("concatenation", ComposerConfig.concatenation()), ("overlay", ComposerConfig.overlay())):
        composer = Composer(events, backgrounds, config, "test")
        for mode in args.modes if args.items else ():
            started = time.time()
            found = customization(model, events, composer, args.items, 11, mode, args.waveform)
            results[f"{name}-{mode}"] = found
            print(f"{name} {mode}: {found['share']:.3f} of {found['events']} events in {args.items} items "
                  f"({time.time() - started:.0f} s)", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.json").write_text(json.dumps({"items": args.items, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
