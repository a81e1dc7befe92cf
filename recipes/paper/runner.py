"""Running steps: each once, in order, with a journal of what is done and how long it took."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from plan import STAGES
from steps import Step, digest

from dreamaudio_core.errors import DreamAudioError, InputError
from dreamaudio_core.files import atomic_write
from dreamaudio_core.training.run_state import saved_checkpoints

ROOT = Path(__file__).resolve().parents[2]


class Stopped(DreamAudioError):
    """A training was interrupted; the same command continues it."""


class Journal:
    """Finished steps of a work folder: the words of each, and its seconds."""

    def __init__(self, work: Path):
        self.path = work / "journal.json"
        self.done: dict[str, Any] = {}
        if self.path.is_file():
            try:
                self.done = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{self.path}: not readable JSON; remove it") from error

    def has(self, step: Step) -> bool:
        """Whether a step was done with the same words, and its files are there."""
        entry = self.done.get(f"{step.stage}: {step.name}")
        same = entry is not None and entry["words"] == digest(step.words)
        return same and not step.always and all(path.exists() for path in step.outputs)

    def seconds(self, step: Step) -> float | None:
        """How long a step took."""
        entry = self.done.get(f"{step.stage}: {step.name}")
        return None if entry is None else float(entry["seconds"])

    def add(self, step: Step, seconds: float) -> None:
        """Note that a step is done."""
        name = f"{step.stage}: {step.name}"
        self.done[name] = {"words": digest(step.words), "seconds": round(seconds, 1)}
        with atomic_write(self.path) as partial:
            partial.write_text(json.dumps(self.done, indent=1) + "\n", encoding="utf-8")


def keep_weights(run: Path, part: str, steps: int, out: Path) -> None:
    """Copy the weights that a training exported after `steps`, so that later steps leave them.

    Raises
    ------
    Stopped
        If the training has not come so far.
    InputError
        If it has gone further already.
    """
    reached = [step for step, _ in saved_checkpoints(run)]
    if not reached or reached[-1] < steps:
        raise Stopped(f"{run}: stopped before step {steps:,}; the same command continues")
    if reached[-1] > steps:
        raise InputError(
            f"{run}: is at step {reached[-1]:,} already, so the weights of step {steps:,} are "
            "lost; remove the folder to train it again"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as partial:
        shutil.copyfile(run / f"{part}.safetensors", partial)


def fetch_sounds(sounds: Path, listed: Path) -> None:
    """Unpack the Debian packages whose sounds a list names, without installing anything.

    Raises
    ------
    InputError
        If a package cannot be had, as on a system without apt.
    """
    script = ROOT / "recipes" / "mini" / "fetch_sounds"
    try:
        subprocess.run(["sh", str(script), str(sounds), str(listed)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"{sounds}: the packages of {listed.name} could not be fetched ({error}); on another "
            "system unpack them there yourself, one folder a package, and name it with --sounds"
        ) from error


def show_estimate(steps: list[Step], journal: Journal) -> None:
    """A line a stage: hours and gigabytes, and what is done."""
    sys.stdout.write("stage        steps  done      hours   GB kept  GB written\n")
    total = [0.0, 0.0, 0.0]
    for stage in STAGES:
        own = [step for step in steps if step.stage == stage]
        if not own:
            continue
        done = [step for step in own if journal.has(step)]
        seconds = sum(step.seconds for step in own if step not in done)
        took = sum(journal.seconds(step) or 0.0 for step in done)
        kept = sum(step.kept for step in own)
        written = sum(max(step.written, step.kept) for step in own)
        total = [total[0] + seconds, total[1] + kept, total[2] + written]
        note = f"   {took / 3600:.2f} h done" if done else ""
        sys.stdout.write(
            f"{stage:<12} {len(own):5}  {len(done):4} {seconds / 3600:10.2f} {kept / 1e9:9.1f} "
            f"{written / 1e9:11.1f}{note}\n"
        )
    sys.stdout.write(
        f"{'still to do':<24}{total[0] / 3600:10.2f} {total[1] / 1e9:9.1f} {total[2] / 1e9:11.1f}\n"
        "Estimates, from the section [costs] of the configuration; nothing of them was measured on "
        "a GPU.\n"
    )


def run_steps(steps: list[Step], journal: Journal, config: dict[str, Any]) -> None:
    """Do what is not done yet.

    Raises
    ------
    DreamAudioError
        If a command fails; what is done stays done.
    """
    for number, step in enumerate(steps, 1):
        if journal.has(step):
            continue
        sys.stdout.write(f"== {number}/{len(steps)} {step.stage}: {step.name}\n")
        sys.stdout.flush()
        begin = time.monotonic()
        if step.words:
            _clear(step)
            code = _run(step.words, config["run"])
            if code:
                raise InputError(
                    f"{step.stage}: {step.name}: ended with {code}: dreamaudio "
                    f"{shlex.join(step.words)}"
                )
        if step.call is not None:
            step.call()
        missing = [path for path in step.outputs if not path.exists()]
        if missing:
            raise InputError(f"{step.stage}: {step.name}: did not write {missing[0]}")
        journal.add(step, time.monotonic() - begin)


def _clear(step: Step) -> None:
    """Remove what commands refuse to replace: a model folder of earlier weights."""
    if step.words[0] == "assemble":
        shutil.rmtree(step.words[step.words.index("--out") + 1], ignore_errors=True)


def _run(words: list[str], options: dict[str, Any]) -> int:
    """Exit code of one `dreamaudio` command."""
    if options["in-process"]:
        from dreamaudio_core.cli.main import main

        return main(words)
    launch = shlex.split(options["launch"]) if words[0] == "train" else []
    command = [*(launch or [sys.executable]), "-m", "dreamaudio_core", *words]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run(command, env=env).returncode
