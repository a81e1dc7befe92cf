"""Render the ten unseen scenarios of scenarios.jsonl, each once and with seed 0, as WAV and
spectrogram PNG.

    python recipes/mini/render_scenarios.py BANK/manifest.jsonl OUT_FOLDER [--model NAME|FOLDER]

A reference is the first recording of its held-out label. The picture shows the references above the
output.
"""

import argparse
import json
from pathlib import Path

import matplotlib
import torch

from dreamaudio_core.audio import log_mel, write_audio
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.loading import load_model
from dreamaudio_core.sampling.guidance import Guidance
from dreamaudio_core.scene.reference import prepare_reference

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

GUIDANCE = Guidance(1.0, 1.5)


def draw(path: Path, title: str, waves: list[tuple[str, torch.Tensor]], config) -> None:
    """Log-mel spectrograms, one below the other, on one time scale."""
    longest = max(len(wave) for _, wave in waves) / config.sample_rate
    figure, axes = plt.subplots(
        len(waves), 1, figsize=(9, 1.7 * len(waves)), sharex=True, layout="constrained"
    )
    for axis, (name, wave) in zip(axes, waves):
        mel = log_mel(wave[None], config)[0, 0].T
        seconds = len(wave) / config.sample_rate
        axis.imshow(
            mel,
            origin="lower",
            aspect="auto",
            vmin=-11,
            vmax=2,
            extent=(0, seconds, 0, config.n_mels),
        )
        axis.set(xlim=(0, longest), ylabel="mel band")
        axis.set_title(name, fontsize=8)
    axes[-1].set_xlabel("seconds")
    figure.suptitle(title, fontsize=9, wrap=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bank = Bank(args.manifest, split="test")
    recordings = bank.by_label()
    model = load_model(args.model)
    scenarios = (Path(__file__).parent / "scenarios.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(scenarios, 1):
        scene = json.loads(line)
        references = [
            prepare_reference(
                bank.waveform(recordings[r["label"]][0]),
                model.config.audio.sample_rate,
                r["caption"],
            )
            for r in scene["references"]
        ]
        conditioning = model.condition(scene["prompt"], references)
        arrangement = model.arrange(conditioning)
        wave = model.vocode(
            model.decode(model.sample(conditioning, arrangement, guidance=GUIDANCE)),
            arrangement.seconds,
        )[0]
        stem = f"{number:02d}_{scene['name'].replace(' ', '_')}"
        write_audio(args.out / f"{stem}.wav", wave, model.config.audio.sample_rate)
        waves = [(r.caption, r.waveform) for r in references] + [("output", wave)]
        draw(args.out / f"{stem}.png", scene["prompt"], waves, model.config.audio)
        for reference, places in zip(references, arrangement.timeline):
            times = ", ".join(f"{p.start:.2f}+{p.duration:.2f} s" for p in places) or "not placed"
            print(f"{stem}: {reference.caption}: {times}", flush=True)


if __name__ == "__main__":
    main()
