"""What the timeline in the browser asks the server for."""

import json

import numpy as np
import pytest
import requests
import soundfile
from graphs import node, scene

SCENE = {
    "model_name": "mini",
    "prompt": "a crow caws, then a guitar plays",
    "seconds": 10.24,
    "missing": "auto",
    "references": [
        {"audio": "dreamaudio_crow.flac", "caption": "a crow caws"},
        {"audio": "dreamaudio_guitar.flac", "caption": "a guitar plays", "start": "6"},
    ],
}


def arrange(server, **changes):
    return requests.post(server.url("dreamaudio/arrange"), json={**SCENE, **changes}, timeout=120)


def test_peaks_are_those_of_the_used_part(server):
    url = server.url("dreamaudio/peaks")
    found = requests.get(url, params={"audio": "dreamaudio_crow.flac"}, timeout=60).json()
    assert 0.4 < found["seconds"] <= found["total"] and len(found["peaks"]) == 600
    assert 5 < max(found["peaks"]) <= 100
    assert abs(found["end"] - found["begin"] - found["seconds"]) < 1e-3
    answer = requests.get(url, params={"audio": "../../etc/passwd"}, timeout=60)
    assert answer.status_code == 200 and "outside" in answer.json()["error"]


def test_a_part_set_by_hand_is_described(server):
    url = server.url("dreamaudio/peaks")
    part = {"audio": "dreamaudio_crow.flac", "begin": "0.1", "end": "0.3"}
    found = requests.get(url, params=part, timeout=60).json()
    assert (found["begin"], found["end"]) == (0.1, 0.3) and abs(found["seconds"] - 0.2) < 1e-3
    for wrong in ({"begin": "soon"}, {"begin": "99"}):
        answer = requests.get(url, params={**part, **wrong}, timeout=60)
        assert answer.status_code == 200 and "begin" in answer.json()["error"]


def test_captions_come_from_a_file_beside_tags_or_the_name(server):
    def caption(name):
        url = server.url("dreamaudio/caption")
        return requests.get(url, params={"audio": name}, timeout=60).json()["caption"]

    assert caption("dreamaudio_crow.flac") == "a crow caws"
    assert caption("dreamaudio_footstep_snow.ogg") == "a single footstep in snow"
    folder = server.base / "input"
    wave = np.sin(np.arange(4000) * 0.2)
    soundfile.write(folder / "0017.wav", wave, 16000)
    assert caption("0017.wav") == ""
    (folder / "0017.txt").write_text("a kettle whistles")
    assert caption("0017.wav") == "a kettle whistles"
    with soundfile.SoundFile(folder / "DoorBell.flac", "w", 16000, 1) as file:
        file.write(wave)
    assert "door" in caption("DoorBell.flac")
    with soundfile.SoundFile(folder / "own.flac", "w", 16000, 1) as file:
        file.comment = '{"prompt": {"1": {"class_type": "KSampler"}}}'
        file.write(wave)
    assert "class_type" not in caption("own.flac")


def test_the_prompt_is_read_without_a_run(server):
    found = arrange(server).json()["arrangement"]
    first, second = found["references"]
    assert first["used"] and second["placements"][0]["start"] == 6
    first["placements"] = [{"start": 3, "duration": 0.4, "pinned": True}]
    again = arrange(server, timeline=json.dumps(found)).json()["arrangement"]
    assert [p["start"] for p in again["references"][0]["placements"]] == [3]


def test_sounds_of_the_library_are_read_as_in_a_run(server):
    prompt, caption = "a crow caws, then a small bell rings", "a crow caws"
    crow = {"audio": "dreamaudio_crow.flac", "caption": caption}
    answer = arrange(server, prompt=prompt, missing="library", references=[crow]).json()
    read, (added,) = answer["arrangement"], answer["library"]
    assert "bell" in added["caption"] and added["sound"]["peaks"]
    assert all(reference["placements"] for reference in read["references"])
    graph = scene(prompt=prompt, model="mini", seconds=10.24, missing="library")
    graph = {key: graph[key] for key in ("model", "captions", "arrange", "reference0")}
    graph["shown"] = node("PreviewAny", source=["arrange", 1])
    for timeline in ("", json.dumps(read)):
        graph["arrange"]["inputs"]["timeline"] = timeline
        run = server.run(graph)
        assert run.error is None, run.message
        ran = json.loads(run.outputs["shown"]["text"][0])
        for was, found in zip(read["references"], ran["references"], strict=True):
            starts = [[place["start"] for place in r["placements"]] for r in (was, found)]
            assert starts[0] == pytest.approx(starts[1], abs=1e-3)
        assert len(run.outputs["arrange"]["sounds"]) == 2


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"prompt": None}, "prompt"),
        ({"model_name": "none such"}, "model_name"),
        ({"seconds": 1e9}, "seconds"),
        ({"references": [{"audio": "none.wav"}]}, "none.wav"),
        ({"references": ["crow"]}, "reference 1"),
        ({"references": [{"audio": "dreamaudio_crow.flac", "start": "now"}]}, "now"),
        ({"timeline": "{"}, "timeline"),
    ],
)
def test_what_cannot_be_read_is_said(server, changes, named):
    answer = arrange(server, **changes)
    assert answer.status_code == 200 and named in answer.json()["error"]
