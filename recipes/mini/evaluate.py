"""Measure the embedded model on held-out labels: reconstruction, vocoder, customization,
generation, variation, arranger.

    python recipes/mini/evaluate.py BANK/manifest.jsonl --out FOLDER [--items N] [--model
    NAME|FOLDER] [--parts PART ...]

Customization: each event's stretch is cut out of the output where the target has the event, and
compared with 16 held-out candidates (the event itself and 15 others) by log-mel distance at the
best alignment within 0.16 s. The score is the share of events for which the nearest candidate is
the event. A candidate is heard `alone`, or `in the mix`: in place of the event in the target, with
all that sounds beside it. For events in sequence both are the same; under a base that is up to 15
dB louder the true target itself is often not nearest to the event alone, so the score of the target
(mode `target`) is measured too, as what a perfect model would reach.

`unasked` is the share of items that sound for 0.3 s or more where the target is silent: a sound
that nobody asked for.

Results are merged into FOLDER/evaluation.json, a key a part, so that the parts can be measured one
at a time.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dreamaudio_core.audio import LogMel, log_mel
from dreamaudio_core.config import SamplingConfig
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.data.compose.composer import Composer
from dreamaudio_core.data.compose.composition import Composition, Event
from dreamaudio_core.data.compose.config import ComposerConfig
from dreamaudio_core.loading import load_model
from dreamaudio_core.pipeline import DreamAudio
from dreamaudio_core.rendering.placing import cut_part
from dreamaudio_core.scene.reference import Reference
from dreamaudio_core.scene.timeline import Placement

FRAMES_PER_SECOND = 100
RATE = 16_000
CANDIDATES = 16
SHIFT = 16
STEPS = 16
MODES = ("target", "true", "arranger", "free", "none")
SILENT, AUDIBLE = (
    -8.0,
    -4.0,
)  # Loudest band of a frame in a target's silence, and in a sound that is heard there.
PARTS = ("codec", "customization", "generation", "variation")


def distance(piece: torch.Tensor, candidate: torch.Tensor, floor: float) -> float:
    """Mean absolute log-mel difference at the best shift; [frames, bands] each, the candidate
    padded with silence.
    """
    frames = len(piece)
    padded = F.pad(candidate, (0, 0, SHIFT, max(0, frames - len(candidate)) + SHIFT), value=floor)
    windows = padded.unfold(0, frames, 2)[: SHIFT + 1].transpose(1, 2)
    return float((windows - piece).abs().mean(dim=(1, 2)).min())


class Judge:
    """Candidates of an event and the verdict over a generated log-mel."""

    def __init__(self, bank: Bank, split: str, to_mel: LogMel):
        self.bank, self.to_mel = bank, to_mel
        self.floor = float(np.log(to_mel.config.floor))
        self.pool = [
            i for i, e in enumerate(bank.entries) if e.split == split and 0.3 <= e.seconds <= 5.0
        ]

    def candidates(self, event: Event, rng: np.random.Generator) -> list[torch.Tensor]:
        """Waveforms of the event's first occurrence and of `CANDIDATES` - 1 sounds of other labels,
        at its gain.
        """
        place = event.placements[0]
        sounds, taken = [cut_part(event.reference, place, RATE)], {event.label}
        while len(sounds) < CANDIDATES:
            entry = int(self.pool[int(rng.integers(len(self.pool)))])
            label = self.bank.entries[entry].label
            if label in taken:
                continue
            taken.add(label)
            sound = self.bank.waveform(entry)
            part = Placement(0.0, min(place.duration, len(sound) / RATE), place.gain)
            sounds.append(cut_part(sound, part, RATE))
        return sounds

    def verdict(
        self, mel: torch.Tensor, item: Composition, event: Event, sounds: list[torch.Tensor]
    ) -> tuple[bool, bool]:
        """Whether the event is nearest among its candidates alone, and in the mix; `mel` is
        [frames, bands].
        """
        place = event.placements[0]
        begin = round(place.start * FRAMES_PER_SECOND)
        piece = mel[begin : begin + max(8, round(place.duration * FRAMES_PER_SECOND))]
        first, length = round(place.start * RATE), len(sounds[0])
        stretch = item.target[first : first + length]
        rest = stretch - sounds[0][: len(stretch)]
        alone, mixed = [], []
        for sound in sounds:
            alone.append(distance(piece, self.to_mel(sound[None])[0, 0], self.floor))
            whole = rest.clone()
            whole[: len(sound)] += sound[: len(whole)]
            mixed.append(distance(piece, self.to_mel(whole[None])[0, 0], self.floor))
        return int(np.argmin(alone)) == 0, int(np.argmin(mixed)) == 0


def references_of(item: Composition, mode: str) -> list[Reference]:
    """References of an item as the model gets them in a mode."""
    if mode == "none":
        return []
    return [
        Reference(
            e.reference, e.reference_caption, placements=e.placements if mode == "true" else None
        )
        for e in item.references
    ][:8]


def generate_mel(
    model: DreamAudio, item: Composition, mode: str, seed: int, settings: SamplingConfig
) -> torch.Tensor:
    """Log-mel [1, 1, frames, bands] for an item in any mode but `target`."""
    conditioning = model.condition(item.prompt, references_of(item, mode))
    arrangement = model.arrange(conditioning, item.seconds, free=mode == "free")
    return model.decode(model.sample(conditioning, arrangement, [seed], settings))


def share(votes: list[bool]) -> float:
    """Mean of votes."""
    return float(np.mean(votes)) if votes else float("nan")


def measured_events(item: Composition) -> list[Event]:
    """The events that the score counts: asked for, and not the base of a mix."""
    return [e for e in item.events if e.asked and e.placements and not e.background]


def unasked(mel: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether a log-mel [frames, bands] sounds for 0.3 s or more where that of the target is
    silent.
    """
    return (
        int(((target.amax(1) < SILENT) & (mel.amax(1) > AUDIBLE)).sum()) >= 0.3 * FRAMES_PER_SECOND
    )


def customization(
    model: DreamAudio,
    judge: Judge,
    composer: Composer,
    items: range,
    seed: int,
    mode: str,
    waveforms: int,
    settings: SamplingConfig,
) -> dict:
    """Votes over `items` in `mode`, on the mel and, for the first `waveforms` items, after the
    vocoder too.
    """
    votes: dict[str, list[bool]] = {
        k: [] for k in ("alone", "mix", "waveform_alone", "waveform_mix", "unasked")
    }
    for index in items:
        item = composer.item(seed, index)
        target = judge.to_mel(item.target[None])
        mel = target if mode == "target" else generate_mel(model, item, mode, index, settings)
        heard = {"": mel[0, 0]}
        votes["unasked"].append(unasked(mel[0, 0], target[0, 0]))
        if index < waveforms and mode != "target":
            heard["waveform_"] = judge.to_mel(model.vocode(mel, item.seconds))[0, 0]
        rng = np.random.default_rng((seed, index, 1))
        for event in measured_events(item):
            sounds = judge.candidates(event, rng)
            for prefix, spectrogram in heard.items():
                alone, mixed = judge.verdict(spectrogram, item, event, sounds)
                votes[prefix + "alone"].append(alone)
                votes[prefix + "mix"].append(mixed)
    return votes


def generation(
    model: DreamAudio,
    judge: Judge,
    composer: Composer,
    items: int,
    seed: int,
    settings: SamplingConfig,
) -> dict:
    """Share of single events of training labels, asked for by their caption only, that are nearest
    to their own label.
    """
    votes = []
    for index in range(items):
        item = composer.item(seed, index)
        mel = generate_mel(model, item, "none", index, settings)[0, 0]
        rng = np.random.default_rng((seed, index, 1))
        for event in measured_events(item):
            votes.append(judge.verdict(mel, item, event, judge.candidates(event, rng))[0])
    return {"items": items, "events": len(votes), "share": share(votes)}


def variation(
    model: DreamAudio,
    judge: Judge,
    composer: Composer,
    items: int,
    seed: int,
    settings: SamplingConfig,
) -> dict:
    """Two seeds with strength 1 and the true timeline: log-mel L1 between them, over the whole
    (with the silence between the events, where they agree) and over the events, the share of events
    that differ by more than 0.3, and the share of events recognised in both.
    """
    differences, inside, votes = [], [], []
    for index in range(items):
        item = composer.item(seed, index)
        conditioning = model.condition(item.prompt, references_of(item, "true"))
        arrangement = model.arrange(conditioning, item.seconds)
        latents = model.sample(conditioning, arrangement, [2 * index, 2 * index + 1], settings)
        a, b = model.decode(latents)[:, 0]
        differences.append(float((a - b).abs().mean()))
        rng = np.random.default_rng((seed, index, 1))
        for event in measured_events(item):
            place = event.placements[0]
            span = slice(
                round(place.start * FRAMES_PER_SECOND),
                round((place.start + place.duration) * FRAMES_PER_SECOND),
            )
            inside.append(float((a[span] - b[span]).abs().mean()))
            sounds = judge.candidates(event, rng)
            votes.append(all(judge.verdict(mel, item, event, sounds)[1] for mel in (a, b)))
    return {
        "items": items,
        "log_mel_l1": float(np.mean(differences)),
        "log_mel_l1_in_events": float(np.mean(inside)),
        "events_over_0.3": share([d > 0.3 for d in inside]),
        "both_recognised": share(votes),
    }


def griffin_lim(mel: torch.Tensor, model: DreamAudio, iterations: int = 60) -> torch.Tensor:
    """Waveform of a log-mel [frames, bands] by 60 Griffin-Lim iterations from the basis's
    pseudo-inverse (librosa).
    """
    import librosa

    audio = model.config.audio
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
    wave = wave[audio.hop_length // 2 :]
    return torch.from_numpy(np.pad(wave, (0, max(0, len(mel) * audio.hop_length - len(wave)))))[
        : len(mel) * audio.hop_length
    ]


def stft_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over resolutions of the L1 distance of log magnitudes (floor 1e-5) plus the spectral
    convergence.
    """
    parts = []
    for size in (512, 1024, 2048):
        window = torch.hann_window(size)
        x, y = (
            torch.stft(w, size, size // 4, window=window, return_complex=True).abs() for w in (a, b)
        )
        logs = (x.clamp(min=1e-5).log() - y.clamp(min=1e-5).log()).abs().mean()
        parts.append(logs + torch.linalg.norm(x - y) / torch.linalg.norm(y))
    return float(sum(parts) / len(parts))


def codec(model: DreamAudio, bank: Bank, clips: int) -> dict:
    """VAE reconstruction, and on true mels the vocoder (bare and as the model uses it) against
    Griffin-Lim, over held-out clips of 1 to 5 s.
    """
    chosen = [i for i, e in enumerate(bank.entries) if e.split == "test" and e.seconds >= 1.0]
    chosen = [chosen[int(k)] for k in np.random.default_rng(3).permutation(len(chosen))[:clips]]
    names = ("vocoder", "bare_vocoder", "griffin_lim")
    out: dict[str, list[float]] = {"vae_log_mel_l1": []}
    out.update({f"{name}_{figure}": [] for name in names for figure in ("log_mel_l1", "stft")})
    for index in chosen:
        wave = bank.waveform(index)[: 5 * RATE]
        wave = wave[: len(wave) // 1280 * 1280]
        mel = log_mel(wave[None], model.config.audio)
        out["vae_log_mel_l1"].append(
            (model.decode(model.vae.encode(mel)) - mel).abs().mean().item()
        )
        bare = model.vocoder.vocode(mel[:, 0].transpose(1, 2))[0, 0].clamp(-1.0, 1.0)
        for name, made in zip(names, (model.vocode(mel)[0], bare, griffin_lim(mel[0, 0], model))):
            out[f"{name}_log_mel_l1"].append(
                (log_mel(made[None], model.config.audio) - mel).abs().mean().item()
            )
            out[f"{name}_stft"].append(stft_distance(made, wave))
    return {"clips": len(chosen), **{k: float(np.mean(v)) for k, v in out.items()}}


def _measure_rows(arguments: tuple) -> dict[str, list[bool]]:
    """One process's share of the items of a set and mode."""
    args, name, mode, first = arguments
    model, judge, composer = _prepared(args, name)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
        return customization(
            model,
            judge,
            composer,
            range(first, args.items, args.processes),
            args.seed,
            mode,
            args.waveforms,
            _settings(args),
        )


def _settings(args: argparse.Namespace) -> SamplingConfig:
    return SamplingConfig(
        steps=STEPS, guidance=args.guidance, reference_guidance=args.reference_guidance
    )


_READY: dict[str, tuple] = {}


def _prepared(args: argparse.Namespace, name: str) -> tuple[DreamAudio, Judge, Composer]:
    """Model, judge and composer of a set, kept within a process."""
    if "model" not in _READY:
        torch.set_num_threads(max(1, args.threads // args.processes))
        model = load_model(args.model)
        events = Bank(args.manifest, kinds=("event", "speech"))
        judges = {s: Judge(events, s, LogMel(model.config.audio)) for s in ("train", "test")}
        _READY["model"] = model, Bank(args.manifest), judges
    model, bank, judges = _READY["model"]
    single = {
        "kinds": {"sequence": 1.0},
        "counts": (1.0,),
        "distractor": 0.0,
        "long_reference": 0.0,
        "speech": 0.0,
        "adverb": 0.0,
        "unreferenced": 0.0,
    }
    config, split = {
        "concatenation": (ComposerConfig.concatenation(), "test"),
        "overlay": (ComposerConfig.overlay(), "test"),
        "single": (ComposerConfig(short_probability=1.0, **single), "train"),
    }[name]
    return model, judges[split], Composer(bank, config, split)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--sets",
        nargs="+",
        choices=("concatenation", "overlay"),
        default=["concatenation", "overlay"],
    )
    parser.add_argument("--items", type=int, default=200, help="items a set and mode")
    parser.add_argument(
        "--waveforms",
        type=int,
        default=50,
        help="items of these that are measured after the vocoder too",
    )
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seed", type=int, default=11, help="names the items")
    parser.add_argument(
        "--guidance",
        type=float,
        default=1.0,
        help="scale of the prompt, where there are references",
    )
    parser.add_argument(
        "--text-guidance",
        type=float,
        default=2.0,
        help="scale of the prompt in the part generation",
    )
    parser.add_argument("--reference-guidance", type=float, default=1.5)
    parser.add_argument(
        "--suffix", default="", help="added to the keys, to keep another setting's results beside"
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="autocast; quicker on CPUs that have matrix units for it",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--processes",
        type=int,
        default=2,
        help="share the customization items between so many processes",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "evaluation.json"
    results = json.loads(file.read_text()) if file.exists() else {}

    def keep(key: str, value: dict) -> None:
        results[key + args.suffix] = {
            "steps": STEPS,
            "bf16": args.bf16,
            "guidance": args.guidance,
            "reference_guidance": args.reference_guidance,
            **value,
        }
        file.write_text(json.dumps(results, indent=2) + "\n")
        print(key, json.dumps(value), flush=True)

    if "customization" in args.parts:
        with torch.multiprocessing.get_context("spawn").Pool(args.processes) as pool:
            for name in args.sets:
                for mode in args.modes:
                    started = time.time()
                    rows = pool.map(
                        _measure_rows,
                        [(args, name, mode, first) for first in range(args.processes)],
                    )
                    votes = {key: [v for row in rows for v in row[key]] for key in rows[0]}
                    found = {key: share(values) for key, values in votes.items() if values}
                    keep(
                        f"{name}-{mode}",
                        {
                            "items": args.items,
                            "events": len(votes["alone"]),
                            **found,
                            "events_on_waveform": len(votes["waveform_alone"]),
                            "seconds": round(time.time() - started),
                        },
                    )
    model, judge, _ = _prepared(args, "concatenation")
    with torch.inference_mode():
        if "codec" in args.parts:
            keep("codec", codec(model, Bank(args.manifest), args.clips))
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            if "generation" in args.parts:
                _, own, composer = _prepared(args, "single")
                found = generation(
                    model,
                    own,
                    composer,
                    args.items,
                    args.seed,
                    SamplingConfig(steps=STEPS, guidance=args.text_guidance),
                )
                keep(
                    "generation",
                    {**found, "guidance": args.text_guidance, "reference_guidance": None},
                )
            if "variation" in args.parts:
                _, judge, composer = _prepared(args, "concatenation")
                keep(
                    "variation",
                    variation(
                        model, judge, composer, min(args.items, 50), args.seed, _settings(args)
                    ),
                )


if __name__ == "__main__":
    main()
