"""Video: its length goes to the timeline, the sound goes under it."""

import io

import numpy as np
import pytest
from graphs import node, scene

av = pytest.importorskip("av")


def ball():
    return node("LoadVideo", file="dreamaudio_ball.mp4")


def frames():
    """A video that other nodes made of pictures: 24 of them, 12 a second."""
    image = node("EmptyImage", width=64, height=48, batch_size=24, color=255)
    return image, node("CreateVideo", images=["image", 0], fps=12.0)


@pytest.mark.parametrize(
    "source, told", [("file", "3.00 s, 24 frames"), ("pictures", "2.00 s, 12")]
)
def test_a_sound_is_as_long_as_its_video_and_is_saved_under_it(server, source, told):
    graph = scene(1, prefix=f"video_{source}")
    if source == "file":
        graph["video"] = ball()
    else:
        graph["image"], graph["video"] = frames()
    graph["length"] = node("DreamAudioVideoLength", video=["video", 0])
    graph["arrange"]["inputs"]["seconds"] = ["length", 0]
    graph["film"] = node(
        "DreamAudioSaveVideo",
        video=["video", 0],
        audio=["vocode", 0],
        filename_prefix="test/film",
    )
    run = server.run(graph, {"version": 0.4, "note": "kept"})
    assert run.error is None, run.message
    assert told in run.outputs["length"]["text"][0]
    (entry,) = run.outputs["film"]["images"]
    assert entry["filename"].endswith(".mp4")
    with av.open(io.BytesIO(server.fetch(entry))) as film:
        pictures, sound = film.streams.video[0], film.streams.audio[0]
        seconds = float(told.split()[0])
        assert float(pictures.duration * pictures.time_base) == pytest.approx(seconds, abs=0.01)
        assert float(sound.duration * sound.time_base) == pytest.approx(seconds, abs=0.1)
        assert "kept" in film.metadata["workflow"] and "sampler" in film.metadata["prompt"]
        samples = np.concatenate([f.to_ndarray() for f in film.decode(audio=0)], axis=-1)
    assert np.abs(samples).max() > 0.01


def test_what_does_not_fit_is_said(server):
    graph = {"image": frames()[0], "video": frames()[1]}
    graph["image"]["inputs"]["batch_size"] = 3
    graph["length"] = node("DreamAudioVideoLength", video=["video", 0])
    message = server.run(graph | {"show": node("PreviewAny", source=["length", 0])}).message
    assert "video: is 0.25 s long, and a sound can have 0.3 to 120 s" in message

    graph = {"video": ball(), "sound": node("TestOddAudio", kind="5.1")}
    graph["film"] = node("DreamAudioSaveVideo", video=["video", 0], audio=["sound", 0])
    graph["film"]["inputs"]["filename_prefix"] = "test/film"
    assert "audio: expected mono or stereo, found 6 channels" in server.run(graph).message
    graph["sound"]["inputs"]["kind"] = "batch"
    assert "audio: expected one sound, found a batch of 2" in server.run(graph).message
    graph["sound"]["inputs"]["kind"] = "stereo 44100"
    graph["film"]["inputs"]["filename_prefix"] = "test/NUL/film"
    assert "filename_prefix: 'test/NUL/film'" in server.run(graph).message
