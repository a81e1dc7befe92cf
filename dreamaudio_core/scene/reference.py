"""References: a sound and its caption, prepared for the model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Sequence

from torch import Tensor

from ..audio import normalize_reference, read_audio, to_mono, trim_silence
from ..config import AudioConfig
from ..errors import InputError
from .timeline import Placement, Placements

SAMPLE_RATE = AudioConfig.sample_rate
MAX_STRENGTH = 10.0


@dataclass(frozen=True)
class Reference:
    """One reference concept (a_k, t_k) of the paper.

    Parameters
    ----------
    waveform
        Prepared mono sound [T]: trimmed of silence, peak 0.5.
    caption
        What it sounds like.
    strength
        Guidance scale of this reference alone: 1 as trained, 0 leaves it out, above 1 insists.
    placements
        Where it sounds in the target; `None` leaves that to the arranger.
    name
        What it is called, such as the name of its file.
    sample_rate
        Of the waveform, in Hz.
    """

    waveform: Tensor
    caption: str
    strength: float = 1.0
    placements: Placements = None
    name: str = ""
    sample_rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """Length of the prepared sound."""
        return self.waveform.shape[-1] / self.sample_rate

    @property
    def active(self) -> bool:
        """Whether it sounds at all."""
        return self.strength != 0.0

    def at(self, starts: Sequence[float] | None) -> Reference:
        """This reference sounding once at each of `starts` in seconds; `None` leaves that to the
        arranger.
        """
        if starts is None:
            return replace(self, placements=None)
        placements = tuple(Placement(start, self.seconds) for start in starts)
        return replace(self, placements=placements)

    def fixed_placements(self, seconds: float, label: str) -> Placements:
        """Placements that the user has set, fitted to a target of `seconds`; `None` without any.

        Raises
        ------
        InputError
            If one starts outside the target or has no length.
        """
        if self.placements is None:
            return None
        for place in self.placements:
            if not 0.0 <= place.start < seconds:
                raise InputError(
                    f"{label}: starts at {place.start:g} s, expected a time from 0 up to the "
                    f"target's {seconds:g} s; choose an earlier start or a longer target"
                )
            if place.duration <= 0.0:
                raise InputError(f"{label}: lasts {place.duration:g} s, expected more than 0")
        return tuple(
            replace(p, duration=min(p.duration, self.seconds, seconds - p.start))
            for p in self.placements
        )


def prepare_reference(
    waveform: Tensor,
    sample_rate: int,
    caption: str,
    strength: float = 1.0,
    starts: Sequence[float] | None = None,
    name: str = "",
    label: str = "reference",
) -> Reference:
    """Reference from a waveform [T] or [channels, T] at any rate.

    Parameters
    ----------
    starts
        Seconds at which it sounds; `None` leaves that to the arranger.
    label
        What error messages call it.

    Raises
    ------
    AudioError, InputError
        If the sound is empty, silent or holds NaN, or the strength is out of range.
    """
    if not 0.0 <= strength <= MAX_STRENGTH:
        raise InputError(
            f"{label}: strength is {strength}, expected a number from 0 to {MAX_STRENGTH:g}; 1 is "
            "the usual choice"
        )
    mono = to_mono(waveform, sample_rate, SAMPLE_RATE, what=label)
    mono = normalize_reference(trim_silence(mono, SAMPLE_RATE))
    return Reference(mono, str(caption or ""), float(strength), name=name).at(starts)


def load_reference(
    path: str | os.PathLike,
    caption: str,
    strength: float = 1.0,
    starts: Sequence[float] | None = None,
    label: str = "reference",
) -> Reference:
    """Reference from an audio file; parameters and errors as of `prepare_reference`."""
    waveform = read_audio(path, SAMPLE_RATE, what=label)
    name = os.path.basename(os.fspath(path))
    return prepare_reference(waveform, SAMPLE_RATE, caption, strength, starts, name, label)
