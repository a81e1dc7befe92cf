"""Anti-aliased snake with a hand-written gradient, compiled: several times faster than autograd on
a CPU.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.bigvgan import FILTER, AntiAliasedSnake, BigVGAN, antialiased_snake, weighted_shifts

_HALF = len(FILTER.down_even)


def _phase_gradients(padded: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Gradients of both padded phases [B, C, length + 5] from the output's, padded with 5 zeros a
    side.
    """
    even = weighted_shifts(padded, FILTER.down_even[::-1], 0, length + _HALF - 1)
    odd = weighted_shifts(padded, FILTER.down_odd[::-1], 0, length + _HALF - 1)
    return even, odd


def _snake_gradients(
    padded: Tensor, even: Tensor, odd: Tensor, frequency: Tensor, amplitude: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of both phases before the snake, and of frequency and amplitude, each summed over
    time, [B, C].
    """
    length = even.shape[-1]
    gradients, of_frequency, of_amplitude = [], 0.0, 0.0
    for gradient, weights, start in ((even, FILTER.up_even, 0), (odd, FILTER.up_odd, 1)):
        phase = weighted_shifts(padded, weights, start, length)
        sine, cosine = torch.sin(phase * frequency), torch.cos(phase * frequency)
        slope = 2 * sine * cosine * gradient
        gradients.append(gradient + slope * (amplitude * frequency))
        of_frequency = of_frequency + (slope * phase).sum(-1)
        of_amplitude = of_amplitude + (sine * sine * gradient).sum(-1)
    return gradients[0], gradients[1], of_frequency, of_amplitude


def _input_gradient(even: Tensor, odd: Tensor, length: int) -> Tensor:
    """Gradient of the padded input [B, C, length + 6] from both phases', padded with 5 and 6, 6 and
    5 zeros.
    """
    return weighted_shifts(even, FILTER.up_even[::-1], 0, length + _HALF) + weighted_shifts(
        odd, FILTER.up_odd[::-1], 0, length + _HALF
    )


class SnakeKernels:
    """The pieces of forward and backward pass, compiled once for each shape (or, for tests, not
    compiled).
    """

    def __init__(self, compiled: bool = True) -> None:
        pieces = [antialiased_snake, _phase_gradients, _snake_gradients, _input_gradient]
        if compiled:
            pieces = [torch.compile(piece, dynamic=False) for piece in pieces]
        self.forward, self.phases, self.snake, self.input = pieces


class _FastSnake(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, frequency: Tensor, amplitude: Tensor, kernels: SnakeKernels
    ) -> Tensor:
        ctx.save_for_backward(x, frequency, amplitude)
        ctx.kernels = kernels
        return kernels.forward(x, frequency, amplitude)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, frequency, amplitude = ctx.saved_tensors
        kernels, length = ctx.kernels, x.shape[-1]
        full_even, full_odd = kernels.phases(F.pad(gradient, (_HALF - 1, _HALF - 1)), length)
        # The continued ends repeat the first even and the last odd sample.
        even, odd = (
            full_even[..., 2 : 2 + length].contiguous(),
            full_odd[..., 3 : 3 + length].contiguous(),
        )
        even[..., 0] += full_even[..., :2].sum(-1) + full_odd[..., :3].sum(-1)
        odd[..., -1] += full_even[..., length + 2 :].sum(-1) + full_odd[..., length + 3 :].sum(-1)
        padded = F.pad(x, (3, 3), mode="replicate")
        even, odd, of_frequency, of_amplitude = kernels.snake(
            padded, even, odd, frequency, amplitude
        )
        of_frequency = of_frequency.sum(0).unsqueeze(-1) * amplitude
        of_amplitude = of_amplitude.sum(0).unsqueeze(-1)
        full = kernels.input(
            F.pad(even, (_HALF - 1, _HALF)), F.pad(odd, (_HALF, _HALF - 1)), length
        )
        result = full[..., 3 : 3 + length].contiguous()
        result[..., 0] += full[..., :3].sum(-1)
        result[..., -1] += full[..., length + 3 :].sum(-1)
        return result, of_frequency, of_amplitude, None


def fast_snake(x: Tensor, frequency: Tensor, amplitude: Tensor, kernels: SnakeKernels) -> Tensor:
    """`antialiased_snake` with the hand-written gradient; only the input is kept for the backward
    pass.
    """
    return _FastSnake.apply(x, frequency, amplitude, kernels)


def compile_activations(model: BigVGAN) -> None:
    """Give every activation of `model` the compiled kernels; needs a C++ compiler and segments of
    one length.
    """
    kernels = SnakeKernels()
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for module in model.modules():
        if isinstance(module, AntiAliasedSnake):
            module.kernel = functools.partial(fast_snake, kernels=kernels)
