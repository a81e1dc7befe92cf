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
    from .config import SamplingConfig as SamplingConfig
    from .errors import DreamAudioError as DreamAudioError
    from .loading import load_model as load_model
    from .pipeline import DreamAudio as DreamAudio
    from .pipeline import Generation as Generation
    from .scene.reference import Reference as Reference
    from .scene.reference import load_reference as load_reference
    from .scene.reference import prepare_reference as prepare_reference
    from .scene.scene_files import read_scenes as read_scenes
    from .scene.scenes import Scene as Scene
    from .scene.timeline import ArrangedReference as ArrangedReference
    from .scene.timeline import Arrangement as Arrangement
    from .scene.timeline import Placement as Placement

# Loaded when first used, so that importing the package costs nothing.
_HOMES = {
    "config": ("SamplingConfig",),
    "errors": ("DreamAudioError",),
    "loading": ("load_model",),
    "pipeline": ("DreamAudio", "Generation"),
    "scene.reference": ("Reference", "load_reference", "prepare_reference"),
    "scene.scene_files": ("read_scenes",),
    "scene.scenes": ("Scene",),
    "scene.timeline": ("ArrangedReference", "Arrangement", "Placement"),
}
__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name: str):
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
