"""A model whose parts take part in ComfyUI's memory management."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

from ..dreamaudio_core.config import VocosConfig
from ..dreamaudio_core.loading import check_parts
from ..dreamaudio_core.networks.operations import arrange_weights
from ..dreamaudio_core.pipeline import DreamAudio

PARTS = ("flow", "vae", "vocoder", "text_encoder", "arranger")
# Arranging runs both at once, so they share a device, which need not be the network's.
READS_TEXT = ("text_encoder", "arranger")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def part_dtype(part: str, choice: str) -> torch.dtype:
    """Parameter type of a part; `auto` keeps float32 for what is small or sensitive to rounding."""
    if part == "arranger" or (choice == "auto" and part in ("vocoder", "text_encoder")):
        return torch.float32
    if choice == "auto":
        return comfy.model_management.unet_dtype(supported_dtypes=[torch.bfloat16, torch.float32])
    return DTYPES[choice]


def offload_device(part: str) -> torch.device:
    """Where a part's weights wait."""
    if part in READS_TEXT:
        return comfy.model_management.text_encoder_offload_device()
    return comfy.model_management.unet_offload_device()


def _patcher(part: str, module: nn.Module):
    # ComfyUI before 0.9 has no CoreModelPatcher.
    patcher_class = getattr(
        comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher
    )
    load_device = (
        comfy.model_management.text_encoder_device()
        if part in READS_TEXT
        else comfy.model_management.get_torch_device()
    )
    if hasattr(comfy.model_management, "archive_model_dtypes"):
        comfy.model_management.archive_model_dtypes(module)
    arrange_weights(module, load_device)
    return patcher_class(module, load_device=load_device, offload_device=offload_device(part))


def _settle(module: nn.Module, device: torch.device) -> None:
    """Move what ComfyUI's layers do not cast by themselves: buffers, and norms of transformers'
    own.
    """
    for layer in module.modules():
        if not hasattr(layer, "comfy_cast_weights"):
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.device != device:
                    tensor.data = tensor.data.to(device)


class PatchedModel:
    """A `DreamAudio` with a model patcher for each part.

    Parameters
    ----------
    core
        The model, its parts on their offload devices.
    dtype
        The user's choice of parameter type, for parts that are exchanged later.
    """

    def __init__(self, core: DreamAudio, dtype: str, patchers: dict | None = None):
        self.core = core
        self.dtype = dtype
        self.patchers = dict(patchers or {})
        for part in PARTS:
            module = getattr(core, part)
            if module is not None and part not in self.patchers:
                self.patchers[part] = _patcher(part, module)

    @property
    def patcher(self):
        """The largest part's patcher, by which ComfyUI knows that a model travels this wire."""
        return self.patchers["flow"]

    @property
    def config(self):
        """Sizes of all parts."""
        return self.core.config

    def with_part(self, part: str, module: nn.Module) -> PatchedModel:
        """This model with one part exchanged; the others stay shared, loaded or not."""
        names = {"flow": "mrc", "vae": "vae", "vocoder": "vocoder"}
        config = (
            replace(self.config, **{names[part]: module.config}) if part in names else self.config
        )
        check_parts(config)
        patchers = {name: patcher for name, patcher in self.patchers.items() if name != part}
        return PatchedModel(
            replace(self.core, config=config, **{part: module}), self.dtype, patchers
        )

    def load(self, *needed: str, memory_required: float = 0) -> DreamAudio:
        """Bring parts to their device and return the model ready for a stage that uses these parts
        alone.

        Parameters
        ----------
        memory_required
            Bytes that the stage itself takes.
        """
        patchers = [self.patchers[part] for part in needed if part in self.patchers]
        comfy.model_management.load_models_gpu(patchers, memory_required=memory_required)
        device = patchers[0].load_device
        for patcher in patchers:
            _settle(patcher.model, patcher.load_device)
        return replace(self.core, device=device)

    def bytes_per_value(self, part: str) -> int:
        """Size of an activation of a part."""
        return next(getattr(self.core, part).parameters()).element_size()


# Working memory: the widest feature map of a part times the number of such maps that are alive
# together. The factors were measured as peak memory of the parts on the CPU and rounded up.


def flow_memory(model: PatchedModel, seconds: float, rows: int) -> float:
    """Bytes that the sampler needs for `rows` network evaluations at once."""
    _, frames, bands = model.config.latent_shape(seconds)
    return (
        40.0
        * rows
        * model.config.mrc.model_channels
        * frames
        * bands
        * model.bytes_per_value("flow")
    )


def vae_memory(model: PatchedModel, seconds: float, batch: int) -> float:
    """Bytes that encoding or decoding needs."""
    audio, vae = model.config.audio, model.config.vae
    frames = seconds * audio.sample_rate / audio.hop_length
    width = max(vae.channels, vae.decoder_channels or 0)
    positions = frames * audio.n_mels / vae.patch_size**2
    return 12.0 * batch * width * positions * model.bytes_per_value("vae")


def vocoder_memory(model: PatchedModel, batch: int) -> float:
    """Bytes that one chunk of the vocoder needs."""
    config = model.config.vocoder
    if isinstance(config, VocosConfig):
        frames = 512 + 2 * model.core.vocoder.receptive_field()
        # Spectra and frames are float32 whatever the weights are.
        return 64.0 * batch * config.n_fft * frames * 4
    frames = 512 + 2 * model.core.vocoder.receptive_field()
    width, rate = 0, 1
    for stage, factor in enumerate(config.upsample_rates):
        rate *= factor
        width = max(width, rate * config.upsample_initial_channel // 2 ** (stage + 1))
    return 64.0 * batch * width * frames * model.bytes_per_value("vocoder")
