"""Run by ComfyUI's interpreter: the same sound with all weights loaded, and with none, each layer
fetching its own.

Usage: budget.py COMFYUI PACK MODEL_FOLDER. Prints one line of JSON.
"""

import importlib.util
import json
import sys

import torch

comfyui, pack, folder = sys.argv[1:4]
sys.argv[1:] = []
sys.path.insert(0, comfyui)

from comfy.cli_args import args  # noqa: E402

args.cpu = True

import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.ops  # noqa: E402

spec = importlib.util.spec_from_file_location(
    "pack-under-test", f"{pack}/__init__.py", submodule_search_locations=[pack]
)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
parts = importlib.import_module("pack-under-test.nodes.parts")
loaders = importlib.import_module("pack-under-test.nodes.loaders")
loading = importlib.import_module("pack-under-test.dreamaudio_core.loading")
reference = importlib.import_module("pack-under-test.dreamaudio_core.scene.reference")


def make(model) -> torch.Tensor:
    sound = reference.prepare_reference(torch.sin(torch.arange(8000) * 0.2), 16000, "a crow caws")
    conditioning = model.load("text_encoder").condition("a crow caws twice", [sound])
    core = model.load("vae", "arranger")
    arrangement = core.arrange(conditioning, 2.56)
    core = model.load("flow", "vae")
    settings = core.config.sampling.override(steps=2)
    latent = core.sample(conditioning, arrangement, [1], settings)
    return model.load("vocoder").vocode(model.load("vae").decode(latent), 2.56)


with torch.inference_mode():
    model = parts.PatchedModel(loading.load_model(folder, operations=loaders.OPERATIONS), "fp32")
    whole = make(model)
    comfy.model_management.unload_all_models()
    casting, offloaded = {}, 0.0
    load = comfy.model_patcher.ModelPatcher.load

    def tight(
        self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False
    ):
        return load(self, device_to, 1, force_patch_weights, False)

    comfy.model_patcher.ModelPatcher.load = tight
    budget = make(model)
    for name, patcher in model.patchers.items():
        layers = [
            layer
            for layer in patcher.model.modules()
            if getattr(layer, "comfy_cast_weights", False)
        ]
        casting[name] = sum(hasattr(layer, "prev_comfy_cast_weights") for layer in layers)
        offloaded += (patcher.model_size() - patcher.loaded_size()) / 2**20

print(
    json.dumps(
        {
            "casting layers": casting,
            "offloaded megabytes": offloaded,
            "largest difference": float((whole - budget).abs().max()),
            "peak": float(whole.abs().max()),
            "patcher classes": sorted(
                {
                    str(isinstance(p, comfy.model_patcher.ModelPatcher))
                    for p in model.patchers.values()
                }
            ),
        }
    )
)
