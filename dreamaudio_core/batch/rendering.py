"""Rendering scenes to files with one loaded model, the same in this process and in a worker."""

from __future__ import annotations

import errno
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import DreamAudioError, InputError
from ..scene.scenes import Scene

if TYPE_CHECKING:
    from ..pipeline import DreamAudio

# After one of these every further scene would fail alike.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Settings:
    """What decides the results of a batch apart from its scenes.

    Parameters
    ----------
    model
        Embedded model or model folder.
    parts
        Weight files that replace parts of the model, by name.
    device
        Where to compute; `auto` takes a GPU if there is one.
    format
        Suffix of the results, without a dot.
    level
        One of `audio.levels.LEVELS`.
    """

    model: str
    parts: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    format: str = "wav"
    level: str = "as is"

    def absolute(self) -> Settings:
        """The same with paths that do not depend on the working folder."""
        from ..weights.folder import MODELS, find_config

        parts = {part: _absolute(path) for part, path in self.parts.items()}
        # An embedded model may lie elsewhere on another machine.
        _, folder = find_config(self.model)
        named = folder is None or folder.parent == MODELS
        return replace(self, model=self.model if named else _absolute(self.model), parts=parts)

    def maker(self) -> dict[str, str]:
        """Digests that the journal keeps, so that no other model continues the batch."""
        from ..files import content_digest
        from ..weights.folder import model_digest

        return {
            "command": "batch",
            "model": model_digest(self.model),
            "format": self.format,
            "level": self.level,
            **{part: content_digest(path) for part, path in self.parts.items()},
        }


@dataclass(frozen=True)
class Rendered:
    """What became of one scene.

    Parameters
    ----------
    details
        For the journal, where there is a file.
    reason
        Why there is none; empty where there is one.
    trace
        Traceback, where the reason is no fault of input.
    no_room
        Whether nothing more can be written.
    sha256
        Of the file, if it is on disk already; empty leaves both to `Batch.done`.
    """

    details: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    trace: str = ""
    no_room: bool = False
    sha256: str = ""


class Renderer:
    """A loaded model that renders scenes.

    Raises
    ------
    CheckpointError, InputError
        If the model cannot be loaded, or there is no such device.
    """

    def __init__(self, settings: Settings):
        from ..device import resolve_device
        from ..loading import load_model

        self._level = settings.level
        self._model: DreamAudio = load_model(
            settings.model,
            device=resolve_device(settings.device),
            **cast(dict[str, Any], settings.parts),
        )

    def render(self, scene: Scene, path: Path) -> Rendered:
        """Render one scene to a file; what goes wrong is told, not raised."""
        try:
            return Rendered(self._write(scene, path))
        except Exception as error:
            # One scene must not end a long night.
            return failure(error, scene.name)

    def _write(self, scene: Scene, path: Path) -> dict[str, Any]:
        from ..audio.levels import set_level
        from ..audio.write import write_audio

        began = time.monotonic()
        result = self._model.generate(**scene.arguments())
        rate = result.sample_rate
        write_audio(path, set_level(result.waveforms[0].cpu(), rate, self._level)[0], rate)
        return {
            "seed": scene.seed,
            "seconds": result.arrangement.seconds,
            "sample_rate": rate,
            "warnings": list(result.warnings),
            "took": round(time.monotonic() - began, 3),
        }


def _absolute(path: str) -> str:
    """An absolute path; what is none, such as a hub id, stays."""
    found = Path(path).expanduser()
    return str(found.absolute()) if found.exists() else path


def failure(error: Exception, name: str) -> Rendered:
    """Why a scene has no result; what is no fault of input is told in full."""
    if isinstance(error, DreamAudioError):
        return Rendered(reason=str(error).removeprefix(f"{name}: "), no_room=_no_room(error))
    trace = "".join(traceback.format_exception(error))
    return Rendered({}, f"{type(error).__name__}: {error}", trace, _no_room(error))


def no_room(reason: str) -> InputError:
    """The error that ends a batch where nothing more can be written."""
    return InputError(f"{reason}; free the disk and start the same command again")


def _no_room(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return True
        cause = cause.__cause__
    return False
