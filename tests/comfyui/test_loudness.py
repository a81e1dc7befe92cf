"""Save Audio at a loudness, measured on the files that the node wrote."""

import io

import pytest
import soundfile
from graphs import node, scene

pyloudnorm = pytest.importorskip("pyloudnorm")
LEVELS = {"-16 LUFS": -16.0, "-23 LUFS": -23.0}


def test_files_have_the_loudness_that_was_asked_for(server):
    """A steady tone, so that no peak keeps it from either loudness."""
    graph = {"tone": node("TestOddAudio", kind="a second of a tone")}
    for level in LEVELS:
        for format in ("flac", "wav float", "mp3"):
            graph[f"{level} {format}"] = node(
                "DreamAudioSaveAudio",
                audio=["tone", 0],
                filename_prefix="test/loud",
                format=format,
                level=level,
            )
    run = server.run(graph)
    if "pip install pyloudnorm" in run.message:
        pytest.skip("ComfyUI's Python has no pyloudnorm; the node says how to install it")
    assert run.error is None, run.message
    for name, output in run.outputs.items():
        samples, rate = soundfile.read(io.BytesIO(server.fetch(output["audio"][0])))
        measured = pyloudnorm.Meter(rate).integrated_loudness(samples)
        wanted = next(value for level, value in LEVELS.items() if name.startswith(level))
        assert measured == pytest.approx(wanted, abs=0.1 if "mp3" not in name else 0.5), name


def test_a_loudness_beyond_full_scale_stops_below_it(server):
    """An impulsive sound cannot be as loud: its true peak is held at -1 dB."""
    graph = scene(1)
    crow = node("LoadAudio", audio="dreamaudio_crow.flac")
    graph = {"crow": crow, "save": graph["save"]}
    graph["save"]["inputs"] |= {"audio": ["crow", 0], "format": "wav float", "level": "-16 LUFS"}
    run = server.run(graph)
    if "pip install pyloudnorm" in run.message:
        pytest.skip("ComfyUI's Python has no pyloudnorm; the node says how to install it")
    assert run.error is None, run.message
    samples, rate = soundfile.read(io.BytesIO(server.fetch(run.outputs["save"]["audio"][0])))
    assert abs(samples).max() <= 10 ** (-1 / 20) + 1e-4
    assert pyloudnorm.Meter(rate).integrated_loudness(samples) <= -15.9
