"""Scenes: what to generate, and with which references."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .reference import Reference, chosen_part, load_reference
from .timeline import Placement


@dataclass(frozen=True)
class SceneReference:
    """A reference of a scene: a sound file with its caption, or what stands for the file.

    Parameters
    ----------
    audio
        The file; None where `label` or `seconds` stands for it.
    caption
        What it sounds like.
    start
        Seconds at which it sounds, once at each; None leaves that to the arranger.
    placements
        A whole timeline instead of `start`.
    gain
        Level in the result against the file, in dB.
    strength
        Guidance scale of this reference alone.
    label
        Label of a sound bank, of which any recording will do.
    seconds
        Length of the sound, all that an arranger knows of it.
    name
        What it is called, such as the name of the file.
    begin, end
        Seconds of the file from and up to which it is used, instead of without the silence around
        it; None is the end of the file.
    extra
        Further fields of the file.
    """

    audio: Path | None
    caption: str = ""
    start: tuple[float, ...] | None = None
    placements: tuple[Placement, ...] | None = None
    gain: float = 0.0
    strength: float = 1.0
    label: str = ""
    seconds: float | None = None
    name: str = ""
    begin: float = 0.0
    end: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def file(self, label: str = "reference") -> Path:
        """The sound file; an InputError where a label or a length stands for it."""
        if self.audio is None:
            raise InputError(f"{label}: audio: expected a sound file, found none")
        return self.audio

    def load(self, label: str = "reference") -> Reference:
        """The sound, prepared for the model.

        Raises
        ------
        InputError, AudioError
            If there is no file, or it cannot be used; `label` is how the message names it.
        """
        reference = load_reference(
            self.file(label),
            self.caption,
            self.strength,
            label=label,
            gain=self.gain,
            part=chosen_part(self.begin, self.end),
        )
        if self.placements is not None:
            reference = replace(reference, placements=self.placements)
        elif self.start is not None:
            reference = reference.at(self.start)
        return replace(reference, name=self.name) if self.name else reference


@dataclass(frozen=True)
class Scene:
    """One sound to generate; what is None is the model's own.

    Parameters
    ----------
    prompt
        Description of the whole sound; may be empty where references say it all.
    references
        Its references, in any order.
    name
        Distinguishes it from the others of its file, and names the files made from it.
    seconds
        Length.
    seed
        Random seed.
    negative_prompt
        What to avoid.
    missing
        What becomes of parts of the prompt without a reference: `auto`, `generate`, `silence` or
        `library`.
    free
        Whether the network places the references, as in the paper.
    steps, solver, guidance, reference_guidance, shift, detail, sample_rate, variation
        See `DreamAudio.generate`.
    target
        The true sound that an evaluation compares with, where there is one.
    expected
        What an evaluation expects of the timeline, see `evaluation.timelines`.
    extra
        Further fields of the file.
    """

    prompt: str
    references: tuple[SceneReference, ...] = ()
    name: str = ""
    seconds: float | None = None
    seed: int = 0
    negative_prompt: str = ""
    missing: str = "auto"
    free: bool = False
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    shift: float | None = None
    detail: float | None = None
    sample_rate: str = "auto"
    variation: float = 0.0
    target: Path | None = None
    expected: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def load(self) -> tuple[Reference, ...]:
        """The references, prepared for the model."""
        prefix = f"{self.name}: " if self.name else ""
        return tuple(r.load(f"{prefix}reference {k}") for k, r in enumerate(self.references, 1))

    def settings(self) -> dict[str, Any]:
        """Fields apart from prompt and references that the scene sets, and does not leave to the
        model; always its seed.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        names = ("seconds", "negative_prompt", *SETTINGS)
        given = {name: getattr(self, name) for name in names}
        return {"seed": self.seed, **{n: v for n, v in given.items() if v != defaults[n]}}

    def arguments(self) -> dict[str, Any]:
        """Keywords of `DreamAudio.generate`, with the references loaded."""
        given = {name: getattr(self, name) for name in (*_PLAIN, *SETTINGS)}
        return {**given, "references": self.load(), "seeds": (self.seed,)}


_PLAIN = ("prompt", "seconds", "negative_prompt")
SETTINGS: tuple[str, ...] = (
    "missing",
    "free",
    "steps",
    "solver",
    "guidance",
    "reference_guidance",
    "shift",
)
SETTINGS += ("detail", "sample_rate", "variation")
"""Fields of a scene that are settings of `DreamAudio.generate`."""
SCENE_FIELDS = tuple(f.name for f in dataclasses.fields(Scene) if f.name != "extra")
REFERENCE_FIELDS = tuple(f.name for f in dataclasses.fields(SceneReference) if f.name != "extra")
