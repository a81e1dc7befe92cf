"""A running ComfyUI with the pack linked in, shared by all tests of this folder."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from comfy_server import PACK, ComfyServer, find_comfyui  # noqa: E402
from tiny_model import make_tiny_model  # noqa: E402

# Gives the malformed AUDIO that other packs may give.
ODD_AUDIO = """
import torch

class OddAudio:
    CATEGORY, RETURN_TYPES, FUNCTION = "test", ("AUDIO",), "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (["none", "three channels", "no batch", "silent", "nan", "batch", "stereo 44100"],)}}

    def make(self, kind):
        sound = torch.sin(torch.arange(16000) / 10)
        shapes = {"three channels": sound.expand(1, 3, -1), "no batch": sound[None], "silent": 0 * sound.expand(1, 1, -1),
                  "nan": sound.expand(1, 1, -1) * float("nan"), "batch": sound.expand(2, 1, -1),
                  "stereo 44100": sound.expand(1, 2, -1)}
        if kind == "none":
            return (None,)
        return ({"waveform": shapes[kind], "sample_rate": 44100 if kind == "stereo 44100" else 16000},)

NODE_CLASS_MAPPINGS = {"TestOddAudio": OddAudio}
"""


@pytest.fixture(scope="session")
def comfyui():
    """ComfyUI's folder."""
    found, reason = find_comfyui()
    if found is None:
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def base(tmp_path_factory, comfyui):
    """A base directory with the pack, a tiny model, damaged ones, and a model known by
    extra_model_paths.yaml alone.
    """
    base = tmp_path_factory.mktemp("comfyui")
    custom_nodes = base / "custom_nodes"
    custom_nodes.mkdir()
    (custom_nodes / "dreamaudio").symlink_to(PACK, target_is_directory=True)
    odd = custom_nodes / "odd_audio"
    odd.mkdir()
    (odd / "__init__.py").write_text(ODD_AUDIO)
    models = base / "models" / "dreamaudio"
    tiny = make_tiny_model(models / "tiny")
    make_tiny_model(base / "elsewhere" / "sounds" / "other", seed=1)
    incomplete = models / "incomplete"
    shutil.copytree(tiny, incomplete)
    (incomplete / "vocoder.safetensors").unlink()
    damaged = models / "damaged"
    shutil.copytree(tiny, damaged)
    flow = damaged / "flow.safetensors"
    flow.write_bytes(flow.read_bytes()[:5000])
    (base / "extra.yaml").write_text(
        f"test:\n  base_path: {base / 'elsewhere'}\n  dreamaudio: sounds\n"
    )
    return base


@pytest.fixture(scope="session")
def server(base, comfyui):
    """The server that all tests share."""
    server = ComfyServer(
        comfyui, base, "--extra-model-paths-config", str(base / "extra.yaml")
    ).start()
    yield server
    server.stop()
