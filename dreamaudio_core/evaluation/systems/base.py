"""What the adapters of other people's systems share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ...errors import CheckpointError
from ...files import folder_digest
from ...networks.pretrained import folder_or_hub_id
from ...scene.scenes import SceneReference

SECONDS = 10.24
"""Length of the paper's clips."""
FILES = (".json", ".yaml", ".yml", ".txt", ".model", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of the files that decide how a system sounds."""
# No code that comes with a model is run, and from_pretrained unpickles nothing.
SAFE = {"trust_remote_code": False, "use_safetensors": True}


class Baseline:
    """What the adapters share: weights with an identity, settings, and a fixed length."""

    KIND: str
    TITLE: str
    PUBLISHED: str
    SETTINGS: tuple[str, ...] = ("steps", "guidance", "seconds")
    sample_rate: int

    def __init__(self, source: str, device: str, settings: dict[str, Any]):
        self.source, self.local = folder_or_hub_id(
            source, f"{self.KIND}:{source}", f"one is published at {self.PUBLISHED}"
        )
        self.device = torch.device(device)
        self.settings = settings
        self.name = f"{self.TITLE} ({Path(self.source).name})"
        weights = folder_digest(Path(self.source), FILES) if self.local else self.source
        self.identity = "\0".join(
            [self.KIND, weights, *(f"{k}={v!r}" for k, v in sorted(settings.items()))]
        )

    def read(self, load, *args, **options):
        """Result of a `from_pretrained`, offline for a folder."""
        try:
            return load(self.source, *args, local_files_only=self.local, **options)
        # What faulty files raise; anything else is a defect and passes through.
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{self.KIND} {self.source!r}: cannot be read ({reason}); expected the whole "
                f"folder of a model such as {self.PUBLISHED}"
            ) from error

    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        raise NotImplementedError

    def cut(self, waveform: Any) -> Tensor:
        """Mono waveform [T] of at most the length asked for."""
        waveform = torch.as_tensor(waveform).detach().float().cpu()
        return waveform.reshape(-1)[: round(self.settings["seconds"] * self.sample_rate)]
