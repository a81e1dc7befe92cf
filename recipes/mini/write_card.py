"""Write the model card of the embedded model from what was measured, the bank and the weight files.

    python recipes/mini/write_card.py WORK [--model FOLDER]

Reads WORK/evaluation/*.json, WORK/bank/manifest.jsonl, the model folder, and beside this script
`card.md` (the prose), `training.json` (how the committed weights were trained) and
`scenarios.jsonl`. Writes FOLDER/README.md.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from safetensors import safe_open

from dreamaudio_core.config import ModelConfig
from dreamaudio_core.data.bank import Bank, BankEntry
from dreamaudio_core.errors import DreamAudioError
from dreamaudio_core.scene.scene_files import read_scenes
from dreamaudio_core.scene.scenes import Scene
from dreamaudio_core.weights.folder import MODELS, read_config

HERE = Path(__file__).parent
MODES = {
    "target": "the target itself (what a perfect model would reach)",
    "true": "with the true timeline",
    "arranger": "with the arranger's timeline",
    "levels": "the same, each reference at its level in the target",
    "free": "free: the network places the references (the paper's mode)",
    "none": "references taken away",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def percent(found: dict, key: str) -> str:
    """A share in per cent, or a dash where it was not measured."""
    return f"{100 * found[key]:.1f} %" if key in found else "-"


def seen_in(found: dict, counts: str) -> str:
    """Number of events measured, and of their items where all of these were."""
    if not found.get(counts):
        return "-"
    return f"{found[counts]} in {found['items']}" if counts == "events" else str(found[counts])


def customization(found: dict, prefix: str, counts: str) -> str:
    """Table of the sets and modes; `prefix` is that of the keys, `counts` the key of the number of
    events.
    """
    rows = []
    for mode, text in MODES.items():
        sets = [found.get(f"{name}-{mode}", {}) for name in ("concatenation", "overlay")]
        if not any(part.get(counts) for part in sets):
            continue
        concatenation, overlay = sets
        rows.append(
            [
                text,
                percent(concatenation, prefix + "alone"),
                percent(overlay, prefix + "alone"),
                percent(overlay, prefix + "mix"),
                " / ".join(seen_in(part, counts) for part in sets),
            ]
        )
    head = [
        "customization",
        "concatenation",
        "overlay, candidate alone",
        "overlay, candidate in the mix",
        "events in items",
    ]
    return table(head, rows)


def measured(results: dict) -> str:
    """Tables of the measurements of `evaluate.py`; `results` maps each JSON file's stem to its
    content.
    """
    found, arranger = results.get("evaluation", {}), results.get("arranger", {})
    parts = []
    settings = found.get("concatenation-true", {})
    if "guidance" in settings:
        parts.append(
            f"{settings['steps']} solver steps, guidance {settings['guidance']:g} for the prompt "
            f"and {settings['reference_guidance']:g} for the references, computed in "
            f"{'bfloat16' if settings['bf16'] else 'float32'}."
        )
    if any(key.startswith(("concatenation-", "overlay-")) for key in found):
        parts += [
            "On the mel:",
            customization(found, "", "events"),
            "The same after the vocoder, on the waveform:",
            customization(found, "waveform_", "events_on_waveform"),
        ]
    rows = [
        *quality(found),
        *reconstruction(found.get("codec")),
        *elsewhere(found.get("elsewhere")),
    ]
    if rows:
        parts.append(table(["figure", "value"], rows))
    if arranger:
        parts.append(arranger_table(arranger))
    return "\n\n".join(parts)


def quality(found: dict) -> list[list[str]]:
    """Rows of unasked sounds, of single events and of variation."""
    rows = []
    joint = found.get("concatenation-true joint guidance 2")
    if joint:
        rows.append(
            [
                f"concatenations with the true timeline at joint guidance 2 ({joint['items']} "
                "items): recognised / with an unasked sound",
                f"{percent(joint, 'alone')} / {percent(joint, 'unasked')}",
            ]
        )
    for name in ("concatenation", "overlay"):
        part = found.get(f"{name}-true", {})
        if "waveform_event_log_mel_l1" in part:
            text = f"{name}, true timeline: log-mel L1 to the target in the events, on the mel / on"
            value = f"{part['event_log_mel_l1']:.3f} / {part['waveform_event_log_mel_l1']:.3f}"
            rows.append([f"{text} the waveform", value])
    for mode in ("true", "arranger"):
        part = found.get(f"concatenation-{mode}", {})
        if "unasked" in part:
            text = f"concatenations {MODES[mode]} that sound for 0.3 s or more where the target is"
            rows.append([f"{text} silent", percent(part, "unasked")])
    if "generation" in found:
        g = found["generation"]
        text = f"generation: {g['events']} single events of training labels, asked for by caption"
        rows.append([f"{text} only, nearest to their own label among 16", percent(g, "share")])
    if "variation" in found:
        v = found["variation"]
        text = "variation: mean log-mel L1 between two seeds within the events,"
        rows += [
            [
                f"{text} {v['items']} concatenations at strength 1",
                f"{v['log_mel_l1_in_events']:.3f}",
            ],
            ["the same over everything, with the silence between events", f"{v['log_mel_l1']:.3f}"],
            ["events that differ by more than 0.3", percent(v, "events_over_0.3")],
            ["events recognised with both seeds", percent(v, "both_recognised")],
        ]
    return rows


def reconstruction(found: dict | None) -> list[list[str]]:
    """Rows of the VAE and the vocoders."""
    if found is None:
        return []
    text = f"VAE: log-mel L1 of {found['clips']} held-out clips of 1 to 5 s"
    rows = [[text, f"{found['vae_log_mel_l1']:.3f}"]]
    for name, text in (
        ("vocoder", "vocoder as the model uses it"),
        ("bare_vocoder", "vocoder without refinement"),
        ("griffin_lim", "Griffin-Lim, 60 iterations"),
    ):
        value = f"{found[name + '_log_mel_l1']:.3f} / {found[name + '_stft']:.2f}"
        rows.append([f"{text}, on true mels: log-mel L1 / STFT distance", value])
    return rows


def elsewhere(found: dict | None) -> list[list[str]]:
    """Rows of the sounds from elsewhere."""
    if found is None:
        return []
    texts = {
        "vae_log_mel_l1": "log-mel L1 after the VAE",
        "noisy_log_mel_l1": "the same with noise of 0.2 on the latents",
        "waveform_log_mel_l1": "log-mel L1 after VAE and vocoder, on the waveform",
        "event_log_mel_l1": "first second as a placed reference: log-mel L1 in the event",
        "waveform_event_log_mel_l1": "the same after the vocoder, on the waveform",
    }
    where = f"{found['sounds']} sounds from elsewhere"
    rows = [[f"{where}: {text}", f"{found[key]:.3f}"] for key, text in texts.items()]
    nearest = f"{where}: event nearest to its own of all {found['sounds']}, on the waveform"
    return [*rows, [nearest, percent(found, "waveform_nearest")]]


def arranger_table(found: dict) -> str:
    """Table of the arranger's answers."""
    columns = [found[name] for name in ("held_out", "written_by_hand", "written_by_hand_2")]
    rows = [
        [text, *(f"{column[key]} %" if key in column else "-" for column in columns)]
        for text, key in (
            ("order of events", "order"),
            ("asked for or not", "asked"),
            ("all starts within 0.5 s, back to back", "start"),
            ("whether the references are all that is asked for", "complete"),
            ("that they are not, after one was taken away", "incomplete"),
        )
    ]
    compositions = f"{columns[0]['compositions']:,} held-out compositions"
    return table(["arranger", compositions, "50 prompts written by hand", "50 more"], rows)


def sources(entries: list[BankEntry]) -> str:
    """Table of the packages of the training sounds, those with most sounds first."""
    packages: dict[str, list[BankEntry]] = {}
    for entry in entries:
        packages.setdefault(entry.source, []).append(entry)
    rows = []
    for name, those in sorted(packages.items(), key=lambda item: (-len(item[1]), item[0])):
        licenses = ", ".join(dict.fromkeys(e.license for e in those))
        rows.append([name, str(len(those)), f"{sum(e.seconds for e in those) / 60:.0f}", licenses])
    return table(["package", "sounds", "minutes", "licenses of the sounds"], rows)


def training(parts: list[dict]) -> str:
    """Table of the parts' training."""

    def joined(numbers: list[int]) -> str:
        return " + ".join(f"{n:,}" for n in numbers)

    rows = [
        [p["part"], p["data"], joined(p["steps"]), joined(p["minutes"]), p["note"] or "-"]
        for p in parts
    ]
    return table(["part", "data", "steps", "minutes", "note"], rows)


def scenarios(scenes: list[Scene]) -> str:
    """Numbered list of the prompts with their references."""
    lines = []
    for number, scene in enumerate(scenes, 1):
        references = "; ".join(f"{r.caption} (`{r.label}`)" for r in scene.references)
        lines.append(f'{number}. {scene.name}: "{scene.prompt}" References: {references}.')
    return "\n".join(lines)


def parameters(path: Path) -> str:
    """Count of the values in a weight file, in millions."""
    with safe_open(path, framework="np") as file:
        count = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return f"{count / 1e6:.1f} M"


def sizes(config: ModelConfig, folder: Path) -> dict[str, str]:
    """Placeholders that the model itself decides."""
    channels, frames, bands = config.latent_shape()
    files = {
        part: folder / f"{part}.safetensors" for part in ("flow", "arranger", "vae", "vocoder")
    }
    files["text"] = folder / config.text.source / "model.safetensors"
    return {
        "seconds": f"{config.seconds:g}",
        "kilohertz": f"{config.audio.sample_rate / 1000:g}",
        "references": str(config.mrc.num_references),
        "mel_frames": str(frames * config.vae.stride),
        "mel_bands": str(config.audio.n_mels),
        "latent_channels": str(channels),
        "latent_frames": str(frames),
        "latent_bands": str(bands),
        "refinement_iterations": str(config.vocoder.refinement_iterations),
        **{f"{part}_parameters": parameters(path) for part, path in files.items()},
    }


def card(
    results: dict,
    entries: list[BankEntry],
    facts: dict,
    scenes: list[Scene],
    folder: Path,
    template: str,
) -> str:
    """The model card; `entries` are all of the bank, `facts` those of `training.json`."""
    trained = [e for e in entries if e.split == "train"]
    labels = {split: {e.label for e in entries if e.split == split} for split in ("train", "test")}
    return template.format(
        **sizes(read_config(folder), folder),
        measured=measured(results),
        sources=sources(trained),
        training=training(facts["parts"]),
        notes="\n".join(facts["notes"]),
        speed=facts["speed"],
        machine=facts["machine"],
        hours=f"{sum(m for part in facts['parts'] for m in part['minutes']) / 60:.1f}",
        scenarios=scenarios(scenes),
        scenario_count=str(len(scenes)),
        recordings=f"{len(trained):,}",
        labels=f"{len(labels['train']):,}",
        held_out_labels=f"{len(labels['test']):,}",
        all_labels=f"{len(labels['train'] | labels['test']):,}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
            read_scenes(HERE / "scenarios.jsonl"),
            args.model,
            (HERE / "card.md").read_text(encoding="utf-8"),
        )
    except DreamAudioError as error:
        sys.exit(str(error))
    (args.model / "README.md").write_text(text, encoding="utf-8")
    print(f"{args.model / 'README.md'} written")


if __name__ == "__main__":
    main()
