"""Library of captioned sounds on disk, searched by prompt (the idea of Re-AudioLDM)."""

from ..language.events import split_events
from .library import AddReport, Entry, Hit, Problem, SoundLibrary

__all__ = ["AddReport", "Entry", "Hit", "Problem", "SoundLibrary", "split_events"]
