"""What makes a training step faster without changing what is learned, beyond rounding."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from .options import TrainOptions

# Loading processes of a run on an accelerator, where none are asked for.
WORKERS = 4


def uses_bf16(options: TrainOptions, device: torch.device) -> bool:
    """Whether forward passes run in bfloat16: as asked for, else where a GPU has units for it."""
    if options.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return options.precision == "bf16"


def worker_count(options: TrainOptions, device: torch.device) -> int:
    """Data-loading processes: as asked for, else none on a CPU, which they would only take from."""
    if options.workers is not None:
        return options.workers
    return 0 if device.type == "cpu" else WORKERS


def allow_tf32(device: torch.device) -> None:
    """Let what stays in float32 on a GPU multiply with 10 bits of mantissa."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def adamw(
    parameters: list[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW, all parameters in one kernel where the device has one."""
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(parameters, lr, betas=betas, weight_decay=weight_decay, fused=fused)


def prepare_module(module: nn.Module, options: TrainOptions, may_compile: bool) -> None:
    """Lay out the weights of convolutions channels last, and compile the module, as asked for.

    Raises
    ------
    InputError
        If this task's step cannot be compiled.
    """
    if options.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.compile:
        if not may_compile:
            raise InputError("compile: only the flow's training can be compiled; leave it out")
        module.compile()
