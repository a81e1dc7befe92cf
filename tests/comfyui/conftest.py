"""A running ComfyUI with the pack linked in, shared by all tests of this folder."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from comfy_server import PACK, ComfyServer, find_comfyui  # noqa: E402

from small_model import make_folder  # noqa: E402

# Gives the malformed AUDIO that other packs may give, and tells how many models are loaded.
ODD_AUDIO = """
from collections.abc import Mapping

import comfy.model_management
import torch
from aiohttp import web
from server import PromptServer


@PromptServer.instance.routes.get("/test/loaded")
async def loaded(request):
    models = comfy.model_management.current_loaded_models
    return web.json_response(sum(m.model is not None for m in models))


class Lazy(Mapping):
    def __init__(self, values):
        self.values_ = values

    def __getitem__(self, key):
        return self.values_[key]

    def __iter__(self):
        return iter(("waveform", "sample_rate"))

    def __len__(self):
        return 2


class OddAudio:
    CATEGORY, RETURN_TYPES, FUNCTION = "test", ("AUDIO",), "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": ("STRING",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, kind):
        return True

    def make(self, kind):
        if kind == "none":
            return (None,)
        sound = torch.sin(torch.arange(16000) / 10)
        mono = sound.expand(1, 1, -1)
        kinds = {"three channels": sound.expand(1, 3, -1), "no batch": sound[None],
                 "silent": 0 * mono, "nan": mono * float("nan"), "batch": sound.expand(2, 1, -1),
                 "stereo 44100": sound.expand(1, 2, -1), "int16": (mono * 32767).short(),
                 "empty": mono[..., :0], "5.1": sound.expand(1, 6, -1),
                 "antiphase": torch.stack([sound, -sound])[None]}
        rates = {"stereo 44100": 44100, "rate 0": 0, "rate text": "fast"}
        rate = int(kind[5:]) if kind[5:].isdigit() and kind[:5] == "rate " else 16000
        audio = {"waveform": kinds.get(kind, mono), "sample_rate": rates.get(kind, rate)}
        return (Lazy(audio) if kind == "lazy" else audio,)


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
    tiny = make_folder(models / "tiny", level=True)
    make_folder(base / "elsewhere" / "sounds" / "other", level=True, seed=1)
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
