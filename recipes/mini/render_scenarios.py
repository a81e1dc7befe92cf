"""Render the ten unseen scenarios of scenarios.jsonl, each once and with seed 0, as WAV and
spectrogram PNG.

    python recipes/mini/render_scenarios.py BANK/manifest.jsonl OUT_FOLDER [--model NAME|FOLDER]

A reference is the first recording of its held-out label. The picture shows the references above the
output.
"""

import argparse
from pathlib import Path

from dreamaudio_core.audio.picture import Panel, draw_spectrograms
from dreamaudio_core.audio.write import write_audio
from dreamaudio_core.data.bank import Bank
from dreamaudio_core.loading import load_model
from dreamaudio_core.scene.reference import prepare_reference
from dreamaudio_core.scene.scene_files import read_scenes

SCENARIOS = Path(__file__).parent / "scenarios.jsonl"


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
            prepare_reference(bank.waveform(recordings[r.label][0]), bank.sample_rate, r.caption)
            for r in scene.references
        ]
        result = model.generate(scene.prompt, references)
        stem = f"{number:02d}_{scene.name.replace(' ', '_')}"
        write_audio(args.out / f"{stem}.wav", result.waveforms[0], result.sample_rate)
        panels = [
            Panel(model.log_mel(r.waveform[None])[0, 0], r.caption, r.seconds) for r in references
        ]
        output = model.log_mel(result.waveforms[:, 0])[0, 0]
        panels.append(Panel(output, "output", result.arrangement.seconds))
        picture = draw_spectrograms(panels, model.config.audio, scene.prompt, size=(720, 140))
        picture.save(args.out / f"{stem}.png")
        print("\n".join(f"{stem}: {line}" for line in result.arrangement.describe()), flush=True)


if __name__ == "__main__":
    main()
