"""Any system under test by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ..generators import Generator, load_pipeline_generator
from .audiogen import AudioGenGenerator
from .audioldm import AudioLDM2Generator, AudioLDMGenerator
from .base import Baseline
from .make_an_audio import MakeAnAudioGenerator
from .retrieval import RetrievalGenerator
from .tango import TangoGenerator

_KINDS: dict[str, type[Baseline]] = {
    cls.KIND: cls
    for cls in (
        AudioLDMGenerator,
        AudioLDM2Generator,
        TangoGenerator,
        AudioGenGenerator,
        MakeAnAudioGenerator,
    )
}
# Pairs that are looked up: one for each event, or Re-AudioLDM's three for the whole prompt.
_RETRIEVING = {"retrieval": None, "re-audioldm": 3}


def load_generator(name: str, device: str = "cpu", **settings: Any) -> Generator:
    """A system under test by its name.

    Parameters
    ----------
    name : str
        `audioldm:FOLDER`, `audioldm2:FOLDER`, `tango:FOLDER`, `audiogen:FOLDER` (instead of a
        folder also a hub id, which is then downloaded) or `make-an-audio:FOLDER`;
        `retrieval:LIBRARY[+MODEL]` (a sound for each event of the prompt) or
        `re-audioldm:LIBRARY[+MODEL]` (three for the whole prompt), with the embedded model by
        default; or else a model of this project.
    device : str
        Where it runs.
    settings : Any
        `steps` and `guidance` for the diffusion baselines, `guidance` for AudioGen, and those of
        `load_pipeline_generator` for this project's models.

    Raises
    ------
    CheckpointError, InputError
        If the weights cannot be read, a package is missing, or the system has no such setting.
    """
    kind, _, source = name.partition(":")
    if kind in _RETRIEVING:
        return _load_retrieval(kind, source, device, settings)
    if kind not in _KINDS:
        return load_pipeline_generator(name, device=device, **settings)
    cls = _KINDS[kind]
    unknown = sorted(set(settings) - set(cls.SETTINGS))
    if unknown:
        raise InputError(
            f"{unknown[0].replace('_', '-')}: {cls.TITLE} has no such setting; it has "
            f"{', '.join(cls.SETTINGS)}"
        )
    try:
        return cls(source, device, **settings)
    except ImportError as error:
        raise InputError(
            f"{name}: the package {error.name or error} is missing; install it with: "
            "pip install 'dreamaudio[baselines]'"
        ) from error


def _load_retrieval(
    kind: str, text: str, device: str, settings: dict[str, Any]
) -> RetrievalGenerator:
    library, model = text, "mini"
    # The name of the library may contain a plus sign itself.
    if not Path(text).expanduser().is_file() and "+" in text:
        library, _, model = text.rpartition("+")
    if not library or not model:
        raise InputError(f"{kind}:{text}: expected {kind}:LIBRARY or {kind}:LIBRARY+MODEL")
    if not Path(library).expanduser().is_file():
        raise InputError(
            f"library {library}: expected the file of a library, found none; create one with: "
            f"dreamaudio library add FOLDER --library {library}"
        )
    pipeline = load_pipeline_generator(model, device=device, **settings)
    return RetrievalGenerator(library, pipeline, device, _RETRIEVING[kind])
