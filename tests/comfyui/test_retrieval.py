"""References that a prompt finds by itself, in a real ComfyUI."""

import shutil

from comfy_server import PACK
from graphs import node, reference, scene
from test_runs import check_sound, sound

PROMPT = "a crow caws, then a cash register rings"


def found_scene(library="examples", count=0, min_score=0.4, prompt=PROMPT):
    """The usual graph, its references found for its prompt, and what was found shown."""
    graph = scene(references=0, prompt=prompt)
    graph["retrieve"] = node(
        "DreamAudioRetrieveReferences",
        prompt=prompt,
        library=library,
        count=count,
        min_score=min_score,
    )
    graph["captions"]["inputs"]["references.reference0"] = ["retrieve", 0]
    graph["shown"] = node("PreviewAny", source=["retrieve", 1])
    return graph


def lines(run):
    return [line for line in run.outputs["shown"]["text"][0].splitlines() if line]


def test_a_prompt_alone_finds_its_references(server):
    run = server.run(found_scene())
    assert run.error is None
    assert [line.split(":")[0] for line in lines(run)] == ["a crow caws", "a cash register rings"]
    assert "crow.flac" in lines(run)[0] and "cash_register.flac" in lines(run)[1]
    check_sound(*sound(server, run))


def test_what_is_found_joins_other_references(server):
    graph = found_scene()
    for k in range(1, 8):
        graph[f"r{k}"] = reference()
        graph["captions"]["inputs"][f"references.reference{k}"] = [f"r{k}", 0]
    assert "takes at most 8, found 9" in server.run(graph).message


def test_count_and_score_limit_what_is_found(server):
    assert len(lines(server.run(found_scene(count=3, min_score=0.0)))) == 3
    run = server.run(found_scene(min_score=0.99, prompt="a volcano erupts"))
    assert run.error is None and lines(run) == [] and "near enough" in run.log


def test_a_folder_of_the_input_folder_is_a_library(server, base):
    folder = base / "input" / "mine"
    folder.mkdir(parents=True)
    shutil.copy(PACK / "dreamaudio_core" / "examples" / "crow.flac", folder / "crow.flac")
    options = server.object_info("DreamAudioRetrieveReferences")["DreamAudioRetrieveReferences"][
        "input"
    ]["required"]["library"]
    assert "input/mine" in str(options) and "examples" in str(options)
    # Without a caption beside it, the name gives one.
    assert lines(server.run(found_scene("input/mine", prompt="a crow caws"))) == [
        "a crow caws: a crow caws (1.00, crow.flac)"
    ]
    (folder / "crow.txt").write_text("a large bird calls")
    run = server.run(found_scene("input/mine", prompt="a large bird calls"))
    assert lines(run) == ["a large bird calls: a large bird calls (1.00, crow.flac)"]


def test_a_library_that_is_not_there_is_refused(server):
    answer = server.post(found_scene("../../etc"))
    assert answer.status_code == 400 and "library" in answer.text
