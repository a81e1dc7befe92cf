"""A ComfyUI server as its HTTP interface shows it.

The standard library is enough for five requests; the clients in the package registry either speak
an interface that released servers do not have, or cannot name a job before it is queued, without
which a lost answer leaves a job that is queued twice or not at all.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..json_text import parse_json

TIMEOUT = 60.0


class ServerGone(Exception):
    """The server does not answer, or not with what it should; asking again may help."""


class ServerRefuses(Exception):
    """The server answers that it will not do this."""


class Server:
    """One server by its address.

    Raises
    ------
    InputError
        If the address begins with neither `http://` nor `https://`.
    """

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"--server: expected an address as http://host:8188, found {url!r}")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.client_id = uuid.uuid4().hex

    def queue(self, graph: dict[str, Any], prompt_id: str) -> str:
        """Queue a graph under an id of our own; the id that the server knows it by."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self.client_id}
        headers = {"Content-Type": "application/json"}
        answer = self._json("prompt", data=json.dumps(body).encode(), headers=headers)
        return str(answer.get("prompt_id") or prompt_id)

    def is_waiting(self, prompt_id: str) -> bool:
        """Whether a job is queued or runs."""
        queue = self._json("queue")
        jobs = [*queue.get("queue_running", []), *queue.get("queue_pending", [])]
        return any(prompt_id in job[1:2] for job in jobs)

    def result(self, prompt_id: str) -> dict[str, Any] | None:
        """What the server's history says of a job that has ended; None without an entry."""
        return self._json(f"history/{urllib.parse.quote(prompt_id)}").get(prompt_id)

    def has_input(self, name: str, size: int) -> bool:
        """Whether the input folder has a file of this name and size."""
        query = urllib.parse.urlencode({"filename": name, "type": "input"})
        try:
            with self._open(f"view?{query}", method="HEAD") as answer:
                return answer.headers.get("Content-Length") == str(size)
        except ServerRefuses:
            return False

    def upload(self, name: str, path: Path) -> None:
        """Put a file into the input folder, in place of one of that name."""
        mark = uuid.uuid4().hex
        fields = "".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in (("type", "input"), ("overwrite", "true"))
        )
        fields += f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        fields += "Content-Type: application/octet-stream\r\n\r\n"
        data = fields.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        self._json("upload/image", data=data, headers=headers)

    def fetch(self, entry: dict[str, str], path: Path) -> None:
        """Write a result file of the history to `path`."""
        keys = ("filename", "subfolder", "type")
        query = urllib.parse.urlencode({key: entry.get(key, "") for key in keys})
        with self._open(f"view?{query}") as answer:
            try:
                data = answer.read()
            except (http.client.HTTPException, OSError) as error:
                raise ServerGone(f"{self.url}: {error}") from error
        path.write_bytes(data)

    def _json(self, path: str, **options: Any) -> dict[str, Any]:
        with self._open(path, **options) as answer:
            try:
                found = parse_json(answer.read())
            except (ValueError, http.client.HTTPException, OSError) as error:
                raise ServerGone(f"{self.url}: {error}") from error
        if not isinstance(found, dict):
            raise ServerGone(f"{self.url}/{path}: expected a JSON object, found {found!r:.60}")
        return found

    def _open(self, path: str, **options: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", **options)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            if error.code >= 500 or error.code in (408, 429):
                raise ServerGone(f"{self.url}: {error.code} {text:.200}") from error
            raise ServerRefuses(_refusal(text) or f"{error.code} {error.reason}") from error
        except (http.client.HTTPException, OSError) as error:
            raise ServerGone(f"{self.url}: {getattr(error, 'reason', error)}") from error


def _refusal(text: str) -> str:
    """What an answer of `/prompt` says is wrong with a graph, in one line."""
    try:
        answer = parse_json(text)
        nodes = answer.get("node_errors") or {}
        found = [
            f"{node.get('class_type', number)}: {error['message']} {error.get('details', '')}"
            for number, node in nodes.items()
            for error in node["errors"]
        ]
        return "; ".join(found or [str(answer["error"]["message"])]).replace("\n", " ")
    except (ValueError, KeyError, TypeError, AttributeError):
        return " ".join(text.split())[:200]
