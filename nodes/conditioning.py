"""Encode Caption: prompt, negative prompt and references to conditioning."""

import comfy.model_management
from comfy_api.latest import io

from ..dreamaudio_core.errors import InputError
from .types import CATEGORY, Conditioning, Model, References, aliases

MAX_REFERENCES = 8


def reference_inputs() -> io.Autogrow.Input:
    """Inputs for references, a further one as each is used."""
    # Not marked optional: ComfyUI 0.8 reads required templates only, and `min` says that none is
    # needed.
    template = io.Autogrow.TemplatePrefix(
        References.Input(
            "reference",
            tooltip="A sound with its caption; the next input appears once this one is connected.",
        ),
        prefix="reference",
        min=0,
        max=MAX_REFERENCES,
    )
    return io.Autogrow.Input("references", template=template, tooltip="None to eight references.")


class EncodeCaption(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioEncodeCaption",
            display_name="DreamAudio Encode Caption",
            category=CATEGORY,
            description="Encodes the prompt, the negative prompt and the captions of the "
            "references.",
            **aliases("text to audio", "prompt", "sound effect"),
            inputs=[
                Model.Input("model", tooltip="Its text encoder is used."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="Description of the scene; it decides when each reference plays "
                    "('first ..., then ...').",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    tooltip="What to avoid (optional).",
                ),
                reference_inputs(),
            ],
            outputs=[
                Conditioning.Output(
                    display_name="conditioning",
                    tooltip="Encoded texts and the references, for the sampler.",
                )
            ],
        )

    @classmethod
    def execute(cls, model, prompt, negative_prompt, references=None, **beyond) -> io.NodeOutput:
        if beyond or not isinstance(references, dict | None):
            found = ", ".join(sorted(beyond)) or type(references).__name__
            raise InputError(
                "references: expected inputs references.reference0 to "
                f"references.reference{MAX_REFERENCES - 1}, found {found}; rename or disconnect "
                "them"
            )
        named = sorted(
            (references or {}).items(), key=lambda item: int(item[0].removeprefix("reference"))
        )
        given = [reference for _, group in named if group is not None for reference in group]
        core = model.load("text_encoder")
        conditioning = core.condition(prompt, given, negative_prompt)
        return io.NodeOutput(conditioning.to(comfy.model_management.intermediate_device()))


NODES = [EncodeCaption]
