"""References: a sound and its caption, prepared for the model."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Sequence

from torch import Tensor

from ..audio import normalize_reference, read_audio, to_mono, trim_silence
from ..errors import InputError
from .timeline import Placement

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Reference:
    """One reference concept (a_k, t_k) of the paper.

    Parameters
    ----------
    waveform
        Prepared mono sound [T] at 16 kHz: trimmed of silence, peak 0.5.
    caption
        What is heard.
    strength
        Guidance scale of this reference alone: 1 as trained, 0 leaves it out, above 1 insists.
    start
        Seconds at which it sounds in the target; `None` leaves that to the arranger.
    placements
        A whole timeline for this reference instead of `start`.
    digest
        Identifies the sound in caches.
    """

    waveform: Tensor
    caption: str
    strength: float = 1.0
    start: float | None = None
    placements: tuple[Placement, ...] | None = None
    digest: str = ""

    @property
    def seconds(self) -> float:
        """Length of the prepared sound."""
        return self.waveform.shape[-1] / SAMPLE_RATE

    def at(self, starts: Sequence[float] | None) -> Reference:
        """This reference sounding once at each of `starts` in seconds; `None` leaves that to the
        arranger.
        """
        if starts is None:
            return replace(self, start=None, placements=None)
        return replace(
            self, start=None, placements=tuple(Placement(start, self.seconds) for start in starts)
        )

    def timeline(self, seconds: float, what: str) -> tuple[Placement, ...] | None:
        """Places that the user has fixed, checked against a target of `seconds`; `None` where
        nothing is fixed.
        """
        places = self.placements
        if places is None and self.start is not None:
            places = (Placement(self.start, self.seconds),)
        if places is None:
            return None
        for place in places:
            if not 0.0 <= place.start < seconds:
                raise InputError(
                    f"{what}: starts at {place.start:g} s, expected a time from 0 up to the target's "
                    f"{seconds:g} s; choose an earlier start or a longer target"
                )
            if place.duration <= 0.0:
                raise InputError(f"{what}: lasts {place.duration:g} s, expected more than 0")
        return tuple(
            Placement(p.start, min(p.duration, self.seconds, seconds - p.start), p.gain, p.offset)
            for p in places
        )


def _checked(strength: float, what: str) -> float:
    if not 0.0 <= strength <= 10.0:
        raise InputError(
            f"{what}: strength is {strength}, expected a number from 0 to 10; 1 is the usual choice"
        )
    return float(strength)


def prepare_reference(
    waveform: Tensor,
    sample_rate: int,
    caption: str,
    strength: float = 1.0,
    start: float | None = None,
    placements: tuple[Placement, ...] | None = None,
    what: str = "reference",
) -> Reference:
    """Reference from a waveform [T] or [channels, T] at any rate.

    Raises
    ------
    AudioError, InputError
        If the sound is empty, silent or holds NaN, or the strength is out of range.
    """
    mono = to_mono(waveform, sample_rate, SAMPLE_RATE, what=what)
    mono = normalize_reference(trim_silence(mono, SAMPLE_RATE))
    digest = hashlib.sha256(mono.numpy().tobytes()).hexdigest()
    return Reference(mono, str(caption or ""), _checked(strength, what), start, placements, digest)


def load_reference(
    path: str | os.PathLike,
    caption: str,
    strength: float = 1.0,
    start: float | None = None,
    what: str = "reference",
) -> Reference:
    """Reference from an audio file."""
    return prepare_reference(
        read_audio(path, SAMPLE_RATE, what=what), SAMPLE_RATE, caption, strength, start, what=what
    )
