"""The training loop of every part, on Hugging Face accelerate: one process or many."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import torch
from tqdm import tqdm

from ..errors import CheckpointError, InputError
from .checkpoints import read_checkpoint, restore_rng, rng_state, write_checkpoint
from .ema import EMA
from .part import Part, Turn
from .positions import EpochBatches, Examples, ProcessBatches
from .samples import Board

OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class LoopOptions:
    """How a run is trained.

    Parameters
    ----------
    run
        Folder of checkpoints, curves and weights; a run that is there is continued.
    steps
        Optimizer steps in all.
    batch, accumulation
        Items of a process and micro-step, and micro-steps of a step. The global batch is their
        product times the number of processes.
    warmup
        Steps of linear warm-up of the learning rate (paper: 10,000).
    schedule
        `"constant"` after warm-up, as in the paper, or `"cosine"` down to a fiftieth at the last
        step.
    ema
        Decay of the averaged weights.
    precision
        `"no"` (float32) or `"bf16"`.
    seed
        Names the order of items and all randomness of training.
    workers
        Processes that load data, for each training process.
    save_every, keep
        Steps between checkpoints, and how many of the newest are kept.
    log_every, sample_every
        Steps between points of the curves, and between samples of the validation items.
    device
        `"cpu"` keeps off accelerators; None takes what accelerate finds.
    progress
        Whether a progress bar may be drawn.
    """

    run: Path
    steps: int
    batch: int = 8
    accumulation: int = 1
    warmup: int = 10_000
    schedule: str = "constant"
    ema: float = 0.9999
    precision: str = "no"
    seed: int = 0
    workers: int = 0
    save_every: int = 1000
    keep: int = 3
    log_every: int = 50
    sample_every: int = 5000
    device: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch",
            "accumulation",
            "save_every",
            "keep",
            "log_every",
            "sample_every",
        ):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name.replace('_', '-')}: expected at least 1, found {getattr(self, name)}"
                )
        for name in ("warmup", "workers", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}: expected 0 or more, found {getattr(self, name)}")
        if not 0.0 <= self.ema < 1.0:
            raise InputError(
                f"ema: expected a decay from 0 up to but not including 1, found {self.ema}"
            )
        if self.precision not in ("no", "bf16"):
            raise InputError(f"precision: expected no or bf16, found {self.precision!r}")
        if self.schedule not in ("constant", "cosine"):
            raise InputError(f"schedule: expected constant or cosine, found {self.schedule!r}")

    def rate_factor(self, step: int) -> float:
        """Factor of the learning rate at `step` (from 0)."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            factor *= 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))
        return factor


@dataclass(frozen=True)
class Outcome:
    """How a session ended: the steps done in all, and whether a signal stopped it."""

    step: int
    stopped: bool


class StopFlag:
    """Set by the first SIGINT or SIGTERM, which lets the step finish; a second one interrupts at
    once.
    """

    def __init__(self) -> None:
        self.raised = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self.raised = True
        self._restore()


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the workers have to outlive the last step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


class Loop:
    """Trains a part.

    Parameters
    ----------
    part
        What is trained.
    options
        How.
    on_step
        Called on every process after each step with its number (from 1) and the scalars of that
        step, averaged over the whole global batch.

    Raises
    ------
    InputError
        If accelerate or tensorboard is missing, or the run folder belongs to other settings.
    """

    def __init__(self, part: Part, options: LoopOptions, on_step: OnStep | None = None):
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
            from accelerate.state import AcceleratorState
        except ImportError as error:
            raise InputError(
                f"training needs the package accelerate ({error}); install it with: "
                "pip install 'dreamaudio[training]'"
            ) from error
        self.part, self.options, self.on_step = part, options, on_step
        # accelerate keeps the precision of a process's first run for all later ones.
        AcceleratorState._reset_state()
        unused = DistributedDataParallelKwargs(find_unused_parameters=part.may_leave_unused)
        self.accelerator = Accelerator(
            mixed_precision=options.precision, cpu=options.device == "cpu", kwargs_handlers=[unused]
        )
        self.run_folder = Path(options.run)
        processes = self.accelerator.num_processes
        self.global_batch = options.batch * options.accumulation * processes
        self.batches = EpochBatches(part.source.groups(), self.global_batch, options.seed)
        # Through JSON, so that they compare equal to what a checkpoint brings back.
        self.settings = json.loads(
            json.dumps(
                {
                    **part.settings,
                    "seed": options.seed,
                    "global batch": self.global_batch,
                    "items": part.source.groups(),
                    "warmup": options.warmup,
                    "schedule": options.schedule,
                    **({"steps": options.steps} if options.schedule == "cosine" else {}),
                }
            )
        )
        part.to(self.accelerator.device)
        self.optimizers = {
            turn.name: torch.optim.AdamW(
                turn.trained, turn.rate, betas=turn.betas, weight_decay=turn.weight_decay
            )
            for turn in part.turns
        }
        self.ema = EMA(part.network.to(self.accelerator.device), options.ema)
        self.step = 0
        self.skipped = 0
        self._resume()
        self.models: dict[str, torch.nn.Module] = {}
        for turn in part.turns:
            self.models[turn.name], self.optimizers[turn.name] = self.accelerator.prepare(
                turn.objective, self.optimizers[turn.name]
            )

    def _resume(self) -> None:
        state = read_checkpoint(self.run_folder)
        if state is None:
            return
        where = self.run_folder
        if state.get("part") != self.part.name:
            raise InputError(
                f"{where}: this run trains {state.get('part')!r}, not {self.part.name!r}; choose another folder"
            )
        for name in sorted({*state["settings"], *self.settings}):
            before, now = state["settings"].get(name), self.settings.get(name)
            if before != now:
                raise InputError(
                    f"{where}: {name} was {_short(before)} in this run, found {_short(now)}; continue with the "
                    "same value or choose another folder"
                )
        device = self.accelerator.device
        for turn in self.part.turns:
            turn.objective.to(device)
            try:
                turn.objective.load_state_dict(state["objectives"][turn.name])
            except (RuntimeError, KeyError) as error:
                raise CheckpointError(
                    f"{where}: its checkpoint does not fit this network ({error}); choose another "
                    "folder"
                ) from error
            self.optimizers[turn.name].load_state_dict(state["optimizers"][turn.name])
        self.ema.load_state_dict(state["ema"])
        self.step = state["step"]
        rank = self.accelerator.process_index
        if rank < len(state["rng"]):
            restore_rng(state["rng"][rank])

    def _loader(self) -> Iterator[dict[str, torch.Tensor]]:
        options, accelerator = self.options, self.accelerator
        sampler = ProcessBatches(
            self.batches,
            self.step,
            options.batch,
            options.accumulation,
            accelerator.process_index,
            accelerator.num_processes,
        )
        return iter(
            torch.utils.data.DataLoader(
                Examples(self.part.source, options.seed),
                batch_sampler=sampler,
                collate_fn=self.part.source.collate,
                num_workers=options.workers,
                pin_memory=accelerator.device.type == "cuda",
                worker_init_fn=_ignore_interrupts if options.workers else None,
            )
        )

    def run(self) -> Outcome:
        """Train until the last step or a signal; either way the run ends with a checkpoint and its
        weights.

        Where the signal makes the step fail, that step is lost and those since the last checkpoint
        with it.
        """
        options, accelerator = self.options, self.accelerator
        main = accelerator.is_main_process
        if main:
            self.run_folder.mkdir(parents=True, exist_ok=True)
        board = Board(self.run_folder / "tensorboard" if main else None, self.step)
        loader = self._loader()
        sums: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}
        saved = self.step
        bar = tqdm(
            total=options.steps,
            initial=self.step,
            desc=self.part.name,
            unit="step",
            disable=None if main and options.progress else True,
        )
        stopped = False
        since = time.monotonic()
        with StopFlag() as stop, bar, contextlib.closing(board):
            while self.step < options.steps and not stopped:
                try:
                    terms = self._train_step(loader)
                except Exception:
                    # Ctrl-C reaches children too, such as a compiler; without the signal the
                    # failure is a failure.
                    if not stop.raised:
                        raise
                    return Outcome(saved, True)
                self.step += 1
                bar.update()
                for name, value in terms.items():
                    sums[name] = sums[name] + value if name in sums else value
                    counts[name] = counts.get(name, 0) + 1
                if self.on_step is not None:
                    self.on_step(self.step, self._mean(terms))
                if self.step % options.log_every == 0 or self.step == options.steps:
                    values = self._mean(
                        {name: total / counts[name] for name, total in sums.items()}
                    )
                    pace = (time.monotonic() - since) / max(counts.values())
                    values.update(
                        {
                            "rate": options.rate_factor(self.step - 1) * self.part.turns[-1].rate,
                            "seconds per step": pace,
                            "epoch": self.step / len(self.batches),
                            "skipped steps": float(self.skipped),
                        }
                    )
                    board.scalars(values, self.step)
                    bar.set_postfix({k: f"{v:.4g}" for k, v in list(values.items())[:3]})
                    sums, counts, since = {}, {}, time.monotonic()
                stopped = self._agreed(stop.raised)
                last = stopped or self.step == options.steps
                if self.step % options.save_every == 0 or last:
                    self.save()
                    saved = self.step
                if (
                    self.step % options.sample_every == 0 or self.step == options.steps
                ) and not stopped:
                    self._sample(board)
                    since = time.monotonic()
            if (
                saved != self.step
                or not (self.run_folder / f"{self.part.name}.safetensors").exists()
            ):
                self.save()
        return Outcome(self.step, stopped)

    def _train_step(self, loader: Iterator[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        options, accelerator = self.options, self.accelerator
        batches = []
        for _ in range(options.accumulation):
            batch = next(loader)
            batches.append(
                {
                    name: value.to(accelerator.device, non_blocking=True)
                    for name, value in batch.items()
                }
            )
        self.part.start_step(self.step)
        factor = options.rate_factor(self.step)
        found: dict[str, torch.Tensor] = {}
        for turn in self.part.active(self.step):
            self._take_turn(turn, batches, factor, found)
        self.ema.update(self.part.network, self.step)
        return found

    def _take_turn(
        self,
        turn: Turn,
        batches: list[dict[str, torch.Tensor]],
        factor: float,
        found: dict[str, torch.Tensor],
    ) -> None:
        accelerator, model, optimizer = (
            self.accelerator,
            self.models[turn.name],
            self.optimizers[turn.name],
        )
        model.train()
        optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, 1):
            synchronise = (
                contextlib.nullcontext() if number == len(batches) else accelerator.no_sync(model)
            )
            with synchronise:
                terms = model(batch)
                accelerator.backward(terms["loss"] / len(batches))
            for name, value in terms.items():
                key = f"{turn.name}/{name}"
                value = value.detach().float() / len(batches)
                found[key] = found[key] + value if key in found else value
        norm = accelerator.clip_grad_norm_(turn.trained, turn.clip)
        norm = torch.as_tensor(norm, dtype=torch.float32, device=accelerator.device).detach()
        for group in optimizer.param_groups:
            group["lr"] = turn.rate * factor
        # The norm is that of the averaged gradient, so all processes skip the same steps.
        if torch.isfinite(norm):
            optimizer.step()
            found[f"{turn.name}/gradient norm"] = norm
        else:
            self.skipped += 1

    def _mean(self, values: dict[str, torch.Tensor]) -> dict[str, float]:
        names = sorted(values)
        if not names:
            return {}
        stacked = torch.stack([values[name].float().to(self.accelerator.device) for name in names])
        if self.accelerator.num_processes > 1:
            stacked = self.accelerator.reduce(stacked, "mean")
        return dict(zip(names, stacked.tolist()))

    def _agreed(self, raised: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return raised
        flag = torch.tensor(float(raised), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def save(self) -> None:
        """Checkpoint and exported weights of the present step."""
        states = [rng_state()]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            states = gather_object(states)
        if self.accelerator.is_main_process:
            write_checkpoint(
                self.run_folder,
                self.step,
                {
                    "part": self.part.name,
                    "step": self.step,
                    "settings": self.settings,
                    "objectives": {
                        turn.name: turn.objective.state_dict() for turn in self.part.turns
                    },
                    "optimizers": {
                        name: optimizer.state_dict() for name, optimizer in self.optimizers.items()
                    },
                    "ema": self.ema.state_dict(),
                    "rng": states,
                },
                self.options.keep,
            )
            weights = self.ema.weights(self.part.network)
            self.part.export(self.run_folder / f"{self.part.name}.safetensors", weights)
        self.accelerator.wait_for_everyone()

    def _sample(self, board: Board) -> None:
        if self.accelerator.is_main_process:
            training = self.part.network.training
            state = rng_state()
            self.part.network.eval()
            with self.ema.applied(self.part.network), torch.no_grad():
                self.part.sample(board, self.step)
            self.part.network.train(training)
            restore_rng(state)
        self.accelerator.wait_for_everyone()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def train(part: Part, options: LoopOptions, on_step: OnStep | None = None) -> Outcome:
    """Train `part` as `options` say, continuing a run that is there."""
    # Under a launcher without its own thread limit, processes that share a machine would crowd one
    # another out.
    if (
        "LOCAL_WORLD_SIZE" in os.environ
        and "OMP_NUM_THREADS" not in os.environ
        and options.device == "cpu"
    ):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])))
    return Loop(part, options, on_step).run()
