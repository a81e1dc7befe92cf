"""Graphs run to the end in a real ComfyUI, and their results."""

import io
import json
import wave

import numpy as np
import pytest
import soundfile
from comfy_server import ComfyServer
from graphs import SECONDS, node, reference, scene, use_as_reference
from PIL import Image

from closeness import same_sound


def sound(server, run, node_id="save", index=0):
    """Samples [T] or [T, channels] and rate of a saved file."""
    return soundfile.read(io.BytesIO(server.fetch(run.outputs[node_id]["audio"][index])))


def check_sound(samples, rate, seconds=SECONDS, tolerance=0.0):
    assert rate == 16000
    assert abs(len(samples) - seconds * rate) <= tolerance * rate
    assert np.isfinite(samples).all()
    assert 0.005 < np.sqrt(np.mean(samples**2)) < 0.9
    assert np.abs(samples).max() <= 1.0


def test_one_scene(server):
    run = server.run(scene())
    assert run.error is None
    check_sound(*sound(server, run))
    assert [p for p in run.progress if p[0] == "sampler"][-1] == ("sampler", 3, 3)


def test_text_alone_and_eight_references(server):
    run = server.run(scene(references=0))
    assert run.error is None
    check_sound(*sound(server, run))
    graph = scene(references=0)
    for k in range(8):
        graph[f"r{k}"] = reference(start=str(0.2 * k))
        graph["captions"]["inputs"][f"references.reference{k}"] = [f"r{k}", 0]
    run = server.run(graph)
    assert run.error is None
    check_sound(*sound(server, run))


def test_a_batch_equals_single_seeds(server):
    graph = scene(batch_size=2, seed=5)
    pair = server.run(graph)
    assert len(pair.outputs["save"]["audio"]) == 2
    first, second = (sound(server, pair, index=i)[0] for i in range(2))
    assert not np.array_equal(first, second)
    alone = sound(server, server.run(scene(seed=6)))[0]
    assert np.abs(second - alone).max() <= 2 / 32767


def test_settings_change_the_sound(server):
    def made(**changes):
        graph = scene(references=2)
        for name, value in changes.items():
            target = "reference0" if name in ("strength", "start") else "sampler"
            graph[target]["inputs"][name] = value
        return sound(server, server.run(graph))[0]

    plain = made(start="0.3")
    for change in (
        {"start": "1.2"},
        {"start": "0.3, 1.5"},
        {"start": "0.3", "strength": 2.0},
        {"start": "0.3", "reference_guidance": 4.0},
        {"start": "0.3", "solver": "heun"},
        {"start": "0.3", "shift": 3.0},
        {"start": "0.3", "guidance": 1.0},
    ):
        assert np.abs(made(**change) - plain).max() > 1e-3, change


def test_missing_sounds_are_left_out_or_made(server):
    """Long after the crow, two seeds differ only where the network may make what is missing."""

    def apart(**changes):
        tails = []
        for seed in (1, 2):
            graph = scene(prompt="a crow caws", seed=seed, seconds=5.12, **changes)
            graph["reference0"]["inputs"]["start"] = "0.3"
            samples, rate = sound(server, server.run(graph))
            tails.append(samples[round(4.5 * rate) :])
        return np.abs(tails[0] - tails[1]).max()

    # Not nothing: the normalisations of the VAE reach over the whole scene.
    assert apart(missing="silence") == apart() < 0.1 * apart(missing="generate")


def test_the_arrangement_is_told_and_can_be_given_back(server):
    graph = scene(references=2)
    graph["reference0"]["inputs"]["start"] = "0.5"
    graph["shown"] = node("PreviewAny", source=["arrange", 1])
    run = server.run(graph)
    told = run.outputs["arrange"]["text"][0]
    assert "reference 1, 'a crow caws': 0.50 s" in told and "set by hand" in told
    arrangement = json.loads(run.outputs["shown"]["text"][0])
    assert arrangement["references"][0]["placements"][0]["start"] == 0.5
    first = sound(server, run)[0]
    graph["arrange"]["inputs"]["timeline"] = json.dumps(arrangement)
    assert same_sound(sound(server, server.run(graph))[0], first)
    arrangement["references"][0]["placements"][0]["start"] = 1.5
    graph["arrange"]["inputs"]["timeline"] = json.dumps(arrangement)
    moved = server.run(graph)
    assert "1.50 s" in moved.outputs["arrange"]["text"][0]
    assert np.abs(sound(server, moved)[0] - first).max() > 1e-3


def test_the_models_own_settings_are_the_default(server):
    own = {"steps": 0, "guidance": -1.0, "reference_guidance": -1.0, "shift": 0.0}
    default = sound(server, server.run(scene(**own, solver="model's own")))[0]
    given = {"steps": 24, "guidance": 2.0, "reference_guidance": 2.0, "shift": 1.0}
    assert same_sound(default, sound(server, server.run(scene(**given, solver="ab2")))[0])


def test_formats_carry_the_workflow(server):
    graph = scene()
    workflow = {"version": 0.4, "nodes": [], "links": [], "note": "ä"}
    for format in ("flac", "wav", "mp3", "opus"):
        graph[f"save_{format}"] = node(
            "DreamAudioSaveAudio",
            audio=["vocode", 0],
            filename_prefix=f"test/f_{format}",
            format=format,
        )
    run = server.run(graph, workflow)
    assert run.error is None
    decoded = {}
    for format in ("flac", "wav", "mp3", "opus"):
        data = server.fetch(run.outputs[f"save_{format}"]["audio"][0])
        decoded[format] = soundfile.read(io.BytesIO(data))
        check_sound(*decoded[format], tolerance=0.0 if format in ("flac", "wav") else 0.12)
        text = data.decode("utf-8", errors="ignore").replace('\\"', '"')
        assert "DreamAudioMRCFlowSampler" in text and '"version": 0.4' in text, format
    assert np.abs(decoded["flac"][0] - decoded["wav"][0]).max() <= 1.5 / 32767

    data = server.fetch(run.outputs["save_wav"]["audio"][0])
    comment = data[data.index(b"ICMT") + 8 :].rstrip(b"\0")
    notes = json.loads(comment)
    assert notes["workflow"] == workflow and notes["prompt"]["sampler"]["inputs"]["seed"] == 1
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)


def test_saving_again_never_overwrites(server):
    for format in ("wav", "flac"):
        names = set()
        for seed in (11, 12):
            graph = scene(seed=seed)
            graph["save"]["inputs"].update(format=format, filename_prefix="test/again")
            names.add(server.run(graph).outputs["save"]["audio"][0]["filename"])
        assert len(names) == 2


def test_mel_preview_draws_the_timeline(server):
    graph = scene(references=2)
    graph["reference0"]["inputs"]["start"] = "0.5"
    graph["reference1"]["inputs"]["start"] = "1.5"
    graph["preview"] = node("DreamAudioMelPreview", mel=["decode", 0])
    run = server.run(graph)
    picture = np.asarray(
        Image.open(io.BytesIO(server.fetch(run.outputs["preview"]["images"][0]))).convert("RGB"),
        float,
    )
    first_lane, second_lane = picture[16 + 11], picture[16 + 22 + 11]
    left, width = 70, 960

    def coloured(lane, second):
        pixel = lane[left + round(width * second / SECONDS)]
        return pixel.max() - pixel.min() > 30

    assert not coloured(first_lane, 0.4) and coloured(first_lane, 0.51)
    assert not coloured(second_lane, 1.4) and coloured(second_lane, 1.51)

    graph["reference0"]["inputs"]["start"] = "1.0"
    again = server.run(graph)
    moved = np.asarray(
        Image.open(io.BytesIO(server.fetch(again.outputs["preview"]["images"][0]))).convert("RGB"),
        float,
    )
    assert not coloured(moved[16 + 11], 0.51) and coloured(moved[16 + 11], 1.01)


def test_audio_to_audio_begins_at_the_start_latent(server):
    graph = scene(references=0, start_latent=["encode", 0], denoise=0.05)
    graph["source"] = node("LoadAudio", audio="dreamaudio_crow.flac")
    graph["encode"] = node(
        "DreamAudioVAEEncode", model=["model", 0], audio=["source", 0], seconds=SECONDS
    )
    graph["decode_source"] = node("DreamAudioVAEDecode", model=["model", 0], latent=["encode", 0])
    graph["vocode_source"] = node(
        "DreamAudioBigVGANVocode", model=["model", 0], mel=["decode_source", 0]
    )
    graph["save_source"] = node(
        "DreamAudioSaveAudio",
        audio=["vocode_source", 0],
        filename_prefix="test/source",
        format="wav",
    )
    run = server.run(graph)
    assert run.error is None
    source = sound(server, run, "save_source")[0]
    close = sound(server, run)[0]
    graph["sampler"]["inputs"]["denoise"] = 0.9
    far = sound(server, server.run(graph))[0]
    assert np.mean((close - source) ** 2) < 0.5 * np.mean((far - source) ** 2)


def test_core_nodes_on_both_ends(server):
    graph = scene(references=0)
    graph["source"] = node("LoadAudio", audio="dreamaudio_guitar.flac")
    use_as_reference(graph, "source", "a guitar plays", start="0.5")
    graph["play"] = node("PreviewAudio", audio=["vocode", 0])
    run = server.run(graph)
    assert run.error is None
    check_sound(*sound(server, run, "play"))
    loaded = scene(references=1)
    loaded["reference0"] = reference("dreamaudio_guitar.flac", "a guitar plays", start="0.5")
    same = sound(server, server.run(loaded))[0]
    assert np.abs(sound(server, run)[0] - same).max() <= 3 / 32767


def test_stereo_at_another_rate_is_a_reference(server):
    graph = scene(references=0)
    graph["odd"] = node("TestOddAudio", kind="stereo 44100")
    use_as_reference(graph, "odd")
    run = server.run(graph)
    assert run.error is None
    check_sound(*sound(server, run))


CSV = """prompt,seed,audio1,caption1,start1,audio2,caption2
a crow caws,3,dreamaudio_crow.flac,a crow caws,0.5,,
a guitar plays then a crow caws,,dreamaudio_guitar.flac,a guitar plays,,dreamaudio_crow.flac,a crow caws
"""


def table_graph(rows, file="rows below"):
    graph = scene(references=0)
    graph["table"] = node("DreamAudioLoadScenes", file=file, rows=rows)
    graph["captions"]["inputs"] |= {"prompt": ["table", 0], "references.reference0": ["table", 1]}
    graph["sampler"]["inputs"]["seed"] = ["table", 2]
    return graph


def test_rows_of_a_table_become_sounds(server, base):
    run = server.run(table_graph(CSV))
    assert run.error is None
    assert len(run.outputs["save"]["audio"]) == 2
    first, second = (sound(server, run, index=i)[0] for i in range(2))
    alone = scene(prompt="a crow caws", seed=3)
    alone["reference0"]["inputs"]["start"] = "0.5"
    assert np.abs(first - sound(server, server.run(alone))[0]).max() <= 1 / 32767
    assert not np.array_equal(first, second)

    rows = [
        {
            "prompt": "a crow caws",
            "seed": 3,
            "references": [
                {"audio": "dreamaudio_crow.flac", "caption": "a crow caws", "start": 0.5}
            ],
        }
    ]
    rows[0]["steps"] = 9
    (base / "input" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = server.run(table_graph("", "rows.jsonl"))
    assert run.error is None and "Load Scenes: steps: has no output here" in run.log
    assert same_sound(sound(server, run)[0], first)


def test_parts_are_exchanged(server):
    info = server.object_info("DreamAudioLoadModel")["DreamAudioLoadModel"]
    assert {"tiny", "other"} <= set(info["input"]["required"]["model_name"][1]["options"])
    plain = sound(server, server.run(scene()))[0]
    own = server.run(scene(model="other"))
    assert own.error is None
    for kind, file in (
        ("Flow", "other/flow.safetensors"),
        ("VAE", "other/vae.safetensors"),
        ("Vocoder", "other/vocoder.safetensors"),
        ("TextEncoder", "other/text_encoder"),
    ):
        graph = scene()
        graph["part"] = node(f"DreamAudioLoad{kind}", model=["model", 0], file=file)
        for name in ("captions", "arrange", "sampler", "decode", "vocode"):
            graph[name]["inputs"]["model"] = ["part", 0]
        run = server.run(graph)
        assert run.error is None, (kind, run.message)
        assert np.abs(sound(server, run)[0] - plain).max() > 1e-4, kind
    graph = scene()
    chain = ["model", 0]
    for kind, file in (
        ("Flow", "flow.safetensors"),
        ("VAE", "vae.safetensors"),
        ("Vocoder", "vocoder.safetensors"),
        ("TextEncoder", "text_encoder"),
    ):
        graph[kind] = node(f"DreamAudioLoad{kind}", model=chain, file=f"other/{file}")
        chain = [kind, 0]
    for name in ("captions", "arrange", "sampler", "decode", "vocode"):
        graph[name]["inputs"]["model"] = chain
    for name in ("reference0",):
        graph[name]["inputs"]["start"] = "0.4"
    whole = scene(model="other")
    whole["reference0"]["inputs"]["start"] = "0.4"
    assert same_sound(sound(server, server.run(graph))[0], sound(server, server.run(whole))[0])


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_number_formats(server, dtype):
    graph = scene()
    graph["model"]["inputs"]["dtype"] = dtype
    run = server.run(graph)
    assert run.error is None, run.message
    check_sound(*sound(server, run))


def test_a_restarted_server_gives_the_same_samples(server, base, comfyui, tmp_path):
    graph = scene(references=2, seed=77)
    before = sound(server, server.run(graph))[0]
    second_base = tmp_path / "restarted"
    second_base.mkdir()
    for name in ("custom_nodes", "models"):
        (second_base / name).symlink_to(base / name, target_is_directory=True)
    restarted = ComfyServer(comfyui, second_base).start()
    try:
        after = sound(restarted, restarted.run(graph))[0]
    finally:
        restarted.stop()
    assert same_sound(before, after)
