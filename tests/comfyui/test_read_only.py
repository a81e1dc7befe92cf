"""Folders that cannot be written to or looked into: all that can work does, the rest says so."""

import os
import shutil

import pytest
from comfy_server import PACK, ComfyServer
from graphs import node, reference, scene

from small_model import make_folder

# Without these, root obeys the permissions of files like everybody else.
AS_A_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
AS_A_USER += ("--inh-caps=-dac_override,-dac_read_search",)
LOCKED = ("input", "output", "user")


@pytest.fixture(scope="module")
def server(tmp_path_factory, comfyui):
    """A server that may only write to the folder of temporary files."""
    if os.name != "posix":
        pytest.skip("permissions of folders are those of POSIX here")
    root = os.geteuid() == 0
    if root and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and setpriv is not there to take that away")
    base = tmp_path_factory.mktemp("locked")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "dreamaudio").symlink_to(PACK, target_is_directory=True)
    make_folder(base / "models" / "dreamaudio" / "tiny", level=True)
    for name in ("input", "input/lost+found", "input/mine", "output", "temp", "user/default"):
        (base / name).mkdir(parents=True)
    crow = PACK / "dreamaudio_core" / "examples" / "crow.flac"
    shutil.copyfile(crow, base / "input" / "mine" / "crow.flac")
    (base / "input" / "lost+found").chmod(0)
    for name in (*LOCKED, "user/default"):
        (base / name).chmod(0o555)
    server = ComfyServer(comfyui, base, prefix=AS_A_USER if root else ())
    try:
        yield server.start()
    finally:
        server.stop()
        # So that the folder can be removed.
        for name in ("input/lost+found", *LOCKED, "user/default"):
            (base / name).chmod(0o755)


def test_every_node_is_there(server):
    found = [name for name in server.object_info() if name.startswith("DreamAudio")]
    assert len(found) == len(list((PACK / "web" / "docs").glob("*.md")))
    assert "the example sounds cannot be copied" in server.log()
    assert not list((server.base / "input").glob("*.flac"))


def test_the_examples_play_from_the_pack_and_a_preview_works(server):
    graph = scene(1)
    graph["save"] = node("DreamAudioPreviewAudio", audio=["vocode", 0])
    run = server.run(graph)
    assert run.error is None, run.message
    assert len(server.fetch(run.outputs["save"]["audio"][0])) > 1000


@pytest.mark.parametrize("format", ["wav", "flac", "mp3"])
def test_saving_says_which_name_and_why(server, format):
    graph = scene(1)
    graph["save"]["inputs"]["format"] = format
    message = server.run(graph).message
    assert "filename_prefix: 'test/scene' cannot be saved" in message
    assert "denied" in message and "permissions of the output folder" in message


@pytest.mark.parametrize("library", ["examples", "input/mine"])
def test_folders_of_sounds_are_searched_for_the_time_being(server, library):
    graph = {
        "found": node(
            "DreamAudioRetrieveReferences",
            prompt="a crow caws",
            library=library,
            count=1,
            min_score=0.0,
        ),
        "show": node("PreviewAny", source=["found", 1]),
    }
    run = server.run(graph)
    assert run.error is None, run.message
    assert "crow.flac" in run.outputs["show"]["text"][0]
    assert "cannot be written to; sounds are indexed again" in server.log()


def test_an_input_that_is_not_there_is_named(server):
    graph = scene(1)
    graph["reference0"] = reference(audio="gone.wav")
    answer = server.post(graph)
    assert answer.status_code == 400 and "gone.wav" in answer.text
