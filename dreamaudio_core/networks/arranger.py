"""The arranger: from a prompt, captions and lengths of references to where each reference sounds in
the target.

It reads frozen token features of the text encoder. A transformer runs over the prompt's tokens and
one token for each reference; how well each prompt token matches each caption biases its attention.
Starts are not regressed freely: the network says which references lie before which, and sums the
lengths of those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..config import ArrangerConfig
from ..errors import InputError
from .layers import Attention, sinusoidal_embedding

_FREQUENCIES = 16
_FARTHEST = 16
"""Tokens of a prompt that are farther apart are all alike."""
_MATCHES = 4


@dataclass
class ArrangerOutput:
    """What the arranger says of B prompts with K references and up to R repeats; all float32.

    Parameters
    ----------
    occurs
        Logits [B, K] that the prompt asks for the reference.
    repeats
        Logits [B, K, R] of 1 to R occurrences.
    start
        Seconds [B, K, R]; repeat r counts in time order.
    duration
        Seconds [B, K, R] of the reference that are used, at most its length.
    gain
        Level [B, K] in dB against the reference as it is encoded.
    precedes
        Logits [B, K, R, K] that occurrences of the last index's reference end before repeat r of
        the second's starts.
    complete
        Logits [B] that the references stand for everything that the prompt asks for; None without
        `completeness`.
    """

    occurs: Tensor
    repeats: Tensor
    start: Tensor
    duration: Tensor
    gain: Tensor
    precedes: Tensor
    complete: Tensor | None = None


class _Block(nn.Module):
    """Pre-norm transformer block whose attention takes an additive bias [B, heads, N, N]."""

    def __init__(self, dim: int, heads: int, operations, dtype, device):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        self.norm1 = operations.LayerNorm(dim, **kw)
        self.attention = Attention(dim, dim, dim // heads, operations, dtype, device)
        self.norm2 = operations.LayerNorm(dim, **kw)
        self.expand = operations.Linear(dim, 2 * dim, **kw)
        self.project = operations.Linear(2 * dim, dim, **kw)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attention(h, self.attention.project(h)._replace(mask=bias))
        return x + self.project(F.gelu(self.expand(self.norm2(x))))


class Arranger(nn.Module):
    """Timeline of placed references from text features and lengths (an addition to the paper, which
    has no timeline).

    References carry no index: permuting them permutes the output.

    Parameters
    ----------
    config
        Sizes.
    operations, dtype, device
        Layer classes, parameter type and device.
    """

    def __init__(self, config: ArrangerConfig, operations=nn, dtype=None, device=None):
        super().__init__()
        kw = {"dtype": dtype, "device": device}
        dim, heads, repeats = config.hidden, config.heads, config.max_repeats
        self.config = config
        self.match_prompt = operations.Linear(config.text_dim, dim, **kw)
        self.match_caption = operations.Linear(config.text_dim, dim, **kw)
        if not self.match_prompt.weight.is_meta:
            self.match_caption.load_state_dict(self.match_prompt.state_dict())
        self.word_weight = operations.Linear(config.text_dim, 1, **kw)
        self.match = operations.Linear(_MATCHES - 1, 1, **kw)
        self.match_bias = operations.Linear(_MATCHES + 1, 2 * heads * config.layers, **kw)
        self.prompt_in = operations.Linear(config.text_dim, dim, **kw)
        self.caption_in = operations.Linear(config.text_dim, dim, **kw)
        self.position_in = operations.Linear(dim, dim, **kw)
        self.seconds_in = operations.Linear(2 * (2 * _FREQUENCIES + 2), dim, **kw)
        self.evidence_in = operations.Linear(_MATCHES + 1, dim, **kw)
        self.distance_bias = operations.Embedding(2 * _FARTHEST + 1, heads, **kw)
        self.blocks = nn.ModuleList(
            _Block(dim, heads, operations, dtype, device) for _ in range(config.layers)
        )
        self.norm = operations.LayerNorm(dim, **kw)
        self.occurs = operations.Linear(dim, 1, **kw)
        self.repeats = operations.Linear(dim, repeats, **kw)
        self.gain = operations.Linear(dim, 1, **kw)
        self.length = operations.Linear(dim, 4, **kw)
        self.place = operations.Linear(dim, 7 * repeats, **kw)
        self.later = operations.Linear(dim, (repeats + 1) * dim, **kw)
        self.earlier = operations.Linear(dim, 2 * dim, **kw)
        self.order = operations.Linear(4, repeats + 1, **kw)
        self.words, self.complete = None, None
        if config.predicts_missing:
            self.words = operations.Linear(dim + _MATCHES + 2, dim, **kw)
            self.complete = operations.Linear(2 * dim, 1, **kw)

    def _match(
        self,
        prompt: Tensor,
        prompt_mask: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Match channels [B, K, L, 5], summary of each caption [B, K, D], mean position of its
        match [B, K].
        """
        weights = (
            self.word_weight(captions)[..., 0].float().masked_fill(~caption_mask, -1e4).softmax(-1)
        )
        # The words of a caption do not count alike: "dog" tells it from others, "a" and "barks" do
        # not.
        weights = weights.to(captions.dtype)[..., None]
        words = self.match_caption(captions)
        summary = F.normalize((weights * words).sum(2), dim=-1)
        plain = caption_mask.to(captions.dtype)[..., None]
        plain = F.normalize((plain * words).sum(2), dim=-1)
        # Cosines, so that a frequent word with long vectors does not win by its length.
        words, tokens = F.normalize(words, dim=-1), F.normalize(self.match_prompt(prompt), dim=-1)
        nearest = (
            torch.einsum("bld,bkmd->bklm", tokens, words)
            .masked_fill(~caption_mask[:, :, None], -1.0)
            .amax(-1)
        )
        by_mean = [torch.einsum("bld,bkd->bkl", tokens, mean) for mean in (summary, plain)]
        channels = 8.0 * torch.stack([*by_mean, nearest], -1)
        logit = self.match(channels)[..., 0].float()
        outside = ~(present[:, :, None] & prompt_mask[:, None])
        # A prompt token belongs to one of the references, or (the zero) to none of them.
        belongs = torch.cat(
            [logit.masked_fill(outside, -1e4), torch.zeros_like(logit[:, :1])], 1
        ).softmax(1)[:, :-1]
        # Where in the prompt the reference is spoken of, as an expectation, which has a slope.
        where = logit.masked_fill(outside, -1e4).softmax(-1)
        position = (where * torch.arange(logit.shape[-1], device=logit.device)).sum(-1)
        logit, belongs = (x.to(channels.dtype)[..., None] for x in (logit, belongs))
        return torch.cat([channels, logit, belongs], -1), (weights * captions).sum(2), position

    def _bias(self, channels: Tensor, keys: Tensor) -> list[Tensor]:
        """Attention bias [B, heads, L + K, L + K] of each layer; `keys` [B, L + K] says which
        positions exist.
        """
        batch, count, length, _ = channels.shape
        heads = self.config.heads
        place = torch.arange(length, device=channels.device)
        distance = (place[None] - place[:, None]).clamp(-_FARTHEST, _FARTHEST) + _FARTHEST
        among = self.distance_bias(distance).to(channels.dtype)
        among = repeat(among, "query key heads -> b heads query key", b=batch)
        # Both ways, from references to prompt tokens and back, for each layer.
        pattern = "b k l (layers way heads) -> layers way b heads k l"
        cross = rearrange(self.match_bias(channels), pattern, way=2, heads=heads)
        corner = channels.new_zeros(batch, heads, count, count)
        hidden = ~keys[:, None, None]
        biases = []
        for of_references, of_prompt in cross:
            upper = torch.cat([among, of_prompt.mT], -1)
            lower = torch.cat([of_references, corner], -1)
            biases.append(torch.cat([upper, lower], -2).masked_fill(hidden, -1e4))
        return biases

    def forward(
        self,
        prompt: Tensor,
        prompt_mask: Tensor,
        captions: Tensor,
        caption_mask: Tensor,
        reference_seconds: Tensor,
        reference_mask: Tensor,
        seconds: Tensor,
    ) -> ArrangerOutput:
        """Arrange a batch.

        Parameters
        ----------
        prompt, prompt_mask
            Token features [B, L, D] and mask [B, L] (True = token).
        captions, caption_mask
            Token features [B, K, M, D] and mask [B, K, M].
        reference_seconds
            Trimmed lengths [B, K].
        reference_mask
            Which references exist, [B, K].
        seconds
            Length of each target, [B].
        """
        length, count = prompt.shape[1], captions.shape[1]
        channels, summary, position = self._match(
            prompt, prompt_mask, captions, caption_mask, reference_mask
        )
        dtype = summary.dtype
        hidden = ~prompt_mask[:, None, :, None]
        # The offset keeps a sum over tokens from growing with the prompt; the last channel is a
        # probability.
        best = channels.masked_fill(hidden, -1e4).amax(2)
        evidence = torch.cat(
            [best[..., :_MATCHES], channels[..., -1:].masked_fill(hidden, 0.0).sum(2)], -1
        )
        lengths = torch.cat(
            [
                _seconds_features(reference_seconds),
                _seconds_features(seconds)[:, None].expand(-1, count, -1),
            ],
            -1,
        ).to(dtype)
        places = sinusoidal_embedding(
            torch.arange(length, device=prompt.device), self.config.hidden, 200.0
        ).to(dtype)
        x = torch.cat(
            [
                self.prompt_in(prompt) + self.position_in(places),
                self.caption_in(summary) + self.seconds_in(lengths) + self.evidence_in(evidence),
            ],
            1,
        )
        keys = torch.cat([prompt_mask, reference_mask], 1)
        for block, bias in zip(self.blocks, self._bias(channels, keys)):
            x = block(x, bias)
        x = self.norm(x)
        out = self._read(x[:, length:], position, reference_seconds, reference_mask, seconds)
        if self.config.predicts_missing:
            out.complete = self._complete(x[:, :length], channels, prompt_mask, reference_mask)
        return out

    def _complete(
        self, x: Tensor, channels: Tensor, prompt_mask: Tensor, reference_mask: Tensor
    ) -> Tensor:
        """Logits [B] from what each prompt token has become and from how it matches the references,
        one and all.
        """
        assert self.words is not None and self.complete is not None
        # The row of zeros stands for none, so that there may be no reference and padded ones change
        # nothing.
        channels = F.pad(
            channels.masked_fill(~reference_mask[:, :, None, None], 0.0), (0, 0, 0, 0, 0, 1)
        )
        matches = torch.cat(
            [channels[..., :-1].amax(1), channels[..., -1:].sum(1), channels[..., -1:].amax(1)], -1
        )
        words = F.gelu(self.words(torch.cat([x, matches], -1)))
        hidden = ~prompt_mask[..., None]
        mean = words.masked_fill(hidden, 0.0).sum(1) / prompt_mask.sum(1, keepdim=True).clamp_min(
            1
        ).to(words.dtype)
        most = words.masked_fill(hidden, -1e4).amax(1)
        return self.complete(torch.cat([mean, most], -1))[:, 0].float()

    def _pairs(self, x: Tensor, position: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K, R, K] that j precedes repeat r of i, and [B, K, K] that j is in one
        sequence with i.
        """
        later = self.later(x).unflatten(-1, (self.config.max_repeats + 1, -1)).float()
        before, along = self.earlier(x).float().chunk(2, -1)
        # The order in the prompt and the difference in length, so that a plain sequence has nothing
        # more to learn.
        apart = position[:, :, None] - position[:, None]
        longer = torch.tanh(4 * (reference[:, :, None] - reference[:, None]))
        apart = torch.stack([apart / 8, torch.tanh(apart), torch.tanh(apart / 4), longer], -1)
        prior = self.order(apart.to(x.dtype)).float().transpose(2, 3)
        scale = x.shape[-1] ** -0.5
        precedes = (
            scale * torch.einsum("bird,bjd->birj", later[:, :, :-1], before) + prior[:, :, :-1]
        )
        member = scale * torch.einsum("bid,bjd->bij", later[:, :, -1], along) + prior[:, :, -1]
        return precedes, member

    def _read(
        self,
        x: Tensor,
        position: Tensor,
        reference_seconds: Tensor,
        reference_mask: Tensor,
        seconds: Tensor,
    ) -> ArrangerOutput:
        repeats = self.config.max_repeats
        occurs, count = self.occurs(x)[..., 0].float(), self.repeats(x).float()
        reference, whole = reference_seconds.float(), seconds.float()[:, None].expand(x.shape[:2])
        precedes, member = self._pairs(x, position, reference)
        # From here on everything is in seconds and float32: half precision is too coarse for times.
        index = torch.arange(repeats, device=x.device, dtype=torch.float32)
        own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        there = torch.sigmoid(occurs).detach() * reference_mask
        # The expected number of occurrences, as the number itself has no slope.
        times = (count.softmax(-1) * (index + 1)).sum(-1) * there
        member = torch.sigmoid(member) * ~own

        # A reference is cut to a part of the target or, among others, to an equal share of what the
        # short ones leave.
        fraction, gap, long, slack = self.length(x).float().unbind(-1)
        long = torch.sigmoid(long + 4 * (reference - whole / 2))
        used = (member * ((1 - long) * times * reference)[:, None]).sum(-1)
        share = (whole - used) / (1 + (member * (long * there)[:, None]).sum(-1)) + F.softplus(
            slack + 2.0
        )
        most = torch.minimum(whole * torch.sigmoid(fraction + 2.0), share.clamp_min(0.1))
        # The minimum has no slope towards `most` where the reference is shorter; a little of it is
        # let through.
        duration = torch.minimum(reference, most) + 0.05 * (most - most.detach())
        # A repeat begins when the one before has ended, and a pause.
        step = duration + F.softplus(gap - 2.0)
        span = times * step

        lead, free, fixed, *gate = self.place(x).float().unflatten(-1, (7, repeats)).unbind(-2)
        # The start of a sound in a sequence: the lengths of all that come before it.
        before = (torch.sigmoid(precedes) * ~own[:, None] * span[:, None, None]).sum(-1)
        before = before + index * step[..., None] + lead
        block = (member * span[:, None]).sum(-1) + times.clamp_min(1) * step
        # Four readings of a start, between which a gate decides: after what comes before, the same
        # with the whole sequence centred, anywhere, and at a share of the target's length ("at the
        # end").
        starts = torch.stack(
            [
                before,
                before + ((whole - block) / 2)[..., None],
                torch.sigmoid(free) * (whole - duration)[..., None],
                torch.sigmoid(fixed) * whole[..., None],
            ],
            -1,
        )
        # An untrained gate prefers the first, which most prompts mean.
        prior = torch.tensor([2.0, 0.0, 0.0, 0.0], device=x.device)
        start = (starts * (torch.stack(gate, -1) + prior).softmax(-1)).sum(-1)
        return ArrangerOutput(
            occurs,
            count,
            start,
            duration[..., None].expand_as(start),
            self.gain(x)[..., 0].float(),
            precedes,
        )


def _seconds_features(seconds: Tensor) -> Tensor:
    """Lengths [...] to features [..., 2 * 16 + 2]: the value, its logarithm, and sinusoids of 0.2
    to 20 s.
    """
    value = seconds.float()[..., None]
    angle = (
        2
        * math.pi
        * value
        / (0.2 * 100 ** (torch.arange(_FREQUENCIES, device=value.device) / (_FREQUENCIES - 1)))
    )
    return torch.cat([value / 5, value.clamp_min(0.01).log(), angle.sin(), angle.cos()], -1)


@torch.inference_mode()
def predict(
    arranger: Arranger,
    prompt: Tensor,
    prompt_mask: Tensor,
    captions: Tensor,
    caption_mask: Tensor,
    reference_seconds: Sequence[float],
    seconds: float,
) -> ArrangerOutput:
    """What the network says of one prompt: a batch of one.

    Parameters
    ----------
    prompt, prompt_mask
        Token features [L, D] of the prompt and mask [L].
    captions, caption_mask
        Token features [K, M, D] of the references' captions and mask [K, M].
    reference_seconds
        Trimmed lengths of the K references.
    seconds
        Length of the target.

    Raises
    ------
    InputError
        If there are more references than the network takes.
    """
    count, most = len(reference_seconds), arranger.config.max_references
    if count > most:
        raise InputError(f"references: expected at most {most}, found {count}; leave some out")
    dtype, device = next(arranger.parameters()).dtype, prompt.device
    return arranger(
        prompt[None].to(dtype),
        prompt_mask[None],
        captions[None].to(dtype),
        caption_mask[None],
        torch.tensor([list(reference_seconds)], device=device),
        torch.ones(1, count, dtype=torch.bool, device=device),
        torch.tensor([seconds], device=device),
    )
