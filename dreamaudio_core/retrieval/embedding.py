"""Unit vectors of texts, by which a library compares prompts with captions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..config import PRESETS
from ..errors import CheckpointError
from ..files import folder_digest
from ..networks.text_encoder import TextEncoder, load_text_encoder
from ..weights.folder import MODELS

EMBEDDED = MODELS / "mini" / "text_encoder"
_FILES = (".json", ".txt", ".safetensors")


class TextEmbedder:
    """Texts to unit vectors [N, D] by the text encoder of the embedded model, which is read when
    the first text comes. It has no part in generating, so a library serves every model.

    Parameters
    ----------
    device : torch.device or str
        Where it runs.
    folder : Path
        The encoder, in transformers' layout.

    Raises
    ------
    CheckpointError
        If there is no such folder.
    """

    config = PRESETS["mini"].text
    dim = config.dim

    def __init__(self, device: torch.device | str = "cpu", folder: Path = EMBEDDED):
        if not folder.is_dir():
            raise CheckpointError(f"text encoder {folder}: no such folder; reinstall the package")
        self.device = device
        self.folder = folder

    @cached_property
    def identity(self) -> str:
        """Digest of the encoder's files: equal ones give equal vectors."""
        return folder_digest(self.folder, _FILES)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The network."""
        return load_text_encoder(self.folder, self.config, device=self.device)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit vectors [len(texts), D], float32, of the means of the texts' token features."""
        return self.encoder.embed(texts, self.device).numpy()
