"""What our widgets in the browser ask the server for: the peaks and the caption of a sound, and the
arranger's reading of a prompt without sampling.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Mapping
from dataclasses import replace

import torch
from aiohttp import web

from ..dreamaudio_core.errors import DreamAudioError, InputError
from ..dreamaudio_core.json_text import parse_json
from ..dreamaudio_core.loading import load_text_stages
from ..dreamaudio_core.scene.pinned import keep_pinned
from ..dreamaudio_core.scene.reference import Reference, load_reference
from ..dreamaudio_core.scene.timeline import Arrangement, parse_starts
from . import files
from .preview import keep
from .references import TRIM, part_options

PEAKS = 600
MAX_TEXT = 10_000
MAX_REFERENCES = 8
_LOCK = threading.Lock()


def register() -> None:
    """Add the routes to ComfyUI's server, where one is running."""
    try:
        from server import PromptServer
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    server.routes.get("/dreamaudio/peaks")(_get_peaks)
    server.routes.get("/dreamaudio/caption")(_get_caption)
    server.routes.post("/dreamaudio/keep")(_post_keep)
    server.routes.post("/dreamaudio/arrange")(_post_arrange)


def peaks_of(waveform: torch.Tensor, count: int = PEAKS) -> list[int]:
    """Largest magnitude of each of `count` stretches of a sound [channels, T], in percent of full
    scale.
    """
    level = waveform.abs().amax(0)
    count = min(count, len(level))
    edges = torch.linspace(0, len(level), count + 1).long().tolist()
    return [round(100.0 * float(level[a:b].max())) for a, b in zip(edges, edges[1:])]


@functools.lru_cache(maxsize=64)
def _sound(name: str, trim: str, begin: float, end: float, stamp: str) -> Reference:
    """A prepared reference without caption, kept until its file changes."""
    path = files.input_file(name, "audio")
    return load_reference(path, "", label="audio", **part_options(trim or TRIM[0], begin, end))


def _loaded(values: Mapping) -> Reference:
    name, trim = str(values.get("audio", "")), str(values.get("trim", ""))
    begin, end = (_second(values, field) for field in ("begin", "end"))
    with _LOCK:
        stamp = files.stamp(files.input_file(name, "audio"))
        return _sound(name, trim, begin, end, stamp)


def _second(values: Mapping, field: str) -> float:
    try:
        return float(values.get(field) or 0.0)
    except (TypeError, ValueError) as error:
        raise InputError(f"{field}: expected seconds, found {values.get(field)!r:.60}") from error


def describe_sound(values: Mapping) -> dict:
    """What the browser draws of a file: `audio`, and optionally `trim`, `begin` and `end`."""
    return outline(_loaded(values))


def suggest_caption(values: Mapping) -> dict:
    """Caption of a file by its tags or its name, empty where they say nothing."""
    name = str(values.get("audio", ""))
    return {"caption": files.caption_of(name)}


def outline(reference: Reference) -> dict:
    """What the browser draws of a reference: its used part in seconds of the file, and peaks."""
    source = reference.source
    return {
        "seconds": source.waveform.shape[-1] / source.sample_rate,
        "begin": source.begin,
        "end": source.end,
        "total": source.total,
        "sample_rate": source.sample_rate,
        "channels": len(source.waveform),
        "peaks": peaks_of(source.waveform),
    }


@functools.lru_cache(maxsize=1)
def _reader(name: str, stamp: str):
    return load_text_stages(files.chosen(files.models(), name, "model_name"))


def read_prompt(values: dict) -> tuple[Arrangement, tuple[Reference, ...]]:
    """The arranger's answer for a prompt and references that are files, and the sounds of the
    starter library that follow these, as in a run.

    Parameters
    ----------
    values
        `model_name`, `prompt`, `seconds`, `missing`, `references` (a list of objects with `audio`,
        `caption`, and optionally `strength`, `start`, `trim`, `begin` and `end`), and optionally
        `timeline`: the JSON of an arrangement whose pinned placements stay.

    Raises
    ------
    DreamAudioError
        Names the field and the cure.
    """
    fields = (
        ("model_name", str),
        ("prompt", str),
        ("seconds", (int, float)),
        ("references", list),
    )
    for field, kind in fields:
        if not isinstance(values.get(field), kind):
            raise InputError(f"{field}: missing or of the wrong kind: {values.get(field)!r:.60}")
    if len(values["prompt"]) > MAX_TEXT or len(values["references"]) > MAX_REFERENCES:
        raise InputError(
            f"expected a prompt of at most {MAX_TEXT} characters and at most {MAX_REFERENCES} "
            "references"
        )
    missing = values.get("missing", "auto")
    references = [_given(entry, k) for k, entry in enumerate(values["references"], 1)]
    with _LOCK:
        folder = files.models().get(values["model_name"])
        model = _reader(values["model_name"], files.stamp(folder))
        found, keep = model.add_library_sounds(values["prompt"], references, missing)
        conditioning = model.condition(values["prompt"], found)
        reading = model.arrange(conditioning, float(values["seconds"]), missing=keep)
    given = values.get("timeline")
    if isinstance(given, str) and given.strip():
        reading = keep_pinned(reading, Arrangement.from_json(given, "timeline"))
    return reading, found[len(references) :]


def _read_prompt(values: dict) -> dict:
    arrangement, added = read_prompt(values)
    library = [{"name": r.caption, "caption": r.caption, "sound": outline(r)} for r in added]
    return {"arrangement": parse_json(arrangement.to_json()), "library": library}


def _given(entry: dict, k: int) -> Reference:
    if not isinstance(entry, dict):
        raise InputError(f"reference {k}: expected an object, found {entry!r:.60}")
    try:
        starts = parse_starts(str(entry.get("start", "auto")))
        strength = float(entry.get("strength", 1.0))
        caption, sound = str(entry.get("caption", "")), str(entry.get("audio", ""))
    except (TypeError, ValueError) as error:
        raise InputError(f"reference {k}: {error}") from error
    reference = _loaded(entry)
    return replace(reference, caption=caption, strength=strength, name=sound).at(starts)


async def _answer(work, *values) -> web.Response:
    """Result of `work` in another thread, so that the server goes on.

    What the user can fix comes back as `error`, and with status 200: a file that is still being
    uploaded, or a half-written prompt, is a usual state of a canvas, and browsers write every other
    status into their console.
    """
    try:
        found = await asyncio.get_running_loop().run_in_executor(None, work, *values)
    except (DreamAudioError, OSError) as error:
        found = {"error": str(error)}
    return web.json_response(found)


async def _get_peaks(request: web.Request) -> web.Response:
    query = request.rel_url.query
    return await _answer(describe_sound, query)


async def _get_caption(request: web.Request) -> web.Response:
    return await _answer(suggest_caption, request.rel_url.query)


async def _post_arrange(request: web.Request) -> web.Response:
    return await _answer_object(request, _read_prompt)


async def _post_keep(request: web.Request) -> web.Response:
    return await _answer_object(request, lambda values: keep(str(values.get("audio", ""))))


async def _answer_object(request: web.Request, work) -> web.Response:
    """Answer to a request whose body is a JSON object."""
    try:
        values = parse_json(await request.text())
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return web.json_response({"error": "expected a JSON object"}, status=400)
    return await _answer(work, values)
