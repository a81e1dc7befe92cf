"""CLAP similarities (Wu et al., "Large-scale contrastive language-audio pretraining"), by
transformers' `ClapModel`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError, InputError
from ..files import folder_digest
from .pretrained import folder_or_hub_id, quiet_transformers, read_model, read_pretrained

PUBLISHED = (
    "CLAP models in transformers' layout are published by LAION at https://huggingface.co/laion, "
    "such as laion/larger_clap_general; name a local folder or a hub id"
)
_EXPECTED = (
    "config.json, preprocessor_config.json, tokenizer files and safetensors weights in "
    f"transformers' layout; {PUBLISHED}"
)
SECONDS = 10.0
_FILES = (".json", ".txt", ".safetensors", ".model")


def load_clap(source: str | Path) -> tuple[nn.Module, Any, Any]:
    """Model, tokenizer and feature extractor of a CLAP folder, or of a hub id that the user named.

    Local folders are read offline. Only safetensors are read, and no code that comes with a model
    is run.

    Raises
    ------
    CheckpointError
        If the folder is missing or incomplete, or the hub id cannot be read.
    """
    from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

    source, local = folder_or_hub_id(source, f"CLAP {source}", PUBLISHED)
    name, options = f"CLAP {source!r}", {"local_files_only": local}
    config = read_pretrained(name, _EXPECTED, ClapConfig.from_pretrained, source, **options)
    tokenizer = read_pretrained(name, _EXPECTED, AutoTokenizer.from_pretrained, source, **options)
    extractor = read_pretrained(
        name, _EXPECTED, ClapFeatureExtractor.from_pretrained, source, **options
    )
    with quiet_transformers():
        model, _ = read_model(name, _EXPECTED, ClapModel, source, config=config, **options)
    return model.float().eval().requires_grad_(False), tokenizer, extractor


class ClapExtractor:
    """Clips at 48 kHz, and texts, to unit vectors [D]; the model is read when the first clip or
    text comes.

    A clip's first 10 s are used: a longer one, 10.24 s say, would be cropped at random by the
    feature extractor.

    Parameters
    ----------
    source : str or Path
        Local folder in transformers' layout, or a hub id.
    device : torch.device or str
        Where the model runs.
    """

    name = "clap"
    sample_rate = 48_000

    def __init__(self, source: str | Path, device: torch.device | str = "cpu"):
        self.source, local = folder_or_hub_id(source, f"CLAP {source}", PUBLISHED)
        self.device = device
        # A hub id stands for its present weights, whose identity is known once they are here.
        self.digest = (
            folder_digest(Path(self.source), _FILES)
            if local
            else hashlib.sha256(self.source.encode()).hexdigest()
        )
        self._parts: tuple | None = None

    def _load(self) -> tuple:
        if self._parts is None:
            model, tokenizer, extractor = load_clap(self.source)
            if extractor.sampling_rate != self.sample_rate:
                raise CheckpointError(
                    f"CLAP {self.source!r}: expected a model for {self.sample_rate} Hz, found "
                    f"{extractor.sampling_rate}"
                )
            self._parts = model.to(self.device), tokenizer, extractor
        return self._parts

    def extract(self, waveforms: list[Tensor]) -> list[np.ndarray]:
        """Unit vectors [D] of waveforms [T] at 48 kHz."""
        model, _, extractor = self._load()
        most = round(SECONDS * self.sample_rate)
        clips = [waveform[:most].float().cpu().numpy() for waveform in waveforms]
        features = extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        # The extractor marks a random clip of a batch as long for models with fusion; none is.
        longer = torch.zeros_like(torch.as_tensor(features["is_longer"]), dtype=torch.bool)
        with torch.inference_mode():
            found = model.get_audio_features(
                input_features=features["input_features"].float().to(self.device),
                is_longer=longer.to(self.device),
            )
        return list(_unit(found))

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors [N, D] of texts; longer ones are cut to what the text encoder takes."""
        model, tokenizer, _ = self._load()
        if not texts:
            raise InputError("CLAP: expected at least one text")
        limit = min(
            tokenizer.model_max_length, model.config.text_config.max_position_embeddings - 2
        )
        batch = tokenizer(
            list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )
        with torch.inference_mode():
            found = model.get_text_features(
                input_ids=batch["input_ids"].to(self.device),
                attention_mask=batch["attention_mask"].to(self.device),
            )
        return _unit(found)


def _unit(found) -> np.ndarray:
    # transformers 5 returns an object, earlier versions the tensor itself.
    vectors = getattr(found, "pooler_output", found).float().cpu().numpy()
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-12)
