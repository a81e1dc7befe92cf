"""Reading sound files: the one decoder of the project.

What libsndfile knows it decodes, the same samples on every machine; AAC and the sound of videos are
decoded by PyAV, where that is installed (ComfyUI ships it).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..errors import AudioError
from .checks import check_audible, check_rate, check_waveform
from .resample import BLOCK, resample_blocks

SNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
# The demuxer is fixed by the suffix: a playlist or another container under a false name is refused.
AV_FORMATS = {
    ".m4a": "mp4",
    ".mp4": "mp4",
    ".mov": "mov",
    ".aac": "aac",
    ".mka": "matroska",
    ".mkv": "matroska",
    ".webm": "matroska",
}
SUFFIXES = SNDFILE_SUFFIXES + tuple(AV_FORMATS)
"""Suffixes of files that can be read, with PyAV for the last."""
MAX_SECONDS = 3600.0
"""Longest sound that is read whole; a small file can hold days of silence."""
MAX_SAMPLES = 3600 * 48_000 * 2
"""Most samples of all channels that are kept as they are, an hour of stereo; a small file can hold
a hundred gigabytes of them, by many channels at a high rate.
"""


@dataclass
class OpenSound:
    """A file that is being decoded.

    Parameters
    ----------
    name
        What error messages call it.
    sample_rate
        In Hz.
    tags
        Title and comment.
    blocks
        Samples [T_i, channels], float32, one after the other.
    """

    name: str
    sample_rate: int
    tags: tuple[str, ...]
    blocks: Iterator[np.ndarray]


def named(label: str, path: str | os.PathLike) -> str:
    """A file as error messages call it."""
    shown = "".join(c if c.isprintable() else "?" for c in os.fspath(path))
    return f'{label} "{shown}"'


def reason_of(error: Exception) -> str:
    """One line that says why."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")


def have_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@contextlib.contextmanager
def open_sound(
    path: str | os.PathLike, *, label: str = "audio", max_seconds: float = MAX_SECONDS
) -> Iterator[OpenSound]:
    """Open a sound file and decode it block by block, so that memory need not grow with it.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file with one of `SUFFIXES`, or any that libsndfile decodes.
    label : str
        How error messages call this sound, such as ``"reference 2"``.
    max_seconds : float
        A longer sound is refused.

    Raises
    ------
    AudioError
        If the file is missing, not a regular file, empty, not decodable, too long, damaged, or
        holds NaN; the last ones while the blocks are read.
    """
    name = named(label, path)
    if os.path.isdir(path):
        raise AudioError(f"{name} is a folder: give the path of a sound file")
    if not os.path.exists(path):
        raise AudioError(f"{name} does not exist: check the path")
    # A pipe or a device would block or never end.
    if not os.path.isfile(path):
        raise AudioError(f"{name} is not a regular file: give the path of a sound file")
    if os.path.getsize(path) == 0:
        raise AudioError(f"{name} is empty (0 bytes): choose another file")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise AudioError(
            f"{name} cannot be opened ({reason_of(error)}): check its permissions"
        ) from error
    suffix = Path(path).suffix.lower()
    opened = _open_av(path, name, suffix) if suffix in AV_FORMATS else _open_sndfile(path, name)
    with opened as sound:
        check_rate(sound.sample_rate, name)
        yield replace(sound, blocks=_checked(sound, max_seconds))


def _checked(sound: OpenSound, max_seconds: float) -> Iterator[np.ndarray]:
    done = 0
    for block in sound.blocks:
        if not np.isfinite(block).all():
            raise AudioError(f"{sound.name} holds NaN or infinite samples: export it again")
        done += len(block)
        if done > max_seconds * sound.sample_rate:
            raise AudioError(
                f"{sound.name} is longer than {max_seconds:g} s, the most that is read: cut it"
            )
        yield block


@contextlib.contextmanager
def _open_sndfile(path: str | os.PathLike, name: str) -> Iterator[OpenSound]:
    try:
        sound = soundfile.SoundFile(os.fspath(path))
    # soundfile raises TypeError for headerless files, recognised by their suffix alone.
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(
            f"{name} is not audio that can be decoded ({reason_of(error)}): convert it to WAV, "
            "FLAC, OGG or MP3"
        ) from error

    def blocks() -> Iterator[np.ndarray]:
        done = 0
        while True:
            try:
                block = sound.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise AudioError(
                    f"{name} is damaged after {done / sound.samplerate:.2f} s "
                    f"({reason_of(error)}): choose an intact copy"
                ) from error
            if not len(block):
                return
            done += len(block)
            yield block

    with sound:
        tags = tuple(str(getattr(sound, tag, "") or "") for tag in ("title", "comment"))
        yield OpenSound(name, sound.samplerate, tags, blocks())


@contextlib.contextmanager
def _open_av(path: str | os.PathLike, name: str, suffix: str) -> Iterator[OpenSound]:
    if not have_av():
        raise AudioError(
            f"{name}: reading {suffix} needs PyAV: pip install av, or convert it to WAV"
        )
    import av

    def refuse(error: Exception) -> AudioError:
        return AudioError(
            f"{name} is not audio that can be decoded ({reason_of(error)}): convert it to WAV"
        )

    try:
        container = av.open(os.fspath(path), format=AV_FORMATS[suffix], metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise refuse(error) from error
    with container:
        if not container.streams.audio:
            raise AudioError(f"{name} holds no sound: choose another file")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(f"{name} holds sound of an unknown codec: convert it to WAV")
        # Floats of the same rate and layout: a change of format, not of the sound. Interleaved, as
        # PyAV reads memory that is not there for the planes of more than eight channels.
        converter = av.AudioResampler(format="flt")

        def blocks() -> Iterator[np.ndarray]:
            first: tuple[int, int, str] | None = None
            try:
                for frame in container.decode(stream):
                    form = frame.sample_rate, len(frame.layout.channels), frame.format.name
                    first = first or form
                    # The converter would read memory that is not there.
                    if form != first:
                        raise AudioError(
                            f"{name} changes its rate or channels midway: convert it to WAV"
                        )
                    for part in converter.resample(frame):
                        yield part.to_ndarray().reshape(-1, form[1])
                if first:
                    for part in converter.resample(None):
                        yield part.to_ndarray().reshape(-1, first[1])
            except av.error.FFmpegError as error:
                raise refuse(error) from error

        tags = tuple(container.metadata.get(tag, "") for tag in ("title", "comment"))
        yield OpenSound(name, int(stream.rate or 0), tags, blocks())


def read_original(
    path: str | os.PathLike, *, label: str = "audio", silent: bool = False
) -> tuple[torch.Tensor, int]:
    """Read a sound file as it is: samples [channels, T], float32, and its rate in Hz.

    Parameters
    ----------
    silent : bool
        Whether silence is accepted.

    Raises
    ------
    AudioError
        As `open_sound`, and if there are no samples, or only silent ones.
    """
    blocks, kept = [], 0
    with open_sound(path, label=label) as sound:
        for block in sound.blocks:
            kept += block.size
            if kept > MAX_SAMPLES:
                raise AudioError(
                    f"{sound.name} holds more than {MAX_SAMPLES:,} samples in all channels, the "
                    "most that is read: cut it, or convert it to a lower rate or fewer channels"
                )
            blocks.append(block)
    if not blocks:
        raise AudioError(f"{sound.name} holds no samples: choose another file")
    waveform = torch.from_numpy(np.concatenate(blocks)).T.contiguous()
    if not silent:
        check_waveform(waveform, sound.sample_rate, label=sound.name)
    return waveform, sound.sample_rate


def read_audio(
    path: str | os.PathLike,
    sample_rate: int = 16_000,
    *,
    label: str = "audio",
    silent: bool = False,
) -> torch.Tensor:
    """Read a sound file as a mono waveform, the mean of its channels, resampled block by block.

    Parameters
    ----------
    sample_rate : int
        Rate of the returned waveform in Hz.
    what, silent
        As for `read_original`.

    Returns
    -------
    torch.Tensor
        Waveform [T], float32, on the CPU. T is ceil(frames * sample_rate / the file's rate).

    Raises
    ------
    AudioError
        As `read_original`.
    """
    sample_rate = check_rate(sample_rate, label)
    with open_sound(path, label=label) as sound:
        mono = (torch.from_numpy(block).mean(dim=1) for block in sound.blocks)
        pieces = list(resample_blocks(mono, sound.sample_rate, sample_rate))
    if not pieces:
        raise AudioError(f"{sound.name} holds no samples: choose another file")
    waveform = torch.cat(pieces, dim=-1)
    if not silent:
        check_audible(waveform, sound.name)
    return waveform
