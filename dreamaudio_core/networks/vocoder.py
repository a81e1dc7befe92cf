"""Vocoders by the `kind` of their configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..config import VocoderConfig, VocosConfig
from .bigvgan import BigVGAN
from .mel_vocoder import MelVocoder as Vocoder
from .vocos import Vocos

__all__ = ["Vocoder", "build_vocoder"]


def build_vocoder(
    config: VocoderConfig | VocosConfig,
    operations: Any = nn,
    dtype: Any = None,
    device: Any = None,
) -> Vocoder:
    """Network of a configuration."""
    if isinstance(config, VocosConfig):
        return Vocos(config, operations, dtype, device)
    return BigVGAN(config, operations, dtype, device)
