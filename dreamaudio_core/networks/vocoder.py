"""Vocoders by the `kind` of their configuration."""

from __future__ import annotations

from typing import Any, Union

from torch import nn

from ..config import VocoderConfig, VocosConfig
from .bigvgan import BigVGAN
from .vocos import Vocos

Vocoder = Union[BigVGAN, Vocos]


def build_vocoder(
    config: VocoderConfig | VocosConfig,
    operations: Any = nn,
    dtype: Any = None,
    device: Any = None,
) -> Vocoder:
    """Network of a configuration; all have `vocode`, `forward` and `receptive_field`."""
    build: Any = Vocos if isinstance(config, VocosConfig) else BigVGAN
    return build(config, operations, dtype, device)
