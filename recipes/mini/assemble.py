"""Put the trained parts together as the embedded model, in half precision.

    python recipes/mini/assemble.py RUNS dreamaudio_core/models/mini

RUNS holds the run folders vae, vocoder and flow; the text encoder and the arranger are written by their own scripts.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from dreamaudio_core.checkpoint import load_weights, save_weights
from dreamaudio_core.config import PRESETS, ArrangerConfig, VAEConfig, to_dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    config = PRESETS["mini"]
    for part, part_config in (("flow", config.mrc), ("vocoder", config.vocoder)):
        state = torch.load(args.runs / part / "last.pt", weights_only=True)
        save_weights(args.folder / f"{part}.safetensors", state["ema"], part, part_config, torch.float16)
        print(f"{part}: {state['step']} steps")
    shutil.copyfile(args.runs / "vae" / "vae.safetensors", args.folder / "vae.safetensors")
    vae_config, _ = load_weights(args.folder / "vae.safetensors", "vae", VAEConfig)
    arranger = config.arranger
    if (args.folder / "arranger.safetensors").exists():
        arranger, _ = load_weights(args.folder / "arranger.safetensors", "arranger", ArrangerConfig)
    whole = replace(config, vae=vae_config, arranger=arranger)
    text = json.dumps({"format": "dreamaudio", "version": 1, **to_dict(whole)}, indent=2)
    (args.folder / "config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
