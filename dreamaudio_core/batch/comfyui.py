"""Scenes on ComfyUI servers: one worker a server, all of one journal.

A job has an id of ours, which the journal holds before the server does. So whatever ends first, the
server, the answer or this process, the id tells whether a job waits, is done, or has to be queued
again.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any, Callable, Iterator

from ..errors import DreamAudioError, InputError
from ..files import file_digest
from ..scene.scenes import Scene
from .batch import Batch, Row
from .server import Server, ServerGone, ServerRefuses
from .workflow import Graph, fill_workflow

POLL = 0.5
LOST = 5
"""How often a server may lose a job before the scene counts as failed."""


class Stopped(Exception):
    """The run ends, and nothing more may be written."""


class Jobs:
    """Rows that wait, shared by the workers of all servers.

    Parameters
    ----------
    batch
        Where results go.
    rows
        To be rendered.
    servers
        Those that have a worker.
    """

    def __init__(self, batch: Batch, rows: list[Row], servers: list[Server]):
        self.batch, self.lock, self.stop = batch, threading.RLock(), threading.Event()
        self.error: BaseException | None = None
        self.unresolved = len(rows)
        self._shared = deque(rows)
        self._working = {server.url for server in servers}
        self._queued = _queued_before(batch.journal.records, rows)

    def take(self, server: Server) -> tuple[Row, str] | None:
        """The next row for a server and the id of its job; None if those that are left have jobs on
        other servers.
        """
        with self.lock:
            places = {row.name: self._queued.get(row.name, ("", ""))[0] for row in self._shared}
            free = [row for row in self._shared if places[row.name] not in self._working]
            mine = [row for row in self._shared if places[row.name] == server.url]
            for row in (mine + free)[:1]:
                self._shared.remove(row)
                known = self._queued[row.name][1] if mine else str(uuid.uuid4())
                return row, known
            return None

    def queued(self, row: Row, server: Server, prompt_id: str) -> None:
        """Record that a job is about to be queued."""
        with self._writing():
            if self._queued.get(row.name) == (server.url, prompt_id):
                return
            self.batch.journal.append(
                {
                    "event": "queued",
                    "name": row.name,
                    "scene": row.digest,
                    "server": server.url,
                    "prompt_id": prompt_id,
                }
            )
            self._queued[row.name] = (server.url, prompt_id)

    def give_up(self, server: Server, row: Row) -> None:
        """Let the other servers have a server's row."""
        with self.lock:
            self._working.discard(server.url)
            self._shared.append(row)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self.lock:
            if self.stop.is_set():
                raise Stopped
            yield

    def done(self, row: Row, names: list[str], **details: Any) -> list[Path]:
        """See `Batch.done`."""
        with self._writing():
            paths = self.batch.done(row, names, **details)
            self.unresolved -= 1
            return paths

    def failed(self, row: Row, reason: str) -> None:
        """See `Batch.failed`."""
        with self._writing():
            self.batch.failed(row, reason)
            self.unresolved -= 1


def _queued_before(records: list[dict[str, Any]], rows: list[Row]) -> dict[str, tuple[str, str]]:
    """Server and id of jobs that an earlier process queued and did not see the end of."""
    wanted = {row.name: row.digest for row in rows}
    found: dict[str, tuple[str, str]] = {}
    for record in records:
        name = record.get("name", "")
        if record.get("event") == "queued" and wanted.get(name) == record["scene"]:
            found[name] = (record["server"], record["prompt_id"])
        else:
            found.pop(name, None)
    return found


class Worker:
    """Renders rows on one server.

    Parameters
    ----------
    server, jobs, graph
        Where, what, and with which workflow.
    patience
        Seconds for which a server may be silent.
    told
        Called with the paths of each result, or with a sentence.
    """

    def __init__(
        self,
        server: Server,
        jobs: Jobs,
        graph: Graph,
        patience: float,
        told: Callable[[str, list[Path]], None],
    ):
        self.server, self.jobs, self.graph = server, jobs, graph
        self.patience, self.told = patience, told

    def run(self) -> None:
        """Work until no row is left or the server is given up; errors end in `jobs.error`."""
        try:
            while self.jobs.unresolved and not self.jobs.stop.is_set():
                taken = self.jobs.take(self.server)
                if taken is None:
                    # Another server may yet give a row back.
                    self.jobs.stop.wait(POLL)
                elif not self._work(*taken):
                    return
        except Stopped:
            return
        except BaseException as error:
            self.jobs.error = error
            self.jobs.stop.set()

    def _work(self, row: Row, prompt_id: str) -> bool:
        """Whether the server is still there."""
        try:
            entry, prompt_id = self._follow(row, prompt_id)
            if entry is not None:
                paths = self._keep(row, entry, prompt_id)
                self.told("", paths)
            return True
        except ServerGone as error:
            self.jobs.give_up(self.server, row)
            self.told(f"{error}; given up, its scenes go to the others", [])
            return False
        except (DreamAudioError, ServerRefuses) as error:
            if isinstance(error, DreamAudioError) and isinstance(error.__cause__, OSError):
                # Nothing more can be written.
                raise
            self.jobs.failed(row, str(error))
            self.told(f"failed: {row.name}: {error}", [])
            return True

    def _follow(self, row: Row, prompt_id: str) -> tuple[dict[str, Any] | None, str]:
        """The history's entry of a row's job, queued as often as the server loses it."""
        queued = 0
        while not self.jobs.stop.is_set():
            entry = self._ask(lambda: self.server.result(prompt_id))
            if entry is not None:
                return entry, prompt_id
            if self._ask(lambda: self.server.is_waiting(prompt_id)):
                self.jobs.stop.wait(POLL)
                continue
            # It may have ended between the two questions.
            entry = self._ask(lambda: self.server.result(prompt_id))
            if entry is not None:
                return entry, prompt_id
            if queued == LOST:
                raise InputError(
                    f"{self.server.url} lost the job {LOST} times; see the server's log"
                )
            queued += 1
            prompt_id = self._queue(row, prompt_id)
        return None, prompt_id

    def _queue(self, row: Row, prompt_id: str) -> str:
        uploaded = [self._upload(r.audio) for r in row.scene.references if r.audio is not None]
        graph = fill_workflow(self.graph, row.scene, uploaded, f"dreamaudio_batch/{prompt_id}")
        self.jobs.queued(row, self.server, prompt_id)
        try:
            known = self.server.queue(graph, prompt_id)
        except ServerGone:
            # Whether it was queued all the same is asked for next.
            return prompt_id
        # Servers that choose their own ids.
        self.jobs.queued(row, self.server, known)
        return known

    def _upload(self, path: Path) -> str:
        """Name of a file in the server's input folder, which is that of its content."""
        try:
            name = f"scene_{file_digest(path)[:32]}{path.suffix.lower()}"
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if not self._ask(lambda: self.server.has_input(name, size)):
            self._ask(lambda: self.server.upload(name, path))
        return name

    def _keep(self, row: Row, entry: dict[str, Any], prompt_id: str) -> list[Path]:
        """Fetch the results of an entry of the history."""
        status = entry.get("status") or {}
        if status.get("status_str") == "error":
            raise InputError(_reason(status))
        files = [
            file
            for output in (entry.get("outputs") or {}).values()
            for files in output.values()
            if isinstance(files, list)
            for file in files
            if isinstance(file, dict) and file.get("filename") and file.get("type") == "output"
        ]
        if not files:
            raise InputError("the workflow saved no file; add a node such as Save Audio")
        names = []
        for number, file in enumerate(files, 1):
            # A server names only the kind of file; all else would be let into our folder.
            suffix = re.search(r"\.[A-Za-z0-9]{1,5}$", str(file["filename"]))
            name = row.name if number == 1 else f"{row.name}_{number}"
            names.append(name + (suffix[0].lower() if suffix else ".bin"))
            staged = self.jobs.batch.staged(names[-1])
            try:
                self._ask(lambda: self.server.fetch(file, staged))
            except OSError as error:
                raise InputError(f"{staged}: cannot be written ({error.strerror})") from error
        return self.jobs.done(row, names, server=self.server.url, prompt_id=prompt_id)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer to a question, asked until the server has been silent for too long."""
        began, wait = time.monotonic(), POLL
        while True:
            try:
                return question()
            except ServerGone:
                if time.monotonic() - began > self.patience or self.jobs.stop.is_set():
                    raise
            self.jobs.stop.wait(wait)
            wait = min(2.0 * wait, 10.0)


def _reason(status: dict[str, Any]) -> str:
    for kind, data in status.get("messages") or []:
        if kind == "execution_error":
            return f"{data.get('node_type')}: {data.get('exception_message', '').strip()}"
        if kind == "execution_interrupted":
            return "was cancelled on the server"
    return "ended with an error that the server does not tell"


def check_scene(graph: Graph, scene: Scene) -> None:
    """Refuse a scene for which a workflow has no place, before anything is sent.

    Raises
    ------
    InputError
        See `fill_workflow`.
    """
    fill_workflow(graph, scene, [r.audio.name if r.audio else "" for r in scene.references], "")
