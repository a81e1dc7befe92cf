"""Arrange References: where each reference sounds, before anything is sampled."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import comfy.model_management
from comfy_api.latest import io, ui

from ..dreamaudio_core.arranging import check_arrangement
from ..dreamaudio_core.errors import InputError
from ..dreamaudio_core.rendering.slots import ReferenceSlots
from ..dreamaudio_core.scene.timeline import MISSING_CHOICES, Arrangement
from ..dreamaudio_core.text_stages import Conditioning as CoreConditioning
from .parts import PatchedModel, vae_memory
from .routes import outline
from .types import CATEGORY, Conditioning, Model, aliases, seconds_input
from .types import Arrangement as ArrangementType

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlacedReferences:
    """What travels from Arrange References, so that another seed encodes nothing again.

    Parameters
    ----------
    arrangement
        Where each reference sounds.
    conditioning
        Texts and references, those of the starter library after the given ones.
    given
        How many references were given.
    slots
        The references as the model's network takes them.
    """

    arrangement: Arrangement
    conditioning: CoreConditioning
    given: int
    slots: ReferenceSlots


def check_conditioning(conditioning, model: PatchedModel) -> None:
    """Refuse conditioning that another model encoded.

    Raises
    ------
    InputError
        If its features or its number of references do not fit.
    """
    found = conditioning.prompt_tokens.features.shape[-1]
    if found != model.config.text.dim:
        raise InputError(
            f"conditioning: its text features have size {found}, the model expects "
            f"{model.config.text.dim}; encode the captions with the same model"
        )
    if len(conditioning.references) > model.core.max_references:
        raise InputError(
            f"conditioning: holds {len(conditioning.references)} references, this model takes at "
            f"most {model.core.max_references}; encode the captions with the same model"
        )


def _with_library(
    model: PatchedModel, conditioning: CoreConditioning, missing: str
) -> tuple[CoreConditioning, str]:
    """Conditioning with the starter library's sounds, if they are wanted, and what is missing
    then.
    """
    reader = model.load("text_encoder")
    references = conditioning.references
    found, missing = reader.add_library_sounds(conditioning.prompt, references, missing)
    added = found[len(references) :]
    return (
        reader.extend(conditioning.to(reader.device), added) if added else conditioning
    ), missing


class ArrangeReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioArrangeReferences",
            display_name="DreamAudio Arrange References",
            category=CATEGORY,
            description="Works out from the prompt when each reference plays, and shows it "
            "before anything is sampled.",
            **aliases("timeline", "placement", "sequence", "arrange", "starter library"),
            inputs=[
                Model.Input(
                    "model",
                    tooltip="The model whose arranger reads the prompt and "
                    "whose VAE encodes the references.",
                ),
                Conditioning.Input(
                    "conditioning", tooltip="Prompt and references of DreamAudio Encode Caption."
                ),
                seconds_input(
                    "Length of the result in seconds. A model works best at the length it was "
                    "trained on (mini: 10.24)."
                ),
                io.Combo.Input(
                    "missing",
                    options=list(MISSING_CHOICES),
                    default="auto",
                    tooltip="What to do about parts of the prompt that have no reference. "
                    "library: use matching sounds of the starter library; generate: let the "
                    "network make them; silence: play the references only; auto: library if the "
                    "model prefers it (mini does), then generate whatever is still missing.",
                ),
                io.String.Input(
                    "timeline",
                    multiline=True,
                    default="",
                    tooltip="Empty: read from the prompt. Otherwise an arrangement as JSON, such "
                    "as the second output or the output of `dreamaudio arrange --json`, edited "
                    "as you like.",
                ),
            ],
            outputs=[
                ArrangementType.Output(
                    display_name="arrangement", tooltip="Where each reference sounds."
                ),
                io.String.Output(
                    display_name="timeline",
                    tooltip="The same as JSON, to be edited and given back.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, conditioning, seconds, missing, timeline) -> io.NodeOutput:
        check_conditioning(conditioning, model)
        given = len(conditioning.references)
        drawn = None
        if timeline.strip():
            drawn = replace(Arrangement.from_json(timeline, "timeline"), seconds=seconds)
        # A timeline names the library's sounds after the given ones, if it has any.
        if drawn is None or len(drawn.references) > given:
            conditioning, keep = _with_library(model, conditioning, missing)
        else:
            keep = "silence" if missing == "library" else missing
        if drawn is not None:
            drawn = drawn if keep == "auto" else replace(drawn, missing=keep)
            arrangement = check_arrangement(drawn, conditioning.references, "timeline")
        else:
            reader = model.load("text_encoder", "arranger")
            arrangement = reader.arrange(conditioning.to(reader.device), seconds, missing=keep)
        core = model.load("vae", memory_required=vae_memory(model, seconds, 1))
        slots = core.encode_references(conditioning.references, arrangement)
        log.info(
            "DreamAudio: arranged and encoded %d references for %g s",
            len(arrangement.references),
            seconds,
        )
        placed = PlacedReferences(
            arrangement,
            conditioning.to(comfy.model_management.intermediate_device()),
            given,
            slots.to(comfy.model_management.intermediate_device()),
        )
        warnings = [*conditioning.warnings, *core.weak_warnings(arrangement)]
        text = "\n".join([*warnings, *arrangement.describe()])
        return io.NodeOutput(
            placed,
            arrangement.to_json(indent=2),
            ui={
                **ui.PreviewText(text or "no references").as_dict(),
                # What the timeline in the browser draws.
                "arrangement": [arrangement.to_json()],
                "sounds": [outline(reference) for reference in conditioning.references],
            },
        )


NODES = [ArrangeReferences]
