"""AudioBox-Aesthetics (Tjandra et al., "Meta Audiobox Aesthetics"): production quality and content
usefulness.

Needs the optional package `audiobox_aesthetics`; only its network is used, not its downloading or
audio reading.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from ..files import file_digest, folder_digest
from ..weights.checkpoint import load_state, read_pickle

PUBLISHED = (
    "the weights are published at https://huggingface.co/facebook/audiobox-aesthetics "
    "(config.json with "
    "model.safetensors) and as https://dl.fbaipublicfiles.com/audiobox-aesthetics/checkpoint.pt"
)
AXES = ("PQ", "CU")
WINDOW = 160_000
_SETTINGS = (
    "proj_num_layer",
    "proj_ln",
    "proj_act_fn",
    "proj_dropout",
    "nth_layer",
    "use_weighted_layer_sum",
    "precision",
    "normalize_embed",
    "output_dim",
)


def load_aesthetics(source: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """Network of a folder (`config.json`, `model.safetensors`) or of the released `checkpoint.pt`.

    Raises
    ------
    CheckpointError
        If the package or the weights are missing, or the weights do not fit.
    """
    source = _resolve(source)
    try:
        from audiobox_aesthetics.model.aes import AesMultiOutput
    except ImportError as error:
        raise CheckpointError(
            f"PQ and CU need the optional package audiobox_aesthetics ({error}): install it with "
            "pip install "
            "audiobox_aesthetics, or leave PQ and CU out"
        ) from error
    try:
        if source.is_dir():
            if not (source / "model.safetensors").is_file():
                # The hub's own reader would take a pickle instead.
                raise CheckpointError(f"{source}: no model.safetensors; {PUBLISHED}")
            network = AesMultiOutput.from_pretrained(str(source), local_files_only=True)
        else:
            found = read_pickle(source)
            settings = {k: found["model_cfg"][k] for k in _SETTINGS}
            network = AesMultiOutput(**settings, target_transform=found["target_transform"])
            load_state(
                network,
                {re.sub(r"^model\.", "", k): v for k, v in found["state_dict"].items()},
                source,
            )
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # the package checks nothing itself, so a foreign file fails in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CheckpointError(
            f"{source}: no readable AudioBox-Aesthetics weights ({reason}); {PUBLISHED}"
        ) from error
    return network.eval().requires_grad_(False).to(device)


def _resolve(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"{path}: expected AudioBox-Aesthetics weights, found nothing; {PUBLISHED}"
        )
    for name in ("config.json", "model.safetensors") if path.is_dir() else ():
        if not (path / name).is_file():
            raise CheckpointError(f"{path}: the file {name} is missing; {PUBLISHED}")
    return path


class AestheticsExtractor:
    """Clips at 16 kHz to scores [PQ, CU] on the model's scale of 1 to 10.

    The network is read when the first clip comes. A clip is cut into windows of 10 s, the last one
    extended by zeros under a mask; the windows' scores are averaged with their lengths as weights.

    Parameters
    ----------
    source : str or Path
        Folder or checkpoint, see `load_aesthetics`.
    device : torch.device or str
        Where the network runs.
    """

    name = "aesthetics"
    sample_rate = 16_000

    def __init__(self, source: str | Path, device: torch.device | str = "cpu"):
        self.source = _resolve(source)
        self.device = device
        self.digest = (
            folder_digest(self.source, (".json", ".safetensors"))
            if self.source.is_dir()
            else file_digest(self.source)
        )
        self._network: Any = None

    def extract(self, waveforms: list[Tensor]) -> list[np.ndarray]:
        """Scores [2] (PQ, CU) of each waveform [T]."""
        if self._network is None:
            self._network = load_aesthetics(self.source, self.device)
        parts = [part for waveform in waveforms for part in waveform.float().split(WINDOW)]
        lengths = torch.tensor([len(p) for p in parts])
        batch = torch.stack([F.pad(p, (0, WINDOW - len(p))) for p in parts])[:, None].to(
            self.device
        )
        mask = (torch.arange(WINDOW) < lengths[:, None])[:, None].to(self.device)
        with torch.inference_mode():
            found = self._network({"wav": batch, "mask": mask})
        scales = self._network.target_transform
        scores = torch.stack(
            [
                found[axis].double().cpu() * scales[axis]["std"] + scales[axis]["mean"]
                for axis in AXES
            ],
            dim=1,
        )
        results, start = [], 0
        for waveform in waveforms:
            count = -(-len(waveform) // WINDOW)
            weights = lengths[start : start + count].double()[:, None]
            results.append(
                ((scores[start : start + count] * weights).sum(0) / weights.sum()).numpy()
            )
            start += count
        return results
