"""Render the ten unseen scenarios of scenarios.jsonl, each once and with seed 0, as WAV and
spectrogram PNG.

    python recipes/mini/render_scenarios.py BANK/manifest.jsonl OUT_FOLDER [--model NAME|FOLDER]

A reference is the first recording of its held-out label. The picture shows the references above the
output.
"""

import argparse
from pathlib import Path

import matplotlib
import torch

from dreamaudio_core.audio import log_mel, write_audio
from dreamaudio_core.cli.options import describe
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.loading import load_model
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.scenes import read_scenes

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SCENARIOS = Path(__file__).parent / "scenarios.jsonl"


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
    for number, scene in enumerate(read_scenes(SCENARIOS), 1):
        references = [
            prepare_reference(
                bank.waveform(recordings[r.extra["label"]][0]), bank.sample_rate, r.caption
            )
            for r in scene.references
        ]
        result = model.generate(scene.prompt, references)
        stem = f"{number:02d}_{scene.name.replace(' ', '_')}"
        write_audio(args.out / f"{stem}.wav", result.waveforms[0], result.sample_rate)
        waves = [(r.caption, r.waveform) for r in references]
        waves.append(("output", result.waveforms[0, 0]))
        draw(args.out / f"{stem}.png", scene.prompt, waves, model.config.audio)
        print("\n".join(f"{stem}: {line}" for line in describe(result.arrangement)), flush=True)


if __name__ == "__main__":
    main()
