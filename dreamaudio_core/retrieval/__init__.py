"""Library of captioned sounds on disk, searched by prompt (the idea of Re-AudioLDM)."""

from ..language.events import split_events
from .library import AddReport, Hit, SoundLibrary

__all__ = ["AddReport", "Hit", "SoundLibrary", "split_events"]
