"""A sound under a video: the pictures are copied as they are, the sound is encoded as AAC."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from io import BytesIO

import torch
from torch import Tensor

from ..errors import InputError
from .resample import resample

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
BIT_RATE = 192_000
_CHUNK = 1 << 16


def container_of(source: str | os.PathLike | BytesIO) -> str:
    """FFmpeg's name of the container that takes a video's pictures as they are: `mp4` for files of
    its family, else `matroska`.

    Raises
    ------
    InputError
        If it is no video, or PyAV is not installed.
    """
    with _opened(source) as video:
        return "mp4" if "mp4" in video.format.name else "matroska"


def mux(
    source: str | os.PathLike | BytesIO,
    waveform: Tensor,
    sample_rate: int,
    target: str | os.PathLike,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a video with a sound in place of its own.

    Parameters
    ----------
    source
        The video; its first video stream is copied packet by packet.
    waveform
        Sound [1 or 2, T] from the video's first picture on; cut off at the end of the video.
    sample_rate
        In Hz; a rate that AAC has not becomes the next higher one.
    target
        File that is written, in the container of `container_of`.
    tags
        Notes that are stored in the file, such as a workflow.

    Raises
    ------
    InputError
        If it is no video, or PyAV is not installed.
    """
    import av

    rate = next((known for known in AAC_RATES if known >= sample_rate), AAC_RATES[-1])
    waveform = resample(waveform.detach().cpu().float(), sample_rate, rate)
    container = container_of(source)
    options = {"movflags": "use_metadata_tags+faststart"} if container == "mp4" else {}
    with (
        _opened(source) as video,
        av.open(os.fspath(target), "w", format=container, options=options) as out,
    ):
        for key, text in (tags or {}).items():
            out.metadata[key] = text
        pictures = video.streams.video[0]
        copied = out.add_stream_from_template(pictures)
        end = _seconds(video, pictures)
        if end:
            waveform = waveform[:, : round(end * rate)]
        sound = out.add_stream("aac", rate=rate, layout="mono" if len(waveform) == 1 else "stereo")
        sound.bit_rate = BIT_RATE
        # The muxer brings packets of both into the order of their times.
        for packet in _encoded(sound, waveform, rate):
            out.mux(packet)
        for packet in video.demux(pictures):
            if packet.dts is not None:
                packet.stream = copied
                out.mux(packet)


def _opened(source):
    """The video, opened with PyAV and with at least one stream of pictures."""
    try:
        import av
    except ImportError as error:
        raise InputError("video: writing videos needs PyAV: pip install av") from error
    if isinstance(source, BytesIO):
        source.seek(0)
    try:
        video = av.open(source if isinstance(source, BytesIO) else os.fspath(source))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"video: not readable ({error}); choose another file") from error
    if not video.streams.video:
        video.close()
        raise InputError("video: there are no pictures in it; connect a video")
    return video


def _seconds(video, pictures) -> float:
    """Length of the pictures; 0 where the file does not tell."""
    if pictures.duration:
        return float(pictures.duration * pictures.time_base)
    return video.duration / 1_000_000 if video.duration else 0.0


def _encoded(stream, waveform: Tensor, rate: int):
    """Packets of a sound [channels, T]."""
    import av

    layout = "mono" if len(waveform) == 1 else "stereo"
    done = 0
    for chunk in torch.split(waveform, _CHUNK, dim=-1):
        frame = av.AudioFrame.from_ndarray(chunk.contiguous().numpy(), "fltp", layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), done
        done += chunk.shape[-1]
        yield from stream.encode(frame)
    yield from stream.encode(None)
