"""Building blocks of the MRC UNet: time embedding, residual block, attention, transformer,
attention site.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Sequence, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .operations import add, attention, silu, upsample

# Unscaled, the embeddings of time 0 and time 1 are almost alike (cosine 0.97; scaled 0.16).
TIME_SCALE = 1000.0


class KeysValues(NamedTuple):
    """Projected context of one cross-attention: keys and values [B, heads, L, head_dim], mask [B,
    1, 1, L] or None.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None


def sinusoidal_embedding(time: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal features [B, dim] of times [B]: cosines, then sines, at geometrically spaced
    frequencies.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=time.device)
    angles = time.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero, so that a residual branch starts as identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class TimeEmbedding(nn.Module):
    """Flow time, or share of the diffusion steps, [B] in [0, 1] to an embedding [B, 4 *
    channels].
    """

    def __init__(self, channels: int, operations=nn, dtype=None, device=None):
        super().__init__()
        self.channels = channels
        self.linear1 = operations.Linear(channels, 4 * channels, dtype=dtype, device=device)
        self.linear2 = operations.Linear(4 * channels, 4 * channels, dtype=dtype, device=device)

    def forward(self, time: Tensor, dtype: torch.dtype) -> Tensor:
        x = sinusoidal_embedding(time * TIME_SCALE, self.channels).to(dtype)
        return self.linear2(F.silu(self.linear1(x)))


def mean_token(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, D] of the tokens [B, L, D] where mask [B, L] is True, at unit variance."""
    weights = mask[..., None].to(tokens.dtype)
    mean = (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
    return F.normalize(mean.float(), dim=-1).to(mean.dtype) * mean.shape[-1] ** 0.5


def without_padding(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B, L, D] and mask [B, L] without what is masked in every row, to which nothing can
    attend.
    """
    kept = mask.any(dim=0)
    # As they are while training, where shapes should not change from batch to batch.
    if torch.is_grad_enabled() or not kept.any():
        return tokens, mask
    return tokens[:, kept], mask[:, kept]


class PromptEmbedding(nn.Module):
    """Mean token of the prompt [B, D] to a summand of the time embedding [B, dim]; zero before
    training.
    """

    def __init__(self, text_dim: int, dim: int, operations=nn, dtype=None, device=None):
        super().__init__()
        self.linear1 = operations.Linear(text_dim, dim, dtype=dtype, device=device)
        self.linear2 = zero_init(operations.Linear(dim, dim, dtype=dtype, device=device))

    def forward(self, mean: Tensor) -> Tensor:
        return self.linear2(F.silu(self.linear1(mean)))


class PromptEnvelope(nn.Module):
    """Spectral envelope that a prompt asks for: the mean over time of the latent where it sounds.

    A small regression with a loss of its own, because what a prompt says about the spectrum is
    learnt slowly through the flow's loss alone. `estimate` gives the envelope [B, C, 1, F] from the
    prompt's mean token [B, D]; `forward` what the estimate adds after the noise encoder's first
    convolution, [B, hidden, 1, F], zero before training.
    """

    def __init__(
        self,
        text_dim: int,
        channels: int,
        bands: int,
        hidden: int,
        operations=nn,
        dtype=None,
        device=None,
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.shape, width = (channels, 1, bands), 8 * hidden
        self.linear1 = operations.Linear(text_dim, width, **kw)
        self.linear2 = operations.Linear(width, width, **kw)
        self.linear3 = operations.Linear(width, channels * bands, **kw)
        self.out = zero_init(operations.Conv2d(channels, hidden, 1, **kw))

    def estimate(self, mean: Tensor) -> Tensor:
        h = F.silu(self.linear2(F.silu(self.linear1(mean))))
        return self.linear3(h).unflatten(1, self.shape)

    def forward(self, mean: Tensor) -> Tensor:
        return self.out(self.estimate(mean))


class ResBlock(nn.Module):
    """Residual block with additive time embedding; [B, in, T, F] to [B, out, T, F]."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding: int,
        groups: int,
        operations,
        dtype,
        device,
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.norm1 = operations.GroupNorm(groups, in_channels, **kw)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **kw)
        self.embedding = operations.Linear(embedding, out_channels, **kw)
        self.norm2 = operations.GroupNorm(groups, out_channels, **kw)
        self.conv2 = zero_init(operations.Conv2d(out_channels, out_channels, 3, padding=1, **kw))
        self.skip = (
            None
            if in_channels == out_channels
            else operations.Conv2d(in_channels, out_channels, 1, **kw)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = add(h, self.embedding(F.silu(embedding))[:, :, None, None])
        h = self.conv2(silu(self.norm2(h)))
        return add(h, x if self.skip is None else self.skip(x))


class Attention(nn.Module):
    """Multi-head attention from queries [B, N, dim] to a context [B, L, context_dim]."""

    def __init__(self, dim: int, context_dim: int, head_dim: int, operations, dtype, device):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.heads = dim // head_dim
        self.to_q = operations.Linear(dim, dim, bias=False, **kw)
        self.to_k = operations.Linear(context_dim, dim, bias=False, **kw)
        self.to_v = operations.Linear(context_dim, dim, bias=False, **kw)
        self.to_out = operations.Linear(dim, dim, **kw)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)

    def project(self, context: Tensor, mask: Tensor | None = None) -> KeysValues:
        """Keys and values of a context [B, L, context_dim] with mask [B, L] (True = token)."""
        mask = None if mask is None else mask[:, None, None, :]
        return KeysValues(self._split(self.to_k(context)), self._split(self.to_v(context)), mask)

    def forward(self, x: Tensor, context: KeysValues | None = None) -> Tensor:
        keys, values, mask = self.project(x) if context is None else context
        out = attention(self._split(self.to_q(x)), keys, values, mask)
        return self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))


class FeedForward(nn.Module):
    """GEGLU feed-forward with fourfold expansion."""

    def __init__(self, dim: int, operations, dtype, device):
        super().__init__()
        self.expand = operations.Linear(dim, 8 * dim, dtype=dtype, device=device)
        self.project = operations.Linear(4 * dim, dim, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(x).chunk(2, dim=-1)
        gate = F.gelu(gate)
        return self.project(value * gate if torch.is_grad_enabled() else gate.mul_(value))


class Transformer(nn.Module):
    """One transformer block over the positions of a feature map: self-attention, attention to a
    context, feed-forward.

    Without a context (`context_dim=None`) the second attention is another self-attention.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int | None,
        head_dim: int,
        groups: int,
        operations,
        dtype,
        device,
    ):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.norm = operations.GroupNorm(groups, dim, eps=1e-6, **kw)
        self.proj_in = operations.Conv2d(dim, dim, 1, **kw)
        self.norm1 = operations.LayerNorm(dim, **kw)
        self.attention1 = Attention(dim, dim, head_dim, operations, dtype, device)
        self.norm2 = operations.LayerNorm(dim, **kw)
        self.attention2 = Attention(dim, context_dim or dim, head_dim, operations, dtype, device)
        self.norm3 = operations.LayerNorm(dim, **kw)
        self.feed_forward = FeedForward(dim, operations, dtype, device)
        self.proj_out = zero_init(operations.Conv2d(dim, dim, 1, **kw))

    def forward(self, x: Tensor, context: KeysValues | None = None) -> Tensor:
        frames = x.shape[2]
        h = rearrange(self.proj_in(self.norm(x)), "b c t f -> b (t f) c")
        h = h + self.attention1(self.norm1(h))
        h = add(h, self.attention2(self.norm2(h), context))
        h = add(h, self.feed_forward(self.norm3(h)))
        return add(self.proj_out(rearrange(h, "b (t f) c -> b c t f", t=frames)), x)


class AttentionSite(nn.Module):
    """A self-attention transformer followed by one transformer per text context (paper, section
    III-B).
    """

    def __init__(
        self,
        dim: int,
        context_dims: Sequence[int],
        head_dim: int,
        groups: int,
        operations,
        dtype,
        device,
    ):
        super().__init__()
        args = (head_dim, groups, operations, dtype, device)
        self.self_attention = Transformer(dim, None, *args)
        self.cross_attention = nn.ModuleList(
            [Transformer(dim, context, *args) for context in context_dims]
        )

    def project(self, contexts: Sequence[tuple[Tensor, Tensor | None]]) -> list[KeysValues]:
        """Keys and values of each (tokens, mask) context."""
        return [
            cast(Transformer, block).attention2.project(*context)
            for block, context in zip(self.cross_attention, contexts)
        ]

    def forward(self, x: Tensor, contexts: Sequence[KeysValues]) -> Tensor:
        x = self.self_attention(x)
        for block, context in zip(self.cross_attention, contexts):
            x = block(x, context)
        return x


class Downsample(nn.Module):
    """Strided convolution, half the resolution on both axes."""

    def __init__(self, channels: int, operations, dtype, device):
        super().__init__()
        self.conv = operations.Conv2d(
            channels, channels, 3, stride=2, padding=1, dtype=dtype, device=device
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest-neighbour doubling on both axes followed by a convolution."""

    def __init__(self, channels: int, operations, dtype, device):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, dtype=dtype, device=device)

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.conv)
