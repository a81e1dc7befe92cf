"""A sound under a video: pictures untouched, the sound at its time."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamaudio_core.audio.mux import container_of, mux
from dreamaudio_core.errors import InputError

av = pytest.importorskip("av")
BALL = Path(__file__).parents[1] / "dreamaudio_core" / "example_videos" / "ball.mp4"


def packets(path):
    """The bytes of the pictures."""
    with av.open(str(path)) as video:
        return [bytes(packet) for packet in video.demux(video=0) if packet.size]


def heard(path):
    """Samples [channels, T] with silence up to the first one's time, rate and tags."""
    with av.open(str(path)) as video:
        frames = list(video.decode(audio=0))
        first, tags = frames[0], dict(video.metadata)
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=-1)
    begin = round(float(first.pts * first.time_base) * first.sample_rate)
    samples = np.pad(samples, ((0, 0), (begin, 0))) if begin >= 0 else samples[:, -begin:]
    return samples, first.sample_rate, tags


@pytest.mark.parametrize("channels, rate", [(1, 16_000), (2, 48_000), (2, 40_000)])
def test_pictures_are_copied_and_a_click_stays_in_its_place(tmp_path, channels, rate):
    sound = torch.zeros(channels, 2 * rate)
    sound[:, rate] = 0.9
    out = tmp_path / "out.mp4"
    mux(BALL, sound, rate, out, {"workflow": '{"nodes": []}'})
    assert packets(out) == packets(BALL)
    samples, found, tags = heard(out)
    assert len(samples) == channels and found >= rate
    assert abs(np.abs(samples[0]).argmax() / found - 1.0) < 0.002
    assert tags["workflow"] == '{"nodes": []}'


def test_a_sound_ends_with_the_video(tmp_path):
    out = tmp_path / "out.mp4"
    mux(io.BytesIO(BALL.read_bytes()), 0.1 * torch.randn(1, 5 * 16_000), 16_000, out)
    samples, rate, _ = heard(out)
    assert abs(samples.shape[1] / rate - 3.0) < 0.07


def test_pictures_that_mp4_does_not_hold_go_into_matroska(tmp_path):
    source, out = tmp_path / "in.avi", tmp_path / "out.part"
    with av.open(str(source), "w") as film:
        stream = film.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(10):
            picture = np.full((48, 64, 3), 20 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                film.mux(packet)
        for packet in stream.encode(None):
            film.mux(packet)
    assert container_of(source) == "matroska" and container_of(BALL) == "mp4"
    mux(source, 0.1 * torch.randn(2, 44_100), 44_100, out)
    assert packets(out) == packets(source)
    assert heard(out)[0].shape[0] == 2


def test_what_is_no_video_is_said(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video")
    sound = torch.zeros(1, 16_000)
    with pytest.raises(InputError, match="video: not readable"):
        mux(tmp_path / "x.mp4", sound, 16_000, tmp_path / "y.mp4")
    with pytest.raises(InputError, match="no pictures"):
        mux(BALL.parents[1] / "examples" / "crow.flac", sound, 16_000, tmp_path / "y.mp4")
    assert not (tmp_path / "y.mp4").exists()
