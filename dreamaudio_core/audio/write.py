"""Writing sound files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile
import torch

from ..errors import AudioError
from ..files import atomic_write
from .checks import check_rate
from .decode import named, reason_of
from .resample import BLOCK

_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


def _format(path: Path, name: str) -> tuple[str, str]:
    """libsndfile's format and our default subtype for a file name."""
    if path.suffix.lower() not in _FORMATS:
        raise AudioError(f"cannot write {name}: expected a name that ends in {', '.join(_FORMATS)}")
    return _FORMATS[path.suffix.lower()]


def check_output(path: str | os.PathLike) -> None:
    """Refuse a path that `write_audio` could not write, before the work that leads there.

    Raises
    ------
    AudioError
        If the suffix is unknown or the folder cannot be written.
    """
    path = Path(path)
    name = named("", path).strip()
    _format(path, name)
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "it is a folder" if path.is_dir() else f"{folder} is not a writable folder"
        raise AudioError(f"cannot write {name}: {reason}; choose another with --out")


def write_audio(
    path: str | os.PathLike,
    waveform: torch.Tensor,
    sample_rate: int = 16_000,
) -> None:
    """Write a sound file; the file appears whole or not at all.

    Missing folders are made. A sound beyond full scale is scaled down as a whole, never cut off.

    Parameters
    ----------
    path : str or os.PathLike
        Target; its suffix chooses the format: ``.wav`` and ``.flac`` (16 bits), ``.ogg`` (Vorbis).
    waveform : torch.Tensor
        Samples [T] or [channels, T].
    sample_rate : int
        Rate in Hz.

    Raises
    ------
    AudioError
        If the suffix, shape or samples do not fit, or the file cannot be written.
    """
    path = Path(path)
    name = named("", path).strip()
    fmt, subtype = _format(path, name)
    if waveform.dim() not in (1, 2) or waveform.numel() == 0:
        raise AudioError(
            f"cannot write {name}: expected [samples] or [channels, samples], found "
            f"{list(waveform.shape)}"
        )
    if not waveform.is_floating_point():
        raise AudioError(
            f"cannot write {name}: expected floating-point samples, full scale at 1, found "
            f"{waveform.dtype}; divide integer samples by their full scale"
        )
    samples = waveform.detach().to("cpu", torch.float32)
    if not torch.isfinite(samples).all():
        raise AudioError(f"cannot write {name}: the waveform holds NaN or infinite samples")
    samples = samples / samples.abs().max().clamp(min=1.0)
    frames = samples.reshape(-1, samples.shape[-1]).T.contiguous().numpy()
    # Encoding in memory leaves plain file writing, whose errors (such as a full disk) are all
    # reported.
    encoded = io.BytesIO()
    try:
        with soundfile.SoundFile(
            encoded,
            "w",
            check_rate(sample_rate, f"cannot write {name}"),
            frames.shape[1],
            subtype,
            format=fmt,
        ) as sound:
            for start in range(0, len(frames), BLOCK):
                sound.write(frames[start : start + BLOCK])
    except (soundfile.SoundFileError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(
            f"cannot write {name}: {fmt} with {frames.shape[1]} channels at {sample_rate} Hz as "
            f"{subtype} is not supported ({reason_of(error)}); choose .wav"
        ) from error
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(encoded.getbuffer())
    except OSError as error:
        raise AudioError(
            f"cannot write {name}: {reason_of(error).lower()}; choose another folder with --out"
        ) from error
