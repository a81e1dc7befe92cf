"""Waveforms and log-mel spectrograms: read, write, resample, analyse and prepare sounds."""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import soundfile
import torch
import torch.nn.functional as F

from ..config import AudioConfig
from ..errors import AudioError

SILENT_PEAK = 1e-4
"""Sounds whose peak stays below this (-80 dB of full scale) count as silent."""

_RATES = (1_000, 768_000)
_READ_BLOCK = 1 << 18
_MAX_CHANNELS = 64
_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


def _named(what: str, path: str | os.PathLike) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in os.fspath(path))
    return f'{what} "{shown}"'


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")


def _check_rate(rate: int, what: str) -> int:
    low, high = _RATES
    if isinstance(rate, bool) or int(rate) != rate or not low <= rate <= high:
        raise AudioError(
            f"{what}: sample rate {rate} Hz; expected a whole number from {low} to {high}"
        )
    return int(rate)


def _check_audible(waveform: torch.Tensor, what: str) -> None:
    if waveform.abs().max() < SILENT_PEAK:
        raise AudioError(
            f"{what} is silent: choose a sound whose peak lies above {20 * math.log10(SILENT_PEAK):.0f} dB"
        )


# Reading and checking


def read_audio(
    path: str | os.PathLike, sample_rate: int = 16_000, *, what: str = "audio"
) -> torch.Tensor:
    """Read a sound file as a mono waveform.

    The file is decoded, mixed to mono (mean of its channels) and resampled block by block, so that
    memory grows with the returned waveform only, not with the file's rate and channels.

    Parameters
    ----------
    path : str or os.PathLike
        A file that libsndfile decodes: WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF.
    sample_rate : int
        Rate of the returned waveform in Hz.
    what : str
        How error messages call this sound, such as ``"reference 2"``.

    Returns
    -------
    torch.Tensor
        Waveform [T], float32, on the CPU. T is ceil(frames * sample_rate / the file's rate).

    Raises
    ------
    AudioError
        If the file is missing, a folder, empty, not decodable, without samples, not finite or
        silent.
    """
    sample_rate = _check_rate(sample_rate, what)
    sound, name = _open_sound(path, what)
    with sound:
        rate = _check_rate(sound.samplerate, name)
        pieces = list(_polyphase(_mono_blocks(sound, name), rate, sample_rate))
    if not pieces:
        raise AudioError(f"{name} holds no samples: choose another file")
    waveform = torch.cat(pieces, dim=-1)
    _check_audible(waveform, name)
    return waveform


def _open_sound(path: str | os.PathLike, what: str) -> tuple[soundfile.SoundFile, str]:
    """An open file, and what error messages call it."""
    name = _named(what, path)
    if os.path.isdir(path):
        raise AudioError(f"{name} is a folder: give the path of a sound file")
    if not os.path.exists(path):
        raise AudioError(f"{name} does not exist: check the path")
    if not os.path.isfile(path):
        raise AudioError(f"{name} is not a regular file: give the path of a sound file")
    if os.path.getsize(path) == 0:
        raise AudioError(f"{name} is empty (0 bytes): choose another file")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise AudioError(
            f"{name} cannot be opened ({_reason(error)}): check its permissions"
        ) from error
    try:
        return soundfile.SoundFile(os.fspath(path)), name
    # soundfile raises TypeError for headerless files, recognised by their suffix alone.
    except (soundfile.SoundFileError, TypeError) as error:
        raise AudioError(
            f"{name} is not audio that can be decoded ({_reason(error)}): convert it to WAV, FLAC, OGG or MP3"
        ) from error


def read_original(path: str | os.PathLike, *, what: str = "audio") -> tuple[torch.Tensor, int]:
    """Read a sound file as it is: samples [channels, T], float32, and its rate in Hz.

    Raises
    ------
    AudioError
        As `read_audio`.
    """
    sound, name = _open_sound(path, what)
    with sound:
        rate = _check_rate(sound.samplerate, name)
        try:
            samples = sound.read(dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{name} is damaged ({_reason(error)}): choose an intact copy"
            ) from error
    if not len(samples):
        raise AudioError(f"{name} holds no samples: choose another file")
    return check_waveform(torch.from_numpy(samples).T.contiguous(), rate, what=name), rate


def _mono_blocks(sound: soundfile.SoundFile, name: str) -> Iterator[torch.Tensor]:
    """Mono blocks [T_i] of an open file."""
    done = 0
    while True:
        try:
            block = sound.read(_READ_BLOCK, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{name} is damaged after {done / sound.samplerate:.2f} s ({_reason(error)}): choose an intact copy"
            ) from error
        if not len(block):
            return
        mono = torch.from_numpy(block).mean(dim=1)
        if not torch.isfinite(mono).all():
            raise AudioError(f"{name} holds NaN or infinite samples: export it again")
        done += len(block)
        yield mono


def check_waveform(
    waveform: torch.Tensor, sample_rate: int, *, what: str = "audio"
) -> torch.Tensor:
    """Check a waveform that comes from outside.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [T] or [channels, T], full scale at 1.
    sample_rate : int
        Rate in Hz, 1 kHz to 768 kHz.
    what : str
        How error messages call this sound.

    Returns
    -------
    torch.Tensor
        The same samples as [channels, T], float32.

    Raises
    ------
    AudioError
        If the type, shape or rate is wrong, or the samples are missing, not finite or silent.
    """
    _check_rate(sample_rate, what)
    if not isinstance(waveform, torch.Tensor) or not waveform.is_floating_point():
        found = waveform.dtype if isinstance(waveform, torch.Tensor) else type(waveform).__name__
        raise AudioError(
            f"{what}: expected a floating-point tensor with samples in [-1, 1], found {found}"
        )
    if waveform.dim() not in (1, 2) or (waveform.dim() == 2 and waveform.shape[0] > _MAX_CHANNELS):
        raise AudioError(
            f"{what}: expected shape [samples] or [channels, samples] with at most {_MAX_CHANNELS} channels, "
            f"found {list(waveform.shape)}"
        )
    if waveform.numel() == 0:
        raise AudioError(f"{what} holds no samples: choose another sound")
    waveform = waveform.reshape(-1, waveform.shape[-1]).float()
    if not torch.isfinite(waveform).all():
        raise AudioError(f"{what} holds NaN or infinite samples: repair the step that made it")
    _check_audible(waveform, what)
    return waveform


def to_mono(
    waveform: torch.Tensor, sample_rate: int, target_rate: int = 16_000, *, what: str = "audio"
) -> torch.Tensor:
    """Check a waveform, mix it to mono and resample it.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [T] or [channels, T].
    sample_rate, target_rate : int
        Rates in Hz of the input and of the result.
    what : str
        How error messages call this sound.

    Returns
    -------
    torch.Tensor
        Waveform [ceil(T * target_rate / sample_rate)], float32, on the input's device.

    Raises
    ------
    AudioError
        As `check_waveform`, and if nothing audible remains in the mono mix.
    """
    mono = resample(
        check_waveform(waveform, sample_rate, what=what).mean(dim=0), sample_rate, target_rate
    )
    _check_audible(mono, what)
    return mono


# Resampling

_KAISER_BETA = 8.6
_SINC_LOBES = 64
_ROLLOFF = 0.96
_MAX_RATIO_TERM = 2560


def resample(waveform: torch.Tensor, orig: int, new: int) -> torch.Tensor:
    """Change the sample rate with a linear-phase polyphase filter (Kaiser-windowed sinc), without
    delay.

    The pass band reaches 92 % of the lower Nyquist frequency; what lies above it is attenuated by
    more than 80 dB. All usual rates from 8 to 192 kHz convert exactly. A pair whose reduced ratio
    has a term above 2560 (44,101 Hz to 16 kHz, say) uses the nearest ratio that has none, which
    changes speed and pitch by less than 0.04 %, mostly far less. Work is done chunk by chunk.

    Parameters
    ----------
    waveform : torch.Tensor
        Floating-point samples [..., T].
    orig, new : int
        Rates in Hz of the input and of the result.

    Returns
    -------
    torch.Tensor
        Samples [..., ceil(T * new / orig)] of the same dtype and device.

    Raises
    ------
    AudioError
        If a rate is not a whole number from 1 kHz to 768 kHz.
    """
    orig, new = _check_rate(orig, "resample"), _check_rate(new, "resample")
    if orig == new or waveform.numel() == 0:
        length = -(-waveform.shape[-1] * new // orig)
        return waveform if orig == new else waveform.new_zeros(*waveform.shape[:-1], length)
    flat = waveform.reshape(-1, waveform.shape[-1])
    chunks = flat.split(max(4096, _READ_BLOCK // flat.shape[0]), dim=-1)
    return torch.cat(list(_polyphase(chunks, orig, new)), dim=-1).reshape(*waveform.shape[:-1], -1)


def _polyphase(chunks: Iterable[torch.Tensor], orig: int, new: int) -> Iterator[torch.Tensor]:
    """Resample consecutive chunks [..., T_i] of one signal, yielding the consecutive pieces of the
    result.
    """
    if orig == new:
        yield from chunks
        return
    up, down = _ratio(orig, new)
    kernel = buffer = None
    taken = given = 0
    for chunk in chunks:
        if kernel is None:
            kernel, half = _sinc_bank(up, down, chunk)
            buffer = chunk.new_zeros(*chunk.shape[:-1], half)
        taken += chunk.shape[-1]
        buffer = torch.cat((buffer, chunk), dim=-1)
        blocks = (buffer.shape[-1] - len(kernel)) // down + 1
        if blocks > 0:
            yield _filter(buffer, kernel, down, blocks)
            given += blocks * up
            buffer = buffer[..., blocks * down :]
    if kernel is None:
        return
    rest = -(-taken * new // orig) - given
    if rest > 0:
        blocks = -(-rest // up)
        buffer = F.pad(buffer, (0, max(0, (blocks - 1) * down + len(kernel) - buffer.shape[-1])))
        yield _filter(buffer, kernel, down, blocks)[..., :rest]


def _filter(buffer: torch.Tensor, kernel: torch.Tensor, down: int, blocks: int) -> torch.Tensor:
    """Apply a filter bank [width, up] at every `down` samples: [..., blocks * up]."""
    windows = buffer[..., : (blocks - 1) * down + len(kernel)].unfold(-1, len(kernel), down)
    return (windows @ kernel).flatten(-2)


def _ratio(orig: int, new: int) -> tuple[int, int]:
    """Samples out and samples in of one period of the polyphase filter."""
    # Limiting the larger term bounds both sides of the filter bank.
    if new >= orig:
        inverse = Fraction(orig, new).limit_denominator(_MAX_RATIO_TERM)
        up, down = inverse.denominator, inverse.numerator
    else:
        ratio = Fraction(new, orig).limit_denominator(_MAX_RATIO_TERM)
        up, down = ratio.numerator, ratio.denominator
    # Several periods a block turn a thin matrix product into an efficient one.
    periods = -(-32 // up)
    return up * periods, down * periods


def _sinc_bank(up: int, down: int, like: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Filter bank [down + 2 half + 1, up] for signals like `like`, and the input samples `half`
    that it looks back.
    """
    cutoff = _ROLLOFF * min(1.0, up / down)
    half = math.ceil(_SINC_LOBES / cutoff)
    numerators = torch.arange(up) * down
    first, phase = numerators // up, (numerators % up).double() / up
    row = torch.arange(2 * half + 1)[:, None]
    offset = row - half - phase
    window = torch.i0(_KAISER_BETA * (1 - (offset / half) ** 2).clamp(min=0).sqrt())
    taps = torch.where(offset.abs() <= half, torch.sinc(cutoff * offset) * window, 0.0)
    taps = (taps / taps.sum(dim=0)).to(like.dtype)
    bank = taps.new_zeros(down + 2 * half + 1, up)
    return bank.scatter_(0, row + first, taps).to(like.device), half


# Writing


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
    name = _named("", path).strip()
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
    subtype: str | None = None,
) -> None:
    """Write a sound file; the file appears whole or not at all.

    Missing folders are made. A sound beyond full scale is scaled down as a whole, never cut off,
    unless the subtype holds floating-point samples.

    Parameters
    ----------
    path : str or os.PathLike
        Target; its suffix chooses the format: ``.wav`` and ``.flac`` (16 bits), ``.ogg`` (Vorbis).
    waveform : torch.Tensor
        Samples [T] or [channels, T].
    sample_rate : int
        Rate in Hz.
    subtype : str, optional
        Another libsndfile subtype, such as ``"PCM_24"`` or ``"FLOAT"``.

    Raises
    ------
    AudioError
        If the suffix, subtype, shape or samples do not fit, or the file cannot be written.
    """
    path = Path(path)
    name = _named("", path).strip()
    fmt, default = _format(path, name)
    if waveform.dim() not in (1, 2) or waveform.numel() == 0:
        raise AudioError(
            f"cannot write {name}: expected [samples] or [channels, samples], found {list(waveform.shape)}"
        )
    if not waveform.is_floating_point():
        raise AudioError(
            f"cannot write {name}: expected floating-point samples, full scale at 1, found "
            f"{waveform.dtype}; divide integer samples by their full scale"
        )
    samples = waveform.detach().to("cpu", torch.float32)
    if not torch.isfinite(samples).all():
        raise AudioError(f"cannot write {name}: the waveform holds NaN or infinite samples")
    if subtype not in ("FLOAT", "DOUBLE"):
        samples = samples / samples.abs().max().clamp(min=1.0)
    samples = samples.reshape(-1, samples.shape[-1]).T.contiguous().numpy()
    # Encoding in memory leaves plain file writing, whose errors (such as a full disk) are all
    # reported.
    encoded = io.BytesIO()
    try:
        with soundfile.SoundFile(
            encoded,
            "w",
            _check_rate(sample_rate, f"cannot write {name}"),
            samples.shape[1],
            subtype or default,
            format=fmt,
        ) as sound:
            for start in range(0, len(samples), _READ_BLOCK):
                sound.write(samples[start : start + _READ_BLOCK])
    except (soundfile.SoundFileError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(
            f"cannot write {name}: {fmt} with {samples.shape[1]} channels at {sample_rate} Hz as "
            f"{subtype or default} is not supported ({_reason(error)}); choose .wav and its default subtype"
        ) from error
    beside = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(encoded.getbuffer())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
    except OSError as error:
        raise AudioError(
            f"cannot write {name}: {_reason(error).lower()}; choose another folder with --out"
        ) from error


# Mel front-end


def mel_filterbank(config: AudioConfig) -> torch.Tensor:
    """Triangular mel filters on Slaney's scale, each of unit area over frequency in Hz.

    The scale is linear (200/3 Hz a mel) up to 1 kHz and logarithmic above, 27 mels for a factor of
    6.4 (Slaney, Auditory Toolbox, 1998).

    Parameters
    ----------
    config : AudioConfig
        Rate, FFT size, number of bands and their range.

    Returns
    -------
    torch.Tensor
        Basis [n_mels, n_fft // 2 + 1], float32.
    """
    hz_per_mel, knee, log_step = 200 / 3, 1000.0, math.log(6.4) / 27

    def to_mel(hz: float) -> float:
        return hz / hz_per_mel if hz < knee else knee / hz_per_mel + math.log(hz / knee) / log_step

    mels = torch.linspace(
        to_mel(config.fmin), to_mel(config.fmax), config.n_mels + 2, dtype=torch.float64
    )
    edges = torch.where(
        mels < knee / hz_per_mel,
        mels * hz_per_mel,
        knee * torch.exp((mels - knee / hz_per_mel) * log_step),
    )
    bins = (
        torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * config.sample_rate / config.n_fft
    )
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(
        min=0
    )
    return (triangles * 2 / (high - low)).float()


def _hann(config: AudioConfig, dtype: torch.dtype) -> torch.Tensor:
    # Rounded from float64: a window computed in float32 leaks visibly at the level of the floor.
    return torch.hann_window(config.n_fft, dtype=torch.float64).to(dtype)


def magnitude_spectrogram(
    waveform: torch.Tensor, config: AudioConfig, window: torch.Tensor | None = None
) -> torch.Tensor:
    """Magnitude of the short-time Fourier transform.

    Each side is extended by (n_fft - hop) / 2 reflected samples, so that frame i is centred on hop
    i and a multiple of the hop gives exactly T / hop frames. Other lengths, and ones too short to
    reflect, are first extended by zeros.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [B, T], float32 or float64, T at least 1.
    config : AudioConfig
        FFT size (also the window's length) and hop.
    window : torch.Tensor, optional
        Analysis window [n_fft]; the periodic Hann window by default.

    Returns
    -------
    torch.Tensor
        Magnitudes [B, n_fft // 2 + 1, ceil(T / hop)] in the waveform's dtype (float32 or float64).
    """
    if window is None:
        window = _hann(config, waveform.dtype).to(waveform.device)
    hop, length = config.hop_length, waveform.shape[-1]
    frames = -(-length // hop)
    pad = config.n_fft - hop
    left, right = pad // 2, pad - pad // 2
    waveform = F.pad(waveform, (0, max(frames * hop, right + 1) - length))
    waveform = F.pad(waveform, (left, right), mode="reflect")
    spectrum = torch.stft(
        waveform, config.n_fft, hop, window=window.to(waveform), center=False, return_complex=True
    )
    return spectrum[..., :frames].abs()


class LogMel(torch.nn.Module):
    """Log-mel spectrogram of the VAE and the vocoder (paper, section IV-B), differentiable.

    The window and the mel basis are buffers that are not saved with the weights.

    Parameters
    ----------
    config : AudioConfig
        The front-end.
    device : torch.device, optional
        Where the buffers live.
    """

    def __init__(self, config: AudioConfig, device: torch.device | str | None = None):
        super().__init__()
        self.config = config
        self.register_buffer("basis", mel_filterbank(config).to(device), persistent=False)
        self.register_buffer("window", _hann(config, torch.float32).to(device), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Analyse waveforms [B, T] as natural logarithms [B, 1, ceil(T / hop), n_mels], floored at
        ln(config.floor).
        """
        # The floor is subnormal in float16, so half precision is only the dtype of the result.
        exact = waveform.float() if waveform.dtype in (torch.float16, torch.bfloat16) else waveform
        mel = self.linear(exact).clamp(min=self.config.floor).log()
        return mel.transpose(-1, -2).unsqueeze(1).to(waveform.dtype)

    def linear(self, waveform: torch.Tensor) -> torch.Tensor:
        """Mel magnitudes [B, n_mels, ceil(T / hop)] of waveforms [B, T], before the logarithm."""
        window = self.window if self.window.dtype == waveform.dtype else None
        return self.basis.to(waveform) @ magnitude_spectrogram(waveform, self.config, window)


def log_mel(waveform: torch.Tensor, config: AudioConfig) -> torch.Tensor:
    """Log-mel spectrogram of waveforms; for repeated use keep a `LogMel`.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [B, T], full scale at 1.
    config : AudioConfig
        The front-end.

    Returns
    -------
    torch.Tensor
        ln(max(mel magnitude, floor)), [B, 1, ceil(T / hop), n_mels], in the waveform's dtype.
    """
    return LogMel(config, waveform.device)(waveform)


def silence_log_mel(frames: int, config: AudioConfig) -> torch.Tensor:
    """Log-mel spectrogram of digital silence: ln(config.floor) everywhere, [1, 1, frames, n_mels],
    float32.
    """
    return torch.full((1, 1, frames, config.n_mels), math.log(config.floor))


# Preparing references


def trim_silence(
    waveform: torch.Tensor, sample_rate: int, threshold_db: float = -50.0, margin: float = 0.01
) -> torch.Tensor:
    """Cut leading and trailing silence.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [T].
    sample_rate : int
        Rate in Hz.
    threshold_db : float
        Samples below this level relative to the peak count as silence.
    margin : float
        Seconds kept before the first and after the last sample above the threshold.

    Returns
    -------
    torch.Tensor
        A view of the waveform, never empty; all of it where nothing is above zero.
    """
    level = waveform.abs()
    peak = level.max()
    if peak == 0:
        return waveform
    loud = (level >= peak * 10 ** (threshold_db / 20)).nonzero()
    keep = round(margin * sample_rate)
    return waveform[max(0, int(loud[0]) - keep) : int(loud[-1]) + 1 + keep]


def loudest_stretch(waveform: torch.Tensor, length: int) -> int:
    """Find the window with the most energy.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [T].
    length : int
        Samples of the window.

    Returns
    -------
    int
        Index of the window's first sample, the earliest of equals; 0 where the waveform is no
        longer than the window.
    """
    if length >= waveform.shape[-1]:
        return 0
    total = F.pad(waveform.detach().cpu().double().square().cumsum(0), (1, 0))
    return int((total[length:] - total[:-length]).argmax())


def normalize_reference(waveform: torch.Tensor) -> torch.Tensor:
    """Remove the mean of samples [..., T] and scale their peak to 0.5; all-constant samples become
    zeros.
    """
    # In double precision the sum does not depend on how many threads share it, so prepared sounds
    # are the same everywhere.
    waveform = waveform - waveform.mean(dim=-1, keepdim=True, dtype=torch.float64).to(
        waveform.dtype
    )
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return torch.where(
        peak < 1e-7, torch.zeros_like(waveform), 0.5 * waveform / peak.clamp(min=1e-7)
    )


def fade_edges(waveform: torch.Tensor, samples: int) -> torch.Tensor:
    """Fade the edges of a cut with raised-cosine ramps.

    Parameters
    ----------
    waveform : torch.Tensor
        Samples [..., T].
    samples : int
        Length of each ramp, at most half of T.

    Returns
    -------
    torch.Tensor
        A faded copy [..., T].
    """
    length = waveform.shape[-1]
    samples = max(0, min(samples, length // 2))
    position = (torch.arange(samples, dtype=waveform.dtype, device=waveform.device) + 0.5) / max(
        samples, 1
    )
    ramp = 0.5 - 0.5 * torch.cos(math.pi * position)
    return waveform * torch.cat((ramp, ramp.new_ones(length - 2 * samples), ramp.flip(0)))
