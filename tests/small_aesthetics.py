"""AudioBox-Aesthetics with a narrow encoder of random weights, for tests and rehearsals."""

from pathlib import Path
from typing import Any

import torch

SETTINGS = {
    "proj_num_layer": 1,
    "proj_ln": False,
    "proj_act_fn": "gelu",
    "proj_dropout": 0,
    "nth_layer": 3,
    "use_weighted_layer_sum": True,
    "precision": "32",
    "normalize_embed": True,
    "output_dim": 1,
}
SCALES = {
    axis: {"mean": 5.0 + i, "std": 1.0 + 0.5 * i} for i, axis in enumerate(("CE", "CU", "PC", "PQ"))
}


def narrow(aes: Any) -> Any:
    """Sizes for the package's module `aes`, which takes them from its `DEFAULT_AUDIO_CFG`."""
    small = {
        "encoder_layers": 2,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 32,
        "encoder_attention_heads": 2,
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "conv_pos": 16,
        "conv_pos_groups": 2,
    }
    return aes.WavLMConfig(vars(aes.DEFAULT_AUDIO_CFG) | small)


def small_network(aes: Any, seed: int = 0) -> Any:
    """A network whose scores differ between sounds."""
    torch.manual_seed(seed)
    made = aes.AesMultiOutput(**SETTINGS, target_transform=SCALES).eval()
    with torch.no_grad():
        for axis in aes.AXES_NAME:
            made.proj_layer[axis][0].weight.mul_(20)
    return made


def write_aesthetics(aes: Any, path: Path) -> Path:
    """A checkpoint as it is published."""
    state = {f"model.{k}": v for k, v in small_network(aes).state_dict().items()}
    torch.save({"state_dict": state, "model_cfg": SETTINGS, "target_transform": SCALES}, path)
    return path
