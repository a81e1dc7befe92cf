"""`dreamaudio comfyui-batch`: every scene of a file on ComfyUI servers."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError
from ..scene.scene_files import read_scenes
from .batch import Batch
from .cli import check_sounds, print_report
from .comfyui import Jobs, Worker, check_scene
from .server import Server
from .workflow import read_workflow


def add_parser(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "comfyui-batch",
        help="run every scene of a file through a workflow on ComfyUI servers",
        description="Fill a workflow from each scene, run it on one of the servers and fetch the "
        "results, named after the scene. Start the same command again after any kind of end. Exit "
        "status as of `dreamaudio batch`.",
    )
    parser.add_argument(
        "scenes", type=Path, help="JSON lines, JSON array or CSV; see docs/batch.md"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        metavar="URL",
        help="such as http://127.0.0.1:8188; repeat for more",
    )
    parser.add_argument(
        "--workflow", type=Path, required=True, metavar="FILE", help="from ComfyUI's Export (API)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long a server may be silent before the others get its scenes (default 600)",
    )
    parser.add_argument(
        "--redo",
        action="store_true",
        help="run scenes again that have changed since, in place of their files",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what is left of the scenes, and report."""
    scenes = read_scenes(args.scenes)
    check_sounds(scenes, args.scenes)
    graph = read_workflow(args.workflow)
    servers = list({server.url: server for server in map(Server, args.server)}.values())
    for scene in scenes:
        try:
            check_scene(graph, scene)
        except InputError as error:
            raise InputError(f"{args.scenes}: scene {scene.name}: {error}") from error
    digest = hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()
    with Batch(args.out, {"command": "comfyui-batch", "workflow": digest}, args.redo) as batch:
        rows = batch.plan(scenes)
        try:
            if rows:
                _work(servers, Jobs(batch, rows, servers), graph, args.patience)
        finally:
            print_report(batch.report)
    return batch.report.exit_code


def _work(servers: list[Server], jobs: Jobs, graph: dict, patience: float) -> None:
    threads, bars = [], []
    for position, server in enumerate(servers):
        bar = tqdm(desc=server.url, unit="scene", position=position, disable=None, leave=False)

        def told(text: str, paths: list[Path], bar: tqdm = bar) -> None:
            if text:
                bar.write(text, file=sys.stderr)
            else:
                bar.update()
                bar.write("\n".join(map(str, paths)))

        worker = Worker(server, jobs, graph, patience, told)
        threads.append(threading.Thread(target=worker.run, daemon=True))
        bars.append(bar)
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                # Short, so that Ctrl-C is noticed.
                thread.join(0.2)
    finally:
        with jobs.lock:
            # No worker may write once the folder's lock is free.
            jobs.stop.set()
            for bar in bars:
                bar.close()
    if jobs.error is not None:
        raise jobs.error
