"""Write the model card of the embedded model from what was measured, the bank and the weight files.

    python recipes/mini/write_card.py WORK [--model FOLDER]

Reads WORK/evaluation/*.json, WORK/bank/manifest.jsonl, the model folder, and beside this script `card.md` (the prose),
`training.json` (how the committed weights were trained) and `scenarios.jsonl`. Writes FOLDER/README.md.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from dreamaudio_core.config import ModelConfig
from dreamaudio_core.data.bank import Bank, BankEntry
from dreamaudio_core.errors import DreamAudioError
from dreamaudio_core.pipeline import MODELS, read_config

HERE = Path(__file__).parent
# What was planned, by the name of the row.
BARS = {
    "concatenation-true alone": "at least 0.95",
    "concatenation-arranger alone": "at least 0.80",
    "concatenation-none alone": "at most 0.15",
    "overlay-true alone": "at least 0.80",
    "overlay-arranger alone": "at least 0.65",
    "overlay-none alone": "at most 0.15",
    "codec vae_log_mel_l1": "at most 0.35",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def leaves(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of nested results, each with its keys as its name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name} {key}".strip())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value


def measured(results: dict) -> str:
    """Table of all numbers of the evaluation with their planned bars; `results` maps each JSON file's stem to its content."""
    rows = []
    for content in results.values():
        for name, value in leaves(content):
            if math.isfinite(value):
                rows.append([name, f"{value:,}" if isinstance(value, int) else f"{value:.3f}", BARS.get(name, "-")])
    return table(["figure", "value", "planned bar"], rows)


def sources(entries: list[BankEntry]) -> str:
    """Table of the packages of the training sounds, those with most sounds first."""
    packages: dict[str, list[BankEntry]] = {}
    for entry in entries:
        packages.setdefault(entry.source, []).append(entry)
    rows = []
    for name, those in sorted(packages.items(), key=lambda item: (-len(item[1]), item[0])):
        licences = ", ".join(dict.fromkeys(e.licence for e in those))
        rows.append([name, str(len(those)), f"{sum(e.seconds for e in those) / 60:.0f}", licences])
    return table(["package", "sounds", "minutes", "licences of the sounds"], rows)


def training(parts: list[dict]) -> str:
    """Table of the parts' training."""
    def joined(numbers: list[int]) -> str:
        return " + ".join(f"{n:,}" for n in numbers)

    rows = [[p["part"], p["data"], joined(p["steps"]), joined(p["minutes"]), p["note"] or "-"] for p in parts]
    return table(["part", "data", "steps", "minutes", "note"], rows)


def scenarios(scenes: list[dict]) -> str:
    """Numbered list of the prompts with their references."""
    lines = []
    for number, scene in enumerate(scenes, 1):
        references = "; ".join(f"{r['caption']} (`{r['label']}`)" for r in scene["references"])
        lines.append(f"{number}. {scene['name']}: \"{scene['prompt']}\" References: {references}.")
    return "\n".join(lines)


def parameters(path: Path) -> str:
    """Count of the values in a weight file, in millions."""
    with safe_open(path, framework="np") as file:
        count = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return f"{count / 1e6:.1f} M"


def sizes(config: ModelConfig, folder: Path) -> dict[str, str]:
    """Placeholders that the model itself decides."""
    channels, frames, bands = config.latent_shape()
    files = {part: folder / f"{part}.safetensors" for part in ("flow", "arranger", "vae", "vocoder")}
    files["text"] = folder / config.text.source / "model.safetensors"
    return {
        "seconds": f"{config.seconds:g}", "kilohertz": f"{config.audio.sample_rate / 1000:g}",
        "references": str(config.mrc.num_references), "mel_frames": str(frames * config.vae.stride),
        "mel_bands": str(config.audio.n_mels), "latent_channels": str(channels), "latent_frames": str(frames),
        "latent_bands": str(bands), "vocoder_channels": str(config.vocoder.upsample_initial_channel),
        "refinement_iterations": str(config.vocoder.refinement_iterations),
        **{f"{part}_parameters": parameters(path) for part, path in files.items()},
    }


def card(results: dict, entries: list[BankEntry], facts: dict, scenes: list[dict], folder: Path, template: str) -> str:
    """The model card; `entries` are all of the bank, `facts` those of `training.json`."""
    trained = [e for e in entries if e.split == "train"]
    labels = {split: {e.label for e in entries if e.split == split} for split in ("train", "test")}
    return template.format(
        **sizes(read_config(folder), folder), measured=measured(results), sources=sources(trained),
        training=training(facts["parts"]), notes="\n".join(facts["notes"]), speed=facts["speed"], machine=facts["machine"],
        hours=f"{sum(m for part in facts['parts'] for m in part['minutes']) / 60:.1f}", scenarios=scenarios(scenes),
        scenario_count=str(len(scenes)), recordings=f"{len(trained):,}", labels=f"{len(labels['train']):,}",
        held_out_labels=f"{len(labels['test']):,}", all_labels=f"{len(labels['train'] | labels['test']):,}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path, default=MODELS / "mini")
    args = parser.parse_args()
    files = sorted((args.work / "evaluation").glob("*.json"))
    if not files:
        sys.exit(f"{args.work / 'evaluation'}: no *.json; measure first, with evaluate.py")
    try:
        text = card(
            {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files},
            Bank(args.work / "bank" / "manifest.jsonl").entries,
            json.loads((HERE / "training.json").read_text(encoding="utf-8")),
            [json.loads(line) for line in (HERE / "scenarios.jsonl").read_text(encoding="utf-8").splitlines()],
            args.model, (HERE / "card.md").read_text(encoding="utf-8"),
        )
    except DreamAudioError as error:
        sys.exit(str(error))
    (args.model / "README.md").write_text(text, encoding="utf-8")
    print(f"{args.model / 'README.md'} written")


if __name__ == "__main__":
    main()
