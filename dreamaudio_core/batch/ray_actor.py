"""A worker of a batch that is spread with Ray: one loaded model on one device.

Results are written where they are made if the worker sees the batch's folder; else they travel
through Ray's object store, as do the sounds of the scene.
"""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from ..errors import DreamAudioError
from ..scene.scenes import Scene
from .batch import synced_digest
from .rendering import Rendered, Renderer, Settings


@dataclass(frozen=True)
class Mark:
    """A file of the batch's folder, by which a worker knows that it sees the same folder."""

    path: Path
    text: str

    def seen(self) -> bool:
        """Whether the file is here, with its text."""
        try:
            return self.path.read_text(encoding="ascii") == self.text
        except (OSError, ValueError):
            return False


@dataclass(frozen=True)
class Started:
    """A worker that has loaded the model, or why it has not."""

    machine: str
    shared: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Made:
    """What became of a scene, and its file where no folder is shared."""

    rendered: Rendered
    content: bytes | None = None


class Worker:
    """What runs inside an actor.

    Parameters
    ----------
    settings, maker
        Of the batch; a model with other digests is refused.
    mark
        Of the batch's folder.
    threads
        Of PyTorch; 0 leaves them as they are.
    renderer
        What renders; another than `Renderer` for measurements.
    """

    def __init__(
        self,
        settings: Settings,
        maker: dict[str, str],
        mark: Mark,
        threads: int = 0,
        renderer: Callable[[Settings], Renderer] = Renderer,
    ):
        self._settings, self._maker, self._mark = settings, maker, mark
        self._threads, self._make = threads, renderer
        self._renderer: Renderer | None = None
        self._shared = False

    def start(self) -> Started:
        """Load the model, once."""
        machine = socket.gethostname()
        try:
            if self._renderer is None:
                if self._settings.maker() != self._maker:
                    problem = (
                        f"{machine}: the model differs from that of the command; copy it again"
                    )
                    return Started(machine, problem=problem)
                if self._threads:
                    import torch

                    torch.set_num_threads(self._threads)
                self._renderer = self._make(self._settings)
                self._shared = self._mark.seen()
        except DreamAudioError as error:
            return Started(machine, problem=f"{machine}: {error}")
        return Started(machine, self._shared)

    def render(self, scene: Scene, path: Path, names: list[Path] | None, *sounds: bytes) -> Made:
        """Render a scene to `path`.

        Where `names` are given, the references' files of these names come as `sounds`, and the
        result goes back as bytes.
        """
        assert self._renderer is not None
        if names is None:
            rendered = self._renderer.render(scene, path)
            if not rendered.reason:
                rendered = replace(rendered, sha256=synced_digest(path))
            return Made(rendered)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            local = folder / path.name
            rendered = self._renderer.render(
                _brought(scene, dict(zip(names, sounds)), folder), local
            )
            return Made(rendered, None if rendered.reason else local.read_bytes())


def _brought(scene: Scene, sounds: dict[Path, bytes], folder: Path) -> Scene:
    """The scene with its sounds as files of `folder`."""
    references = []
    for number, reference in enumerate(scene.references):
        if reference.audio is not None:
            file = folder / f"reference{number}{reference.audio.suffix}"
            file.write_bytes(sounds[reference.audio])
            reference = replace(reference, audio=file)
        references.append(reference)
    return replace(scene, references=tuple(references))
