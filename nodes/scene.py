"""Scene: the whole chain in one node, for the first hour."""

from functools import lru_cache

from comfy_api.latest import io, ui

from . import files
from .arranging import ArrangeReferences
from .codec import BigVGANVocode, VAEDecode
from .conditioning import EncodeCaption, reference_inputs
from .detail import ReferenceDetail
from .loaders import LoadModel
from .parts import PatchedModel
from .sampling import OWN, MRCFlowSampler
from .types import CATEGORY, Mel, Model, aliases, seconds_input, seed_input

EMBEDDED = "mini"
# Solver steps; 0 is the model's own number.
QUALITY = {"draft": 8, "normal": 0, "high": 64}


@lru_cache(maxsize=1)
def _embedded(stamp: str) -> PatchedModel:
    """The embedded model; `stamp` changes when its files do."""
    return LoadModel.execute(EMBEDDED, "auto").args[0]


class Scene(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DreamAudioScene",
            display_name="DreamAudio Scene",
            category=CATEGORY,
            description="Prompt and references in, sound out: the whole chain in one node, with "
            "the model's own settings.",
            **aliases("sound effect", "sfx", "foley", "ambience", "text to audio"),
            inputs=[
                io.String.Input(
                    "prompt",
                    multiline=True,
                    default="",
                    tooltip="Description of the scene; it decides when each reference plays "
                    "('first ..., then ...').",
                ),
                seconds_input("Length of the result in seconds; mini works best at 10.24."),
                seed_input("A different seed gives a different take."),
                io.Combo.Input(
                    "quality",
                    options=list(QUALITY),
                    default="normal",
                    tooltip=f"draft: {QUALITY['draft']} solver steps; normal: the model's own "
                    f"number; high: {QUALITY['high']}.",
                ),
                reference_inputs(),
                Model.Input(
                    "model", optional=True, tooltip=f"Another model than the embedded {EMBEDDED}."
                ),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="The sound."),
                Mel.Output(display_name="mel", tooltip="For DreamAudio Mel Preview."),
            ],
        )

    @classmethod
    def execute(
        cls, prompt, seconds, seed, quality, references=None, model=None, **beyond
    ) -> io.NodeOutput:
        model = model or _embedded(files.stamp(files.models().get(EMBEDDED)))
        conditioning = EncodeCaption.execute(model, prompt, "", references, **beyond).args[0]
        arranged = ArrangeReferences.execute(model, conditioning, seconds, "auto", "")
        arrangement = arranged.args[0]
        sampled = MRCFlowSampler.execute(
            model,
            conditioning,
            arrangement,
            seed,
            steps=QUALITY[quality],
            guidance=-1.0,
            reference_guidance=-1.0,
            solver=OWN,
            shift=0.0,
            batch_size=1,
            variation=0.0,
            denoise=1.0,
        )
        mel = VAEDecode.execute(model, sampled.args[0]).args[0]
        vocoded = BigVGANVocode.execute(model, mel).args[0]
        detailed = ReferenceDetail.execute(model, vocoded, mel, arrangement, -1.0, "auto")
        told = [*arranged.ui["text"], *_texts(sampled), *_texts(detailed)]
        return io.NodeOutput(detailed.args[0], mel, ui=ui.PreviewText("\n".join(told)))


def _texts(output: io.NodeOutput) -> tuple[str, ...]:
    return output.ui.as_dict()["text"] if output.ui else ()


NODES = [Scene]
