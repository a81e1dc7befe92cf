"""Loaders: a whole model, and single parts of others in place of its own."""

import comfy.ops
from comfy_api.latest import io

from ..dreamaudio_core.loading import load_model
from ..dreamaudio_core.networks.operations import Operations
from ..dreamaudio_core.networks.text_encoder import load_text_encoder
from ..dreamaudio_core.weights.load import load_part
from . import files
from .parts import PARTS, PatchedModel, offload_device, part_dtype
from .types import CATEGORY, Model, aliases

OPERATIONS = Operations(comfy.ops.manual_cast)


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioLoadModel",
            display_name="DreamAudio Load Model",
            category=CATEGORY,
            description="Loads a model: the network, its VAE, vocoder, text encoder and arranger.",
            **aliases("checkpoint", "loader", "text to audio"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=list(files.models()),
                    tooltip="The embedded model 'mini', or a model folder inside "
                    "models/dreamaudio.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", "fp32", "bf16", "fp16"],
                    default="auto",
                    tooltip="Number format of the weights. auto: what suits the device; the "
                    "vocoder stays at fp32.",
                ),
            ],
            outputs=[Model.Output(display_name="model", tooltip="The model with all its parts.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name, dtype):
        return files.stamp(files.models().get(model_name))

    @classmethod
    def execute(cls, model_name, dtype) -> io.NodeOutput:
        folder = files.chosen(files.models(), model_name, "model_name")
        core = load_model(folder, operations=OPERATIONS)
        for part in PARTS:
            module = getattr(core, part)
            if module is not None:
                module.to(offload_device(part), part_dtype(part, dtype))
        return io.NodeOutput(PatchedModel(core, dtype))


class _LoadPart(io.ComfyNode):
    """A loader of one part; subclasses say which."""

    PART: str
    NODE_ID: str
    TITLE: str
    FILE_TOOLTIP: str

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id=cls.NODE_ID,
            display_name=f"DreamAudio Replace {cls.TITLE}",
            category=f"{CATEGORY}/parts",
            description=f"Puts another {cls.TITLE} into a model; the model's other parts stay as "
            "they are.",
            inputs=[
                Model.Input("model", tooltip="The model whose part is replaced."),
                io.Combo.Input(
                    "file", options=list(files.parts(cls.PART)), tooltip=cls.FILE_TOOLTIP
                ),
            ],
            outputs=[
                Model.Output(display_name="model", tooltip="The model with the part replaced.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file, model=None):
        return files.stamp(files.parts(cls.PART).get(file))

    @classmethod
    def execute(cls, model, file) -> io.NodeOutput:
        path = files.chosen(files.parts(cls.PART), file, "file")
        dtype = part_dtype(cls.PART, model.dtype)
        module = cls.build(path, model, dtype, offload_device(cls.PART))
        return io.NodeOutput(model.with_part(cls.PART, module))

    @classmethod
    def build(cls, path, model, dtype, device):
        raise NotImplementedError


class LoadFlow(_LoadPart):
    PART, NODE_ID, TITLE = "flow", "DreamAudioLoadFlow", "Flow"
    FILE_TOOLTIP = "Weights of an MRC UNet that was trained with this model's VAE and text encoder."

    @classmethod
    def build(cls, path, model, dtype, device):
        return load_part("flow", path, operations=OPERATIONS, dtype=dtype, device=device)


class LoadVAE(_LoadPart):
    PART, NODE_ID, TITLE = "vae", "DreamAudioLoadVAE", "VAE"
    FILE_TOOLTIP = (
        "Weights of a mel VAE: DreamAudio's own, AudioLDM's or FlowSep's as safetensors, or a "
        "diffusers file."
    )

    @classmethod
    def build(cls, path, model, dtype, device):
        # The weights of a diffusers folder are no use without the config beside them.
        source = path.parent if path.name == "diffusion_pytorch_model.safetensors" else path
        return load_part("vae", source, operations=OPERATIONS, dtype=dtype, device=device)


class LoadVocoder(_LoadPart):
    PART, NODE_ID, TITLE = "vocoder", "DreamAudioLoadVocoder", "Vocoder"
    FILE_TOOLTIP = (
        "Weights of a BigVGAN that was made for the model's mel spectrogram, converted to "
        "safetensors."
    )

    @classmethod
    def build(cls, path, model, dtype, device):
        return load_part("vocoder", path, operations=OPERATIONS, dtype=dtype, device=device)


class LoadTextEncoder(_LoadPart):
    PART, NODE_ID, TITLE = "text_encoder", "DreamAudioLoadTextEncoder", "Text Encoder"
    FILE_TOOLTIP = (
        "Folder of the text encoder that the network was trained with, in transformers' layout."
    )

    @classmethod
    def build(cls, path, model, dtype, device):
        return load_text_encoder(path, model.config.text, OPERATIONS, dtype, device)


NODES = [LoadModel, LoadFlow, LoadVAE, LoadVocoder, LoadTextEncoder]
