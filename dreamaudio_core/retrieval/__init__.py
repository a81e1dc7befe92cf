"""Reference library: captioned sounds on disk, found by what a prompt asks for (the idea of
Re-AudioLDM).
"""

from ..language.events import split_events
from .library import AddReport, Entry, Hit, Library, Problem, Verification

__all__ = ["AddReport", "Entry", "Hit", "Library", "Problem", "Verification", "split_events"]
