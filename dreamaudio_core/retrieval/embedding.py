"""Unit vectors of texts: the model's own text encoder, averaged over a text's tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..config import PRESETS, TextConfig
from ..errors import CheckpointError
from ..files import folder_digest
from ..json_text import parse_json
from ..networks.text_encoder import TextEncoder, load_text_encoder
from ..weights.folder import MODELS, model_folder, read_config

EMBEDDED = MODELS / "mini" / "text_encoder"
_FILES = (".json", ".txt", ".safetensors", ".model", ".bin")


class TextEmbedder:
    """Texts to unit vectors [N, D]; the encoder is read when the first text comes.

    Parameters
    ----------
    source : str or Path, optional
        Folder of a text encoder in transformers' layout, or of a DreamAudio model that carries one;
        by default the encoder of the embedded model.
    device : torch.device or str
        Where it runs.

    Raises
    ------
    CheckpointError
        If the folder is missing or is neither.
    """

    def __init__(self, source: str | Path | None = None, device: torch.device | str = "cpu"):
        self.folder, self.config = _resolve(source)
        self.device = device
        self._encoder: TextEncoder | None = None
        self._identity: str | None = None

    @property
    def dim(self) -> int:
        """Size of the vectors."""
        return self.config.dim

    @property
    def identity(self) -> str:
        """Digest of the encoder's files: equal ones give equal vectors."""
        if self._identity is None:
            self._identity = folder_digest(self.folder, _FILES)
        return self._identity

    @torch.inference_mode()
    def embed(self, texts: list[str], batch_size: int = 64) -> np.ndarray:
        """Unit vectors [len(texts), D], float32, of the means of the texts' token features."""
        if self._encoder is None:
            self._encoder = load_text_encoder(self.folder, self.config, device=self.device)
        encoder = self._encoder
        found = np.empty((len(texts), self.dim), dtype=np.float32)
        # Texts of one length share a batch, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids, mask = encoder.tokenize([texts[i] for i in rows], longest=True)
            ids, mask = ids.to(self.device), mask.to(self.device)
            features = encoder(ids, mask).float()
            weights = mask[..., None].float()
            mean = (features * weights).sum(dim=1) / weights.sum(dim=1)
            found[rows] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return found


def _resolve(source: str | Path | None) -> tuple[Path, TextConfig]:
    if source is None:
        if not EMBEDDED.is_dir():
            raise CheckpointError(
                f"text encoder {EMBEDDED}: no such folder; install the embedded model or name "
                "another text encoder"
            )
        return EMBEDDED, PRESETS["mini"].text
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = model_folder(source)
    try:
        values = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: cannot be read; expected a text encoder in transformers' "
            "layout, or a DreamAudio model folder"
        ) from error
    if isinstance(values, dict) and values.get("format") == "dreamaudio":
        config = read_config(folder).text
        if not (folder / config.source).is_dir():
            raise CheckpointError(
                f"{folder}: carries no text encoder ({config.source}); name the folder of one"
            )
        return folder / config.source, config
    kinds = {"bert": "minilm", "t5": "t5", "mt5": "t5"}
    kind = kinds.get(str(values.get("model_type"))) if isinstance(values, dict) else None
    size = (values.get("hidden_size") or values.get("d_model")) if kind else None
    if kind is None or not isinstance(size, int):
        raise CheckpointError(
            f"{folder / 'config.json'}: expected a bert or t5 text encoder, found "
            f"{values.get('model_type') if isinstance(values, dict) else type(values).__name__!r}"
        )
    return folder, TextConfig(kind=kind, source=str(folder), dim=size)
