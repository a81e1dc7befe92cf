"""Layers that are fast on a CPU at inference; otherwise those of `torch.nn`, or of a host.

Two things are slow in PyTorch on a CPU. Float32 matrix products go to MKL, which keeps to AVX2 on
processors that are not Intel's; oneDNN, which PyTorch uses for convolutions, takes AVX-512 there
and is twice as fast. And convolutions of small maps with many channels spend their time on
reordering weights; as a product with the unfolded map they read them once.

The maps of a network should be in the memory format channels last (`channels_last`): a 1x1
convolution is then a product without a copy.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Iterator, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
# Up to so many positions, and from so many channels on, a 3x3 convolution is faster unfolded.
_UNFOLD_POSITIONS, _UNFOLD_CHANNELS = 512, 256
# From so many positions on a convolution of a doubled map is computed before the doubling.
_DOUBLED_POSITIONS = 2048
# Queries of one product in attention: their scores stay in the cache.
_BLOCK = 256


def _has_onednn() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


_ONEDNN = _has_onednn()
_PLAIN = ContextVar("plain", default=False)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Within it every layer takes PyTorch's usual path, for comparison."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def is_direct(x: Tensor) -> bool:
    """Whether an operation on `x` may leave PyTorch's usual path: float32 on a CPU that gains by
    it, no gradient, no compiler that would rather see plain operations.
    """
    return (
        _ONEDNN
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not _PLAIN.get()
        and not torch.is_autocast_enabled("cpu")
        and x.numel() > 0
    )


def is_plain(layer: nn.Module, x: Tensor) -> bool:
    """Whether the weights of `layer` can be used as they are for `x`: same type and place, and no
    patch of a host (ComfyUI's `weight_function`) that its forward would apply.
    """
    weight = layer.weight
    # ComfyUI's layers may wait for their weights.
    return (
        isinstance(weight, Tensor)
        and weight.dtype == x.dtype
        and weight.device == x.device
        and not getattr(layer, "weight_function", None)
        and not getattr(layer, "bias_function", None)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by oneDNN; only where `is_direct` holds."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def channels_last(x: Tensor) -> Tensor:
    """A map [B, C, T, F] in the memory format in which the layers here are fast."""
    return x.contiguous(memory_format=torch.channels_last) if is_direct(x) else x


def arrange_weights(module: Network, device: torch.device | str) -> Network:
    """The module, where it computes on a CPU with the weights of its 2D convolutions in the order
    in which that reads them.
    """
    if _ONEDNN and torch.device(device).type == "cpu":
        for parameter in module.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def _unfolded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution with padding 1 of a map in channels last, as one matrix product."""
    batch, channels, frames, bands = x.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    patches = padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3)
    rows = patches.reshape(batch * frames * bands, 9 * channels)
    out = linear(rows, weight.permute(0, 2, 3, 1).reshape(len(weight), -1), bias)
    return out.view(batch, frames, bands, -1).permute(0, 3, 1, 2)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any = 1, padding: Any = 0
) -> Tensor:
    """`F.conv2d` by whatever is fastest for a map in channels last; only where `is_direct`
    holds.
    """
    kernel, last = tuple(weight.shape[2:]), x.is_contiguous(memory_format=torch.channels_last)
    plain = last and stride in (1, (1, 1))
    if plain and kernel == (1, 1) and padding in (0, (0, 0)):
        return linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    small = x.numel() <= _UNFOLD_POSITIONS * x.shape[1] and x.shape[1] >= _UNFOLD_CHANNELS
    if plain and kernel == (3, 3) and padding in (1, (1, 1)) and small:
        return _unfolded(x, weight, bias)
    return F.conv2d(x, weight, bias, stride, padding)


def upsample(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Nearest-neighbour doubling of [B, C, T, F] on both axes, and the 3x3 convolution `layer` of
    it.

    Of the nine values that the convolution sees, four at most differ: four kernels of 2x2, one for
    each parity of row and column, on the map before it is doubled take 4/9 of the work.
    """
    large = x.numel() >= _DOUBLED_POSITIONS * x.shape[1]
    if not (large and is_direct(x) and is_plain(layer, x)):
        return layer(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    batch, _, frames, bands = x.shape
    rows = _paired(layer.weight, 2)
    kernels = torch.cat([k for row in rows for k in _paired(row, 3)])
    bias = None if layer.bias is None else layer.bias.repeat(4)
    kernels = kernels.contiguous(memory_format=torch.channels_last)
    phases = F.conv2d(x, kernels, bias, padding=1).chunk(4, dim=1)
    out = x.new_empty(batch, phases[0].shape[1], 2 * frames, 2 * bands)
    out = out.contiguous(memory_format=torch.channels_last)
    for index, phase in enumerate(phases):
        row, column = divmod(index, 2)
        part = phase[:, :, row : row + frames, column : column + bands]
        out[:, :, row::2, column::2] = part
    return out


def _paired(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Kernels of two for the even and the odd positions of a doubled axis."""
    before, here, after = weight.split(1, axis)
    even, odd = (before, here + after), (before + here, after)
    return torch.cat(even, axis), torch.cat(odd, axis)


def silu(x: Tensor) -> Tensor:
    """SiLU of what nothing else needs; without gradients in its place, as fresh memory costs more
    than the computation.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


def add(x: Tensor, y: Tensor) -> Tensor:
    """Sum, without gradients in the place of `x`."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """`F.scaled_dot_product_attention` of [B, heads, N, D] over [B, heads, L, D]; `mask` [B, 1, 1,
    L].

    PyTorch's own computes its products with MKL. Block by block through oneDNN it is faster where
    there is much to attend to and few threads, as one block is little work for many.
    """
    batch, heads, length, dim = queries.shape
    many = length >= 512 and keys.shape[2] >= 512
    if mask is not None or not many or not is_direct(queries) or torch.get_num_threads() > 4:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # Heads and channels last, as the layer after it joins them.
    out = queries.new_empty(batch, length, heads, dim).transpose(1, 2)
    for item in range(batch):
        for head in range(heads):
            # The scale is cheaper on the keys than on the scores.
            key = (keys[item, head] * dim**-0.5).contiguous()
            value = values[item, head].t().contiguous()
            for first in range(0, length, _BLOCK):
                block = queries[item, head, first : first + _BLOCK]
                weights = linear(block, key).softmax(-1)
                out[item, head, first : first + _BLOCK] = linear(weights, value)
    return out


class _Linear:
    def forward(self, x: Tensor) -> Tensor:
        if is_direct(x) and x.dim() > 1 and is_plain(self, x):  # type: ignore[arg-type]
            return linear(x, self.weight, self.bias)  # type: ignore[attr-defined]
        return super().forward(x)  # type: ignore[misc]


class _Conv2d:
    def forward(self, x: Tensor) -> Tensor:
        simple = (
            self.groups == 1  # type: ignore[attr-defined]
            and self.dilation == (1, 1)  # type: ignore[attr-defined]
            and self.padding_mode == "zeros"  # type: ignore[attr-defined]
        )
        if simple and is_direct(x) and is_plain(self, x):  # type: ignore[arg-type]
            return convolve(x, self.weight, self.bias, self.stride, self.padding)  # type: ignore[attr-defined]
        return super().forward(x)  # type: ignore[misc]


class Operations:
    """The layers of a namespace (`torch.nn`, ComfyUI's `comfy.ops.manual_cast`), of which `Linear`
    and `Conv2d` take the fast way where they may.
    """

    def __init__(self, base: Any):
        self.base = base
        self.Linear = type("Linear", (_Linear, base.Linear), {})
        self.Conv2d = type("Conv2d", (_Conv2d, base.Conv2d), {})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)


FAST = Operations(nn)
"""The layers of `torch.nn`, fast at inference."""
