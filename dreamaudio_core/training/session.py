"""The state of a training run: built for a task, taken up from checkpoints, and saved."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, InputError, TrainingError
from .ema import averaged_copy
from .options import TrainOptions
from .run_state import (
    check_settings,
    is_finite,
    read_checkpoint,
    restore_rng,
    rng_state,
    saved_checkpoints,
    set_aside,
    write_checkpoint,
)
from .sampler import EpochBatches
from .sharding import move_moments, shard, whole
from .speed import adamw, allow_tf32, prepare_module, uses_bf16
from .task import Task

log = logging.getLogger(__name__)


class Session:
    """A task with its optimizers, averages and checkpoints, taken up where the run's folder is.

    Parameters
    ----------
    task
        What is trained.
    options
        How it is trained.

    Raises
    ------
    InputError
        If accelerate is missing, or the run folder belongs to other settings.
    CheckpointError
        If the run has checkpoints and none of them can be used.
    """

    def __init__(self, task: Task, options: TrainOptions):
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ImportError as error:
            raise InputError(
                f"training needs the package accelerate ({error}); install it with: "
                "pip install 'dreamaudio[training]'"
            ) from error
        self.task, self.options = task, options
        unused = DistributedDataParallelKwargs(find_unused_parameters=task.may_leave_unused)
        # The precision is not accelerate's: it would keep that of a process's first run for all
        # later ones.
        self.accelerator = Accelerator(
            mixed_precision="no", cpu=options.device == "cpu", kwargs_handlers=[unused]
        )
        self.folder = Path(options.folder)
        # A run may go on with other processes or micro-steps: only the global batch is part of it.
        sizes = task.dataset.group_sizes()
        global_batch = options.batch * options.accumulation * self.accelerator.num_processes
        self.batches = EpochBatches(sizes, global_batch, options.seed)
        settings = {
            **task.settings,
            "seed": options.seed,
            "global batch": global_batch,
            "items": sizes,
            "warmup": options.warmup,
            "schedule": options.schedule,
            **({"steps": options.steps} if options.schedule == "cosine" else {}),
        }
        # Through JSON, so that they compare equal to what a checkpoint brings back.
        self.settings = json.loads(json.dumps(settings))
        device = self.accelerator.device
        allow_tf32(device)
        self.bf16 = uses_bf16(options, device)
        task.to(device)
        if options.compile:
            task.fix_shapes()
        for part in task.optimizer_steps:
            prepare_module(part.loss, options, task.may_compile)
        self.optimizers = {
            part.name: adamw(part.trained, part.lr, part.betas, part.weight_decay)
            for part in task.optimizer_steps
        }
        self.ema = averaged_copy(task.network.to(device), options.ema)
        self.step = 0
        self._resume()
        self.models: dict[str, torch.nn.Module] = {}
        if options.shard:
            self._shard()
            return
        for part in task.optimizer_steps:
            self.models[part.name], self.optimizers[part.name] = self.accelerator.prepare(
                part.loss, self.optimizers[part.name]
            )

    def _shard(self) -> None:
        """Keep a part of everything on each process."""
        units = self.task.shard_units
        if not units:
            raise InputError(
                "shard: only the flow of a model that joins its references on channels, such as "
                "the paper's presets, can be sharded; leave it out"
            )
        if self.accelerator.num_processes == 1 or self.options.compile:
            raise InputError(
                "shard: expected several processes (torchrun or accelerate launch) and no --compile"
            )
        for part in self.task.optimizer_steps:
            shard(part.loss, units)
            part.trained = [p for p in part.loss.parameters() if p.requires_grad]
            optimizer = adamw(part.trained, part.lr, part.betas, part.weight_decay)
            move_moments(self.optimizers[part.name], optimizer)
            self.models[part.name], self.optimizers[part.name] = part.loss, optimizer
        shard(self.ema.module, units)

    def _resume(self) -> None:
        """Continue from the newest checkpoint that is whole."""
        damaged: list[Path] = []
        found = saved_checkpoints(self.folder)
        for step, path in reversed(found):
            try:
                state = read_checkpoint(path, step)
                check_settings(state, self.task.name, self.settings, self.folder)
                self._restore(state, path)
            except CheckpointError as error:
                log.warning("%s; continuing from the checkpoint before it", error)
                damaged.append(path)
                continue
            break
        else:
            if found:
                raise CheckpointError(
                    f"{self.folder}: none of its {len(found)} checkpoints can be used; choose "
                    "another folder, or remove this one to start again"
                )
        # Every process reads the files by itself, so none may be moved before all are done.
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for path in damaged:
                set_aside(path)

    def _restore(self, state: dict[str, Any], path: Path) -> None:
        try:
            for part in self.task.optimizer_steps:
                part.loss.to(self.accelerator.device)
                part.loss.load_state_dict(state["losses"][part.name])
                optimizer = self.optimizers[part.name]
                optimizer.load_state_dict(state["optimizers"][part.name])
                for parameter, moments in optimizer.state.items():
                    if any(moments[k].shape != parameter.shape for k in ("exp_avg", "exp_avg_sq")):
                        raise ValueError("the optimizer's state has other shapes than the network")
            self.ema.load_state_dict(state["ema"])
            rank = self.accelerator.process_index
            if rank < len(state["rng"]):
                restore_rng(state["rng"][rank])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{path}: its contents do not fit this network ({reason})"
            ) from error
        self.step = state["step"]

    def save(self) -> None:
        """Write a checkpoint and the exported weights of the present step.

        Raises
        ------
        TrainingError
            If weights are not finite; nothing is written then.
        CheckpointError
            If the checkpoint cannot be written.
        """
        states = [rng_state()]
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            states = gather_object(states)
        losses = {part.name: whole(part.loss.state_dict()) for part in self.task.optimizer_steps}
        optimizers = {name: whole(o.state_dict()) for name, o in self.optimizers.items()}
        ema = whole(self.ema.state_dict())
        if not is_finite({"losses": losses, "ema": ema}):
            raise TrainingError(
                f"{self.folder}: at step {self.step} some weights are no longer finite; lower --lr "
                "or --clip, and start again from an earlier checkpoint or in another folder"
            )
        if self.accelerator.is_main_process:
            state = {
                "task": self.task.name,
                "step": self.step,
                "settings": self.settings,
                "losses": losses,
                "optimizers": optimizers,
                "ema": ema,
                "rng": states,
            }
            write_checkpoint(self.folder, self.step, state, self.options.keep)
            averaged = {k.removeprefix("module."): v for k, v in ema.items() if "." in k}
            self.task.export(self.exported, averaged)
        self.accelerator.wait_for_everyone()

    @property
    def exported(self) -> Path:
        """File of the averaged weights."""
        return self.folder / f"{self.task.name}.safetensors"
