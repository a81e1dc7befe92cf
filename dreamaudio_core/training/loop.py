"""The training loop of every task, on Hugging Face accelerate: one process or many."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import TrainingError
from .ema import averaged_weights
from .logger import Curves, Logger
from .options import TrainOptions
from .run_state import (
    remove_partial_files,
    restore_rng,
    rng_state,
)
from .sampler import ProcessBatchSampler, SeededExamples
from .session import Session
from .sharding import gathered, whole
from .signals import StopFlag, ignore_interrupts
from .speed import worker_count
from .task import OptimizerStep, Task

log = logging.getLogger(__name__)
# Single steps without a finite gradient are skipped: rare inputs cause them. This many in a row
# mean that nothing is learned any more.
MOST_SKIPPED_IN_A_ROW = 20

OnStep = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainResult:
    """How a session ended: total steps done, and whether a signal stopped it."""

    step: int
    stopped: bool


class TrainingLoop(Session):
    """Trains a task.

    Parameters
    ----------
    task
        What is trained.
    options
        How it is trained.
    on_step
        Called on every process after each step with its number (from 1) and the scalars of that
        step, averaged over the whole global batch.

    Raises
    ------
    InputError
        If accelerate or tensorboard is missing, or the run folder belongs to other settings.
    CheckpointError
        If the run has checkpoints and none of them can be used.
    """

    def __init__(self, task: Task, options: TrainOptions, on_step: OnStep | None = None):
        super().__init__(task, options)
        self.on_step = on_step
        self.skipped, self.skipped_in_a_row = 0, 0

    def run(self) -> TrainResult:
        """Train until the last step or a signal; either way the run ends with a checkpoint and its
        weights.

        If the signal makes the step fail, that step is lost, and the steps since the last
        checkpoint with it.

        Raises
        ------
        TrainingError
            If gradients or weights are no longer finite.
        """
        options, main = self.options, self.accelerator.is_main_process
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_partial_files(self.folder)
        logger = Logger(self.folder / "tensorboard" if main else None, self.step)
        loader, curves = self._loader(), Curves()
        first, saved, stopped = self.step, self.step, False
        bar = tqdm(
            total=options.steps,
            initial=self.step,
            desc=self.task.name,
            unit="step",
            disable=None if main and options.progress else True,
        )
        with StopFlag() as stop, bar, contextlib.closing(logger):
            while self.step < options.steps and not stopped:
                try:
                    terms = self._train_step(loader)
                except Exception:
                    # Ctrl-C reaches children too, such as a compiler; without the signal the
                    # failure is a failure.
                    if not stop.raised:
                        raise
                    return TrainResult(saved, True)
                self.step += 1
                bar.update()
                curves.add(terms)
                if self.on_step is not None:
                    self.on_step(self.step, self._mean(terms))
                self._check_progress(first)
                stopped = self._agreed(stop.raised)
                last = self.step == options.steps
                if last or self.step % options.log_every == 0:
                    self._log(logger, bar, curves)
                if last or stopped or self.step % options.save_every == 0:
                    self.save()
                    saved = self.step
                if (last or self.step % options.validate_every == 0) and not stopped:
                    self._validate(logger)
                    curves.since = time.monotonic()
            if saved != self.step or not self.exported.exists():
                self.save()
        if self.skipped and main:
            log.warning(
                "%d of %d steps were skipped, because their gradients were not finite",
                self.skipped,
                self.step - first,
            )
        return TrainResult(self.step, stopped)

    def _loader(self) -> Iterator[dict[str, Tensor]]:
        options, accelerator = self.options, self.accelerator
        workers = worker_count(options, accelerator.device)
        sampler = ProcessBatchSampler(
            self.batches,
            self.step,
            options.batch,
            options.accumulation,
            accelerator.process_index,
            accelerator.num_processes,
        )
        return iter(
            torch.utils.data.DataLoader(
                SeededExamples(self.task.dataset, options.seed),
                batch_sampler=sampler,
                collate_fn=self.task.dataset.collate,
                num_workers=workers,
                pin_memory=accelerator.device.type == "cuda",
                worker_init_fn=ignore_interrupts if workers else None,
                prefetch_factor=4 if workers else None,
            )
        )

    def _train_step(self, loader: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        device = self.accelerator.device
        batches = [
            {name: value.to(device, non_blocking=True) for name, value in next(loader).items()}
            for _ in range(self.options.accumulation)
        ]
        self.task.start_step(self.step)
        terms: dict[str, Tensor] = {}
        finite = True
        for part in self.task.active(self.step):
            finite &= self._optimizer_step(part, batches, terms)
        # After skipped steps too, so that the average depends on the number of steps alone.
        self.ema.update_parameters(self.task.network)
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        return terms

    def _optimizer_step(
        self, part: OptimizerStep, batches: list[dict[str, Tensor]], terms: dict[str, Tensor]
    ) -> bool:
        """Take one optimizer step and add its scalars to `terms`; whether its gradient was
        finite.
        """
        accelerator, options = self.accelerator, self.options
        model, optimizer = self.models[part.name], self.optimizers[part.name]
        autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=self.bf16)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches, 1):
            # Processes exchange gradients once a step, in its last micro-step.
            last = number == len(batches)
            if options.shard:
                model.set_requires_gradient_sync(last)  # type: ignore[operator]
            with contextlib.nullcontext() if last else accelerator.no_sync(model):
                with autocast:
                    scalars = model(batch)
                accelerator.backward(scalars["loss"] / len(batches))
            for name, value in scalars.items():
                key = f"{part.name}/{name}"
                value = value.detach().float() / len(batches)
                terms[key] = terms[key] + value if key in terms else value
        norm = accelerator.clip_grad_norm_(part.trained, part.clip)
        norm = whole(torch.as_tensor(norm, dtype=torch.float32, device=accelerator.device).detach())
        for group in optimizer.param_groups:
            group["lr"] = part.lr * options.lr_factor(self.step)
        # The norm is that of the averaged gradient, so all processes skip the same steps.
        finite = bool(torch.isfinite(norm))
        if finite:
            optimizer.step()
            terms[f"{part.name}/gradient norm"] = norm
        return finite

    def _check_progress(self, first: int) -> None:
        """Stop where nothing is learned: too many steps in a row, or all of a session, failed."""
        done = self.step - first
        nothing = self.step == self.options.steps and self.skipped == done
        if nothing or self.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"{self.folder}: the last {self.skipped_in_a_row} steps up to step {self.step} had "
                "no finite gradient; check the training data for NaN or infinite values, or lower "
                "--lr. The last checkpoint is kept"
            )

    def _log(self, logger: Logger, bar: tqdm, curves: Curves) -> None:
        values = self._mean(curves.means())
        bar.set_postfix({name: f"{value:.4g}" for name, value in list(values.items())[:3]})
        lr = self.options.lr_factor(self.step - 1) * self.task.optimizer_steps[-1].lr
        values.update(
            {
                "lr": lr,
                "seconds per step": curves.seconds_per_step,
                "epoch": self.step / len(self.batches),
                "skipped steps": float(self.skipped),
            }
        )
        logger.scalars(values, self.step)
        curves.clear()

    def _mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over the processes."""
        names = sorted(values)
        if not names:
            return {}
        stacked = torch.stack([values[name].float().to(self.accelerator.device) for name in names])
        if self.accelerator.num_processes > 1:
            stacked = self.accelerator.reduce(stacked, "mean")
        return dict(zip(names, stacked.tolist()))

    def _agreed(self, raised: bool) -> bool:
        """Whether any process was asked to stop, so that all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return raised
        flag = torch.tensor(float(raised), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _validate(self, logger: Logger) -> None:
        # Of a sharded network every process holds a part.
        if self.accelerator.is_main_process or self.options.shard:
            network, training, state = self.task.network, self.task.network.training, rng_state()
            network.eval()
            losses = torch.nn.ModuleList(part.loss for part in self.task.optimizer_steps)
            with averaged_weights(network, self.ema), gathered(losses), torch.no_grad():
                self.task.validate(logger, self.step)
            network.train(training)
            restore_rng(state)
        self.accelerator.wait_for_everyone()


def train(task: Task, options: TrainOptions, on_step: OnStep | None = None) -> TrainResult:
    """Train `task` as `options` say, continuing an existing run.

    Parameters, errors: those of `TrainingLoop`.
    """
    # Under a launcher without its own thread limit, processes that share a machine would compete
    # for its cores.
    if (
        "LOCAL_WORLD_SIZE" in os.environ
        and "OMP_NUM_THREADS" not in os.environ
        and options.device == "cpu"
    ):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["LOCAL_WORLD_SIZE"])))
    return TrainingLoop(task, options, on_step).run()
