"""The nodes give the sound that `DreamAudio.generate` gives, and what is theirs alone."""

import io

import numpy as np
import pytest
import soundfile
import torch
from comfy_server import PACK
from graphs import detail, node, scene

from dreamaudio_core.loading import load_model
from dreamaudio_core.scene.reference import load_reference

CROW = PACK / "dreamaudio_core" / "examples" / "crow.flac"
PROMPT = "a crow caws, then a small bell rings"


@pytest.fixture(scope="module")
def mini():
    return load_model("mini")


def saved(server, run, node_id="save"):
    """Samples [B, channels, T] and rate of all files of a node."""
    files = [server.fetch(entry) for entry in run.outputs[node_id]["audio"]]
    sounds = [soundfile.read(io.BytesIO(data), always_2d=True) for data in files]
    return np.stack([samples.T for samples, _ in sounds]), sounds[0][1]


def distance(found, wanted):
    """Difference in dB against the sound; another build of torch rounds differently."""
    wanted = wanted.numpy()
    assert found.shape == wanted.shape
    return 10 * np.log10(np.sum((found - wanted) ** 2) / np.sum(wanted**2) + 1e-12)


def test_the_chain_is_generate(server, mini):
    """With a gain, a pan and fades, a sound of the library, variation and two seeds."""
    graph = scene(
        prompt=PROMPT, model="mini", missing="library", steps=4, guidance=-1.0,
        reference_guidance=-1.0, solver="model's own", shift=0.0, batch_size=2, variation=0.4,
    )  # fmt: skip
    options = {"gain": -6.0, "pan": -0.5, "fade_in": 0.05, "fade_out": 0.1}
    graph["reference0"]["inputs"] |= options | {"trim": "keep tail"}
    graph["detail"] = detail()
    graph["save"]["inputs"] |= {"audio": ["detail", 0], "format": "wav float"}
    run = server.run(graph)
    assert run.error is None, run.message
    assert "reference 2" in run.outputs["arrange"]["text"][0]
    assert "0.48 s, used" in run.outputs["reference0"]["text"][0]
    found, rate = saved(server, run)
    crow = load_reference(CROW, "a crow caws", **options, keep_tail=True)
    result = mini.generate(
        PROMPT, [crow], seeds=[1, 2], seconds=2.56, missing="library", steps=4, variation=0.4
    )
    assert len(result.references) == 2 and (rate, found.shape[1]) == (result.sample_rate, 2)
    assert distance(found, result.waveforms) < -40
    left, right = np.square(found[0]).sum(1)
    assert left > right


def test_the_scene_node_is_generate(server, mini):
    graph = scene()
    graph = {name: graph[name] for name in ("reference0", "save")}
    graph["scene"] = node(
        "DreamAudioScene", prompt=PROMPT, seconds=2.56, seed=3, quality="draft",
        **{"references.reference0": ["reference0", 0]},
    )  # fmt: skip
    graph["save"]["inputs"] |= {"audio": ["scene", 0], "format": "wav 24-bit"}
    run = server.run(graph)
    assert run.error is None, run.message
    assert "a crow caws" in run.outputs["scene"]["text"][0]
    found, rate = saved(server, run)
    crow = load_reference(CROW, "a crow caws")
    result = mini.generate(PROMPT, [crow], seeds=[3], seconds=2.56, steps=8)
    assert rate == result.sample_rate
    assert distance(found, result.waveforms) < -40


def test_takes_go_on_and_keep_their_level(server):
    graph = {
        "source": node("LoadAudio", audio="dreamaudio_crow.flac"),
        "save": node(
            "DreamAudioSaveAudio",
            audio=["source", 0],
            filename_prefix="test/step_%take%",
            format="flac",
            level="peak",
        ),
    }
    names = []
    for format in ("flac", "wav", "wav float"):
        graph["save"]["inputs"]["format"] = format
        run = server.run(graph)
        assert run.error is None, run.message
        names.append(run.outputs["save"]["audio"][0]["filename"])
        peak = np.abs(saved(server, run)[0]).max()
        assert 0.8 < peak < 10 ** (-0.95 / 20)
    assert names == ["step_01.flac", "step_02.wav", "step_03.wav"]
    graph["save"]["inputs"]["level"] = "loud"
    answer = server.post(graph)
    assert answer.status_code == 400 and "loud" in answer.text


def test_detail_refuses_what_is_not_its_own(server):
    graph = scene()
    graph["other"] = node("LoadAudio", audio="dreamaudio_crow.flac")
    graph["detail"] = detail("other")
    graph["save"]["inputs"]["audio"] = ["detail", 0]
    assert "expected 1 sounds at 16000 Hz" in server.run(graph).message


def test_detail_off_is_the_network_alone(server):
    graph = scene()
    graph["detail"] = detail(detail=0.0)
    graph["save_detail"] = node(
        "DreamAudioSaveAudio", audio=["detail", 0], filename_prefix="test/off", format="wav"
    )
    run = server.run(graph)
    assert run.error is None, run.message
    plain, rate = saved(server, run)
    off, off_rate = saved(server, run, "save_detail")
    assert rate == off_rate == 16000
    assert distance(off, torch.from_numpy(plain)) < -40
