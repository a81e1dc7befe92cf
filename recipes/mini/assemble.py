"""Put the trained parts together as the embedded model, in half precision.

    python recipes/mini/assemble.py RUNS dreamaudio_core/models/mini

Takes RUNS/PART/PART.safetensors of flow, vae, vocoder and arranger; a part without a run keeps the
file that is in the folder. The text encoder in the folder stays; `build_text_encoder.py` makes it.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from dreamaudio_core.config import (
    PRESETS,
    ArrangerConfig,
    MRCConfig,
    VAEConfig,
    VocoderConfig,
)
from dreamaudio_core.errors import CheckpointError
from dreamaudio_core.weights.checkpoint import load_weights, save_weights
from dreamaudio_core.weights.folder import write_config

PARTS = {"flow": MRCConfig, "vae": VAEConfig, "vocoder": VocoderConfig, "arranger": ArrangerConfig}


def assemble(runs: Path, folder: Path) -> dict[str, str]:
    """Write the parts and `config.json`; says of each part whether it was taken or kept.

    Raises
    ------
    CheckpointError
        If a part is neither in the runs nor in the folder; nothing is written then.
    """
    sources = {}
    for part in PARTS:
        name = f"{part}.safetensors"
        sources[part] = next((p for p in (runs / part / name, folder / name) if p.is_file()), None)
        if sources[part] is None:
            raise CheckpointError(
                f"{runs / part / name}: no such file, and {folder} has no {name} to keep"
            )
    loaded = {part: load_weights(path, part, PARTS[part]) for part, path in sources.items()}
    outcome = {}
    for part, (config, state) in loaded.items():
        outcome[part] = "kept"
        if sources[part].parent != folder:
            save_weights(folder / f"{part}.safetensors", state, part, config, torch.float16)
            outcome[part] = f"taken from {sources[part]}"
    configs = {"mrc" if part == "flow" else part: config for part, (config, _) in loaded.items()}
    whole = replace(PRESETS["mini"], **configs)
    write_config(folder, whole)
    there = (folder / whole.text.source / "model.safetensors").is_file()
    outcome["text encoder"] = "kept" if there else "missing; build_text_encoder.py makes it"
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    try:
        outcome = assemble(args.runs, args.folder)
    except CheckpointError as error:
        sys.exit(str(error))
    for part, said in outcome.items():
        print(f"{part}: {said}")


if __name__ == "__main__":
    main()
