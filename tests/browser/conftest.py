"""A browser on a real ComfyUI with the pack."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "comfyui"), str(HERE.parent)]

from canvas import Canvas  # noqa: E402
from comfy_server import PACK, ComfyServer, find_comfyui  # noqa: E402

from chromium import find_browser  # noqa: E402
from small_model import make_folder  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server whose base directory is fresh, but for the pack and a tiny model."""
    comfyui, reason = find_comfyui()
    if comfyui is None:
        pytest.skip(reason)
    if not all(find_browser()):
        pytest.skip("no chromium with chromedriver found on the PATH")
    base = tmp_path_factory.mktemp("browser")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "dreamaudio").symlink_to(PACK, target_is_directory=True)
    make_folder(base / "models" / "dreamaudio" / "tiny", level=True)
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    # Without the template browser that greets a new user.
    settings.write_text('{"Comfy.TutorialCompleted": true}')
    server = ComfyServer(comfyui, base).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def canvas(server, tmp_path_factory):
    """The page; its own complaints while it starts are not the pack's and are dropped."""
    canvas = Canvas(server.url(""), tmp_path_factory.mktemp("profile"))
    canvas.errors()
    yield canvas
    canvas.close()


@pytest.fixture(scope="module", autouse=True)
def _page_of_its_own(canvas):
    """No module inherits what another left: an open search, a dialog, a node at the pointer."""
    canvas.driver.switch_to.window(canvas.driver.window_handles[0])
    canvas.open()
    canvas.errors()
