"""A batch spread over devices with Ray: one actor a device, on this machine or a cluster.

The journal stays with the command. An actor that ends is replaced, and its scene rendered once
more; each try writes a file of its own, so that a worker that was only thought lost changes
nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import secrets
import shutil
import sys
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator

from ..errors import InputError
from ..scene.scenes import Scene
from .batch import Batch, Row
from .ray_actor import Made, Mark, Worker
from .rendering import Rendered, Renderer, Settings, no_room

MAX_ENDS = 3
"""So many workers may end over one scene, or while one actor loads its model."""
WAIT_SECONDS = 60.0
KEPT_SOUNDS = 256
LOCAL = "local"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """Where to render.

    Parameters
    ----------
    address
        Of a running Ray cluster, `auto` for the one of this machine; `local` starts Ray here.
    actors
        How many; None takes one a GPU, or one a machine where there are none.
    """

    address: str = LOCAL
    actors: int | None = None


@dataclass(eq=False)
class _Actor:
    """An actor and what it does; without a row it loads the model."""

    handle: Any
    row: Row | None = None
    path: Path = Path()
    shared: bool = False
    failed_starts: int = 0


@dataclass
class _Told:
    """The end of a call of an actor."""

    actor: _Actor
    value: Any = None
    error: BaseException | None = None


def render_with_ray(
    batch: Batch,
    rows: list[Row],
    settings: Settings,
    maker: dict[str, str],
    cluster: Cluster,
    renderer: Callable[[Settings], Renderer] = Renderer,
) -> Iterator[tuple[Row, Rendered]]:
    """Render rows in any order; the file of each that has one is staged.

    Raises
    ------
    InputError
        If Ray is missing or cannot be reached, or no actor can load the model.
    """
    with contextlib.ExitStack() as stack:
        # Ray prints its notices where the command lists its results.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        ray = _connect(cluster.address)
        # Ends all actors.
        stack.callback(ray.shutdown)
        folder = batch.staged(secrets.token_hex(8)).absolute()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir()
        mark = Mark(folder / "mark", secrets.token_hex(16))
        mark.path.write_text(mark.text, encoding="ascii")
        count, resources, threads = _share(ray, cluster.actors, settings.device)
        # Ray's own restarts do not tell a worker that is being restarted from one that ends again.
        kind = ray.remote(Worker).options(
            max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **resources
        )

        def make() -> Any:
            return kind.remote(settings, maker, mark, threads, renderer)

        crew = _Crew(ray, make, min(count, len(rows)), folder, settings.format)
        yield from crew.outcomes(batch, rows)


def _connect(address: str) -> Any:
    # Ray reports its use to its makers unless told not to, and this is read when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "--ray needs the package ray; install it with: pip install 'dreamaudio[ray]'"
        ) from error
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == LOCAL:
        options["include_dashboard"] = False
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--ray {address}: no cluster can be reached ({reason})") from error
    return ray


def _share(ray: Any, actors: int | None, device: str) -> tuple[int, dict[str, float], int]:
    """How many actors there are, what each gets of a machine, and its threads."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    if sum(gpus) and device != "cpu":
        count = actors or sum(gpus)
        return count, {"num_gpus": 1 / math.ceil(count / sum(gpus)), "num_cpus": 0}, 0
    cpus = [machine["CPU"] for machine in machines if machine.get("CPU")]
    if not cpus:
        raise InputError("--ray: the cluster has neither GPUs nor processors to give")
    count = actors or len(cpus)
    each = math.ceil(count / len(cpus))
    share = min(cpus) / each
    # Ray takes whole processors, or a part of one.
    share = math.floor(share) if share >= 1 else 1 / math.ceil(1 / share)
    return count, {"num_cpus": share}, max(1, int(share))


class _Crew:
    """Gives rows to actors that are free, and those of actors that end to others."""

    def __init__(self, ray: Any, make: Callable[[], Any], count: int, folder: Path, format: str):
        self._ray, self._make, self._folder, self._format = ray, make, folder, format
        self._told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._idle: list[_Actor] = []
        self._ends: Counter[str] = Counter()
        self._tries = 0
        self._problem = ""
        self._sounds: OrderedDict[Path, Any] = OrderedDict()
        self._alive = count
        for _ in range(count):
            self._start(_Actor(make()))

    def outcomes(self, batch: Batch, rows: list[Row]) -> Iterator[tuple[Row, Rendered]]:
        """See `render_with_ray`."""
        self._waiting.extend(rows)
        left = len(rows)
        while left:
            told = self._next()
            row, path = told.actor.row, told.actor.path
            told.actor.row = None
            if row is None:
                self._started(told)
                self._give()
                continue
            made = self._made(told, row)
            # Before the journal's work, so that no device waits for it.
            self._give()
            if made is not None:
                left -= 1
                if not made.rendered.reason:
                    _stage(path, batch.staged(f"{row.name}.{self._format}"), made.content)
                yield row, made.rendered

    def _start(self, actor: _Actor) -> None:
        self._call(actor, actor.handle.start.remote())

    def _replace(self, actor: _Actor) -> None:
        """Another worker for one that has ended, or cannot be reached."""
        self._ray.kill(actor.handle)
        actor.handle = self._make()
        self._start(actor)

    def _call(self, actor: _Actor, reference: Any) -> None:
        def ended(future: Any) -> None:
            error = future.exception()
            self._told.put(_Told(actor, None if error else future.result(), error))

        reference.future().add_done_callback(ended)

    def _next(self) -> _Told:
        while True:
            try:
                return self._told.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                free = self._ray.available_resources()
                known = {name: free.get(name, 0) for name in ("CPU", "GPU")}
                log.warning("no actor has answered for %g s; free: %s", WAIT_SECONDS, known)

    def _started(self, told: _Told) -> None:
        """An actor has loaded the model, or has not.

        Raises
        ------
        InputError
            If no actor is left.
        """
        actor = told.actor
        if isinstance(told.error, self._ray.exceptions.RayActorError):
            actor.failed_starts += 1
            self._problem = f"a worker ended while it loaded the model ({_first_line(told.error)})"
            if actor.failed_starts < MAX_ENDS:
                self._replace(actor)
                return
        elif told.error is not None:
            self._problem = f"a worker could not load the model ({_first_line(told.error)})"
        elif told.value.problem:
            self._problem = told.value.problem
        else:
            actor.shared, actor.failed_starts = told.value.shared, 0
            self._idle.append(actor)
            return
        log.warning("%s", self._problem)
        self._alive -= 1
        if not self._alive:
            raise InputError(self._problem)

    def _made(self, told: _Told, row: Row) -> Made | None:
        """What became of a row; None where it waits again."""
        if not isinstance(told.error, self._ray.exceptions.RayActorError):
            self._idle.append(told.actor)
            if told.error is None:
                return told.value
            return Made(Rendered(reason=_first_line(told.error), trace=str(told.error)))
        self._replace(told.actor)
        self._ends[row.name] += 1
        if self._ends[row.name] < MAX_ENDS:
            self._waiting.appendleft(row)
            return None
        return Made(
            Rendered(reason=f"{MAX_ENDS} workers ended over it, perhaps for lack of memory")
        )

    def _give(self) -> None:
        """Give waiting rows to idle actors."""
        while self._waiting and self._idle:
            actor, row = self._idle.pop(), self._waiting.popleft()
            self._tries += 1
            actor.row = row
            actor.path = self._folder / f"{self._tries}~{row.name}.{self._format}"
            scene = _anywhere(row.scene)
            names, sounds = None, []
            if not actor.shared:
                names = list({r.audio for r in scene.references if r.audio is not None})
                try:
                    sounds = [self._sound(name) for name in names]
                except OSError as error:
                    reason = f"{error.filename}: cannot be read ({error.strerror})"
                    self._told.put(_Told(actor, Made(Rendered(reason=reason))))
                    continue
            self._call(actor, actor.handle.render.remote(scene, actor.path, names, *sounds))

    def _sound(self, path: Path) -> Any:
        """A file in Ray's object store; those that were used last stay there."""
        if path not in self._sounds:
            self._sounds[path] = self._ray.put(path.read_bytes())
        self._sounds.move_to_end(path)
        while len(self._sounds) > KEPT_SOUNDS:
            self._sounds.popitem(last=False)
        return self._sounds[path]


def _stage(made: Path, staged: Path, content: bytes | None) -> None:
    """Put a result where the batch expects it."""
    try:
        if content is None:
            os.replace(made, staged)
        else:
            staged.write_bytes(content)
    except OSError as error:
        raise no_room(f"{staged}: cannot be written ({error.strerror})") from error


def _anywhere(scene: Scene) -> Scene:
    """The scene with paths that do not depend on the working folder."""
    references = (
        r if r.audio is None else replace(r, audio=r.audio.absolute()) for r in scene.references
    )
    return replace(scene, references=tuple(references), target=None, expected=None, extra={})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
