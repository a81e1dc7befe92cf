"""References: a sound and its caption, prepared for the model."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any, Sequence

import torch
from torch import Tensor

from ..audio.checks import SILENT_PEAK, check_waveform
from ..audio.decode import read_original
from ..audio.downmix import downmix, downmix_weights
from ..audio.resample import resample
from ..audio.trim import center, trim
from ..config import AudioConfig
from ..errors import AudioError, InputError
from .timeline import Placement, Placements

SAMPLE_RATE = AudioConfig.sample_rate
MAX_STRENGTH = 10.0
GAIN_RANGE = (-60.0, 24.0)
MAX_FADE = 60.0
MIN_SCENE_SECONDS = 0.3
# The shortest part of a recording that can be chosen.
MIN_PART = 0.02
# A variation is at most so much longer than the sound.
LONGEST_VARIATION = 1.25
# Peak of the waveforms that the network gets.
NETWORK_PEAK = 0.5


@dataclass(frozen=True, eq=False)
class Original:
    """A reference's sound as it was given: what the detail stage renders.

    Parameters
    ----------
    waveform
        [channels, T], centred and trimmed, at its own level.
    sample_rate
        In Hz.
    weights
        Weights of the channels in the network's mono waveform, [channels].
    scale
        The network's waveform is the weighted sum of the channels times this.
    begin, end
        Seconds of the recording that are used.
    total
        Seconds of the recording.
    """

    waveform: Tensor
    sample_rate: int
    weights: Tensor
    scale: float
    begin: float
    end: float
    total: float

    def to_network(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """The network's waveform [t] at `sample_rate` of a rendition [channels, T] of this
        sound.
        """
        mono = resample(downmix(waveform, self.weights), self.sample_rate, sample_rate)
        return mono * self.scale


@dataclass(frozen=True)
class Reference:
    """One reference concept (a_k, t_k) of the paper.

    Parameters
    ----------
    waveform
        Prepared mono sound [T] for the network: trimmed of silence, peak 0.5.
    caption
        What it sounds like.
    strength
        Guidance scale of this reference alone: 1 as trained, 0 leaves it out, above 1 insists.
    placements
        Where it sounds in the target; `None` leaves that to the arranger.
    name
        What it is called, such as the name of its file.
    sample_rate
        Sample rate of the waveform in Hz.
    gain
        Level in the result against the original, in dB; adds to that of each placement.
    original
        The sound at its own rate, channels and level; None where only `waveform` is known.
    pan
        From -1 (left) to 1 (right); adds to that of each placement.
    fade_in, fade_out
        Seconds, for each placement; a longer fade of the placement itself counts.
    """

    waveform: Tensor
    caption: str
    strength: float = 1.0
    placements: Placements = None
    name: str = ""
    sample_rate: int = SAMPLE_RATE
    gain: float = 0.0
    original: Original | None = None
    pan: float = 0.0
    fade_in: float = 0.0
    fade_out: float = 0.0

    @property
    def source(self) -> Original:
        """The original, or the prepared waveform in its stead."""
        if self.original is not None:
            return self.original
        wave = self.waveform[None]
        return Original(wave, self.sample_rate, torch.ones(1), 1.0, 0.0, self.seconds, self.seconds)

    @property
    def seconds(self) -> float:
        """Length of the prepared sound."""
        return self.waveform.shape[-1] / self.sample_rate

    @property
    def scene_seconds(self) -> float:
        """Length of a scene that holds this sound alone and any variation of it, rounded up to 10
        ms.
        """
        return max(MIN_SCENE_SECONDS, math.ceil(self.seconds * LONGEST_VARIATION * 100.0) / 100.0)

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
            replace(p, duration=min(p.duration, seconds - p.start)) for p in self.placements
        )


def prepare_reference(
    waveform: Tensor,
    sample_rate: int,
    caption: str,
    strength: float = 1.0,
    starts: Sequence[float] | None = None,
    name: str = "",
    label: str = "reference",
    *,
    gain: float = 0.0,
    pan: float = 0.0,
    fade_in: float = 0.0,
    fade_out: float = 0.0,
    trim_silence: bool = True,
    keep_tail: bool = False,
    part: tuple[float, float | None] | None = None,
) -> Reference:
    """Reference from a waveform [T] or [channels, T] at any rate.

    Parameters
    ----------
    starts
        Seconds at which it sounds; `None` leaves that to the arranger.
    label
        What error messages call it.
    gain
        Level in the result against the original, in dB.
    pan
        From -1 (left) to 1 (right).
    fade_in, fade_out
        Seconds.
    trim_silence
        Use only the part where the sound is (`audio.trim`); `original.begin` and `original.end`
        tell which.
    keep_tail
        Of that part, use everything up to the end of the recording, room tone included.
    part
        Seconds of the recording that are used as they are, instead of trimming; an end of None is
        that of the recording.

    Raises
    ------
    AudioError, InputError
        If the sound is empty, silent or holds NaN, or a value is out of range.
    """
    _check_number(strength, 0.0, MAX_STRENGTH, f"{label}: strength", "1 is the usual choice")
    _check_number(gain, *GAIN_RANGE, f"{label}: gain", "0 dB keeps the level")
    _check_number(pan, -1.0, 1.0, f"{label}: pan", "0 is the middle")
    _check_number(fade_in, 0.0, MAX_FADE, f"{label}: fade_in", "0 is no fade")
    _check_number(fade_out, 0.0, MAX_FADE, f"{label}: fade_out", "0 is no fade")
    centered = center(check_waveform(waveform, sample_rate, label=label))
    if centered.abs().max() < SILENT_PEAK:
        raise AudioError(f"{label} is silent: it holds a constant offset and no sound")
    total = centered.shape[-1]
    begin, end = 0, total
    if part is not None:
        begin, end = _samples(part, total, sample_rate, label)
        centered = centered[..., begin:end]
        if centered.abs().max() < SILENT_PEAK:
            raise AudioError(
                f"{label} is silent from {begin / sample_rate:.2f} to {end / sample_rate:.2f} s: "
                "choose another part of it"
            )
    elif trim_silence:
        centered, begin, end = trim(centered, sample_rate, keep_tail)
    weights = downmix_weights(centered)
    mono = resample(downmix(centered, weights), sample_rate, SAMPLE_RATE)
    scale = NETWORK_PEAK / max(float(mono.abs().max()), 1e-7)
    original = Original(
        centered,
        int(sample_rate),
        weights,
        scale,
        begin / sample_rate,
        end / sample_rate,
        total / sample_rate,
    )
    return Reference(
        mono * scale,
        str(caption or ""),
        float(strength),
        name=name,
        gain=float(gain),
        original=original,
        pan=float(pan),
        fade_in=float(fade_in),
        fade_out=float(fade_out),
    ).at(starts)


def chosen_part(begin: float, end: float | None) -> tuple[float, float | None] | None:
    """`part` of `prepare_reference` for a begin and an end in seconds.

    An end of 0 or None is that of the recording; with a begin of 0 too there is no part, and the
    sound is trimmed.
    """
    return (begin, end or None) if begin or end else None


def _check_number(value: float, low: float, high: float, label: str, advice: str) -> None:
    if not low <= value <= high:
        raise InputError(
            f"{label} is {value}, expected a number from {low:g} to {high:g}; {advice}"
        )


def _samples(
    part: tuple[float, float | None], total: int, sample_rate: int, label: str
) -> tuple[int, int]:
    """First sample of a part and the sample after its last."""
    begin, end = part[0], total / sample_rate if part[1] is None else part[1]
    if not 0.0 <= begin <= end - MIN_PART or begin > total / sample_rate - MIN_PART:
        raise InputError(
            f"{label}: its part from {begin:g} to {end:g} s is no part of its "
            f"{total / sample_rate:.2f} s; choose a begin and an end within, {MIN_PART:g} s apart "
            "at least"
        )
    return round(begin * sample_rate), min(total, round(end * sample_rate))


def load_reference(
    path: str | os.PathLike,
    caption: str,
    strength: float = 1.0,
    starts: Sequence[float] | None = None,
    label: str = "reference",
    **options: Any,
) -> Reference:
    """Reference from an audio file; parameters and errors as of `prepare_reference`."""
    waveform, rate = read_original(path, label=label)
    name = os.path.basename(os.fspath(path))
    return prepare_reference(
        waveform,
        rate,
        caption,
        strength,
        starts,
        name,
        label,
        **options,
    )
