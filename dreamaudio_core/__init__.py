"""DreamAudio: customized text-to-audio generation from a prompt and a few captioned reference
sounds.

    from dreamaudio_core import load_model, load_reference

    model = load_model("mini")
    crow = load_reference("crow.flac", "a crow caws")
    result = model.generate("a crow caws twice", [crow], seeds=[1, 2, 3])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .config import SamplingConfig
    from .errors import DreamAudioError
    from .loading import load_model
    from .pipeline import DreamAudio, Generation
    from .scene.reference import Reference, load_reference, prepare_reference
    from .scene.scene_files import read_scenes
    from .scene.scenes import Scene
    from .scene.timeline import ArrangedReference, Arrangement, Placement

# Loaded when first used, so that importing the package costs nothing.
_HOMES = {
    "ArrangedReference": ".scene.timeline",
    "Arrangement": ".scene.timeline",
    "DreamAudio": ".pipeline",
    "DreamAudioError": ".errors",
    "Generation": ".pipeline",
    "Placement": ".scene.timeline",
    "Reference": ".scene.reference",
    "SamplingConfig": ".config",
    "load_model": ".loading",
    "Scene": ".scene.scenes",
    "read_scenes": ".scene.scene_files",
    "load_reference": ".scene.reference",
    "prepare_reference": ".scene.reference",
}
__all__ = [
    "ArrangedReference",
    "Arrangement",
    "DreamAudio",
    "DreamAudioError",
    "Generation",
    "Placement",
    "Reference",
    "SamplingConfig",
    "Scene",
    "load_model",
    "load_reference",
    "prepare_reference",
    "read_scenes",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
