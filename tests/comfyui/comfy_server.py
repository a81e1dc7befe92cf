"""A real ComfyUI as a subprocess: found, started, given graphs, followed over its websocket,
stopped.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import requests
import websocket

from ports import free_port
from slow import slow_down

PACK = Path(__file__).resolve().parents[2]
START_SECONDS = 400
RUN_SECONDS = 600


def find_comfyui() -> tuple[Path | None, str]:
    """ComfyUI's folder, or `None` and where it was looked for."""
    given = os.environ.get("COMFYUI_PATH")
    places = [Path(given)] if given else [PACK.parents[1], Path.home() / "comfy" / "ComfyUI"]
    for place in places:
        if (place / "main.py").is_file() and (place / "comfy").is_dir():
            return place, ""
    return None, "no ComfyUI found in " + ", ".join(map(str, places)) + "; set COMFYUI_PATH"


def interpreter(comfyui: Path) -> str:
    """The Python that runs this ComfyUI."""
    for name in (".venv/bin/python", ".venv/Scripts/python.exe"):
        if (comfyui / name).exists():
            return str(comfyui / name)
    return sys.executable


@dataclass
class Run:
    """What happened to one posted graph."""

    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    outputs: dict[str, dict] = field(default_factory=dict)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    error: dict | None = None
    interrupted: bool = False
    log: str = ""

    @property
    def message(self) -> str:
        """The error's message."""
        return self.error["exception_message"] if self.error else ""


class ComfyServer:
    """One server process on a free port with a base directory of its own."""

    def __init__(self, comfyui: Path, base: Path, *options: str, prefix: tuple[str, ...] = ()):
        """`prefix`: a command that runs the server's."""
        self.comfyui, self.base, self.options, self.prefix = comfyui, base, options, prefix
        self.process: subprocess.Popen | None = None
        self.port = 0
        self.client_id = uuid.uuid4().hex
        self.log_file = base / "server.log"

    def start(self, port: int = 0) -> "ComfyServer":
        """Start, on a free port unless one is given, and wait until it answers."""
        self.port = port or free_port()
        command = [
            *self.prefix,
            interpreter(self.comfyui),
            str(self.comfyui / "main.py"),
            "--cpu",
            "--port",
            str(self.port),
            "--base-directory",
            str(self.base),
            "--disable-api-nodes",
            "--database-url",
            "sqlite:///:memory:",
            *self.options,
        ]
        self.log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
        }
        environment.pop("PYTHONPATH", None)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.base, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended while starting:\n{self.log()[-3000:]}")
            try:
                requests.get(self.url("system_stats"), timeout=5)
                slow_down(self.process)
                return self
            except requests.RequestException:
                time.sleep(0.3)
        self.stop()
        raise RuntimeError(
            f"ComfyUI did not answer within {START_SECONDS} s:\n{self.log()[-3000:]}"
        )

    def stop(self) -> None:
        """End the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def url(self, path: str) -> str:
        """Address of a path on this server."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def log(self) -> str:
        """What the server has written since it was started."""
        return self.log_file.read_bytes()[self.log_start :].decode(errors="replace")

    def object_info(self, node: str = "") -> dict:
        """Descriptions of all nodes, or of one."""
        return requests.get(
            self.url(f"object_info/{node}" if node else "object_info"), timeout=60
        ).json()

    def post(self, graph: dict, workflow: dict | None = None) -> requests.Response:
        """Queue a graph in API format."""
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        body = {"prompt": graph, "client_id": self.client_id, "extra_data": extra}
        return requests.post(self.url("prompt"), json=body, timeout=60)

    def run(self, graph: dict, workflow: dict | None = None, on_progress=None) -> Run:
        """Queue a graph and follow it to its end; `on_progress(node, step, steps)` is called on
        each report.
        """
        begin = len(self.log())
        link = websocket.create_connection(
            f"ws://127.0.0.1:{self.port}/ws?clientId={self.client_id}", timeout=RUN_SECONDS
        )
        try:
            answer = self.post(graph, workflow)
            assert answer.status_code == 200, answer.text
            found = self._follow(link, answer.json()["prompt_id"], on_progress)
        finally:
            link.close()
        found.log = self.log()[begin:]
        return found

    def _follow(self, link, prompt_id: str, on_progress) -> Run:
        found = Run()
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            message = link.recv()
            if not isinstance(message, str):
                found.pictures.append(message)
                continue
            message = json.loads(message)
            kind, data = message["type"], message["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "executing" and data["node"] is not None:
                found.executed.append(data["node"])
            elif kind == "execution_cached":
                found.cached += data["nodes"]
            elif kind == "executed":
                found.outputs[data["node"]] = data["output"]
            elif kind == "progress":
                found.progress.append((data["node"], data["value"], data["max"]))
                if on_progress:
                    on_progress(*found.progress[-1])
            elif kind == "execution_error":
                found.error = data
                return found
            elif kind == "execution_interrupted":
                found.interrupted = True
                return found
            elif kind == "execution_success":
                return found
        raise AssertionError(f"no end of the run within {RUN_SECONDS} s:\n{self.log()[-3000:]}")

    def fetch(self, entry: dict) -> bytes:
        """A result file, as the browser gets it."""
        answer = requests.get(self.url("view"), params=entry, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content

    def free(self, outputs: bool = True) -> None:
        """Ask for the models' memory back, and that of cached outputs, and wait until the queue has
        seen to it.
        """
        asked = {"unload_models": True, "free_memory": outputs}
        requests.post(self.url("free"), json=asked, timeout=30)
        if outputs:
            # The one worker frees memory before or after this prompt, in any case before the next.
            text = {"class_type": "PrimitiveString", "inputs": {"value": "freed"}}
            show = {"class_type": "PreviewAny", "inputs": {"source": ["text", 0]}}
            self.run({"text": text, "show": show})
            return
        # Another prompt would displace the outputs that are to stay.
        deadline = time.monotonic() + RUN_SECONDS
        while requests.get(self.url("test/loaded"), timeout=30).json():
            assert time.monotonic() < deadline, "the models are still loaded"
            time.sleep(0.2)
            # The worker misses what it is told while it collects garbage between two prompts.
            requests.post(self.url("free"), json=asked, timeout=30)

    def worked(self) -> float:
        """Seconds that processors have worked for the server, on Linux; elsewhere seconds."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic() * os.cpu_count()
        return sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")

    def interrupt(self) -> None:
        """Press cancel."""
        requests.post(self.url("interrupt"), timeout=30)
