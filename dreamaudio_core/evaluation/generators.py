"""Systems under test: what `ctta` asks of one, and the one that is this project's own pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from ..audio.resample import resample
from ..files import content_digest
from ..rendering.detail import SAMPLE_RATES
from ..scene.scenes import SceneReference

if TYPE_CHECKING:
    from ..pipeline import DreamAudio


class Generator(Protocol):
    """A text-to-audio system, with or without use of references.

    Attributes
    ----------
    name : str
        The system, as reports call it.
    sample_rate : int
        Rate in Hz of what it returns.
    identity : str
        Changes whenever the same prompt, references and seed would give another sound: weights and
        settings.
    """

    name: str
    sample_rate: int
    identity: str

    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for one prompt."""


class PipelineGenerator:
    """This project's pipeline as a `Generator`.

    Parameters
    ----------
    model : DreamAudio
        A loaded model.
    name : str
        The system, as reports call it.
    identity : str
        Identity of the model's weights; settings are added to it.
    options : Any
        Options of `DreamAudio.generate`, such as `steps`, `guidance` or `free`.
    """

    # Whether `generate` takes what a scene sets besides prompt and references.
    takes_settings = True

    def __init__(self, model: DreamAudio, name: str, identity: str, **options: Any):
        self.model = model
        self.name = name
        self.options = options
        self.sample_rate = model.config.audio.sample_rate
        self.identity = "\0".join([identity, *(f"{k}={v!r}" for k, v in sorted(options.items()))])

    def generate(
        self,
        prompt: str,
        references: Sequence[SceneReference],
        seed: int,
        own: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Waveform [T] at the model's rate, whatever the references' own rates and channels are.

        `own` are settings of a scene, which come before the model's; the system's come before both.
        """
        loaded = [r.load(f"reference {i}") for i, r in enumerate(references, 1)]
        rate = str(self.sample_rate) if self.sample_rate in SAMPLE_RATES else "auto"
        given = {**(own or {}), **self.options, "sample_rate": rate}
        result = self.model.generate(prompt, loaded, seeds=[seed], **given)
        return resample(result.waveforms[0].mean(dim=0), result.sample_rate, self.sample_rate)


def load_pipeline_generator(
    name: str,
    device: str = "cpu",
    parts: dict[str, Any] | None = None,
    guidance: float | None = None,
    reference_guidance: float | None = None,
    **options: Any,
) -> PipelineGenerator:
    """The embedded model or a model folder as a `Generator`, identified by the content of its
    files.

    Parameters
    ----------
    name : str
        Embedded model, model folder, or a preset with all its parts.
    device : str
        Where it runs.
    parts : dict of str to str or Path, optional
        Other parts than the model's own, by their names in `load_model`.
    guidance, reference_guidance : float, optional
        Guidance scales; the pipeline's own by default.
    options : Any
        Further options of `DreamAudio.generate`.

    Raises
    ------
    CheckpointError, InputError
        If the model cannot be loaded, or a scale is out of range.
    """
    from ..loading import load_model
    from ..weights.folder import model_digest

    scales = {"guidance": guidance, "reference_guidance": reference_guidance}
    options.update({name: value for name, value in scales.items() if value is not None})
    model = load_model(name, device=device, **(parts or {}))
    identity = [
        model_digest(name),
        *(f"{k}={content_digest(v)}" for k, v in sorted((parts or {}).items())),
    ]
    return PipelineGenerator(model, Path(name).name, "\0".join(identity), **options)
