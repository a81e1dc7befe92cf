"""Training batches with the paper's augmentations (paper, section IV-A)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.fusion import Fusion
from ..rendering.placing import canvas
from .shards import CachedItem, Placed


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of the training augmentations.

    Parameters
    ----------
    drop
        Each event loses its sound and caption; the target keeps it (paper: 0.4).
    mask
        A contiguous span of an event's frames becomes silence (paper: 0.1).
    unconditional
        Prompt and references are dropped together, for guidance (paper: 0.1).
    free
        References are not placed, so that the network has to find their time (the paper's mode,
        and always so with a fusion that uses no timeline).
    """

    drop: float = 0.4
    mask: float = 0.1
    unconditional: float = 0.1
    free: float = 0.5


@dataclass
class Batch:
    """Inputs of `MRCUNet.forward` and the target latents, for one training step."""

    data: Tensor
    prompt: Tensor
    prompt_mask: Tensor
    captions: Tensor
    caption_mask: Tensor
    references: Tensor
    reference_mask: Tensor

    def conditions(self) -> dict[str, Tensor]:
        """Keyword arguments of the network besides z and the time."""
        return {k: v for k, v in self.__dict__.items() if k != "data"}


def chance(probability: float, generator: torch.Generator) -> bool:
    """True with `probability`."""
    return torch.rand((), generator=generator).item() < probability


def mask_span(parts: list[Placed], silence: Tensor, generator: torch.Generator) -> list[Placed]:
    """Silence a contiguous 10 to 50 % of each part (start frame, latent [C, t, F])."""
    masked = []
    for start, latent in parts:
        frames = latent.shape[1]
        length = max(1, round(frames * (0.1 + 0.4 * torch.rand((), generator=generator).item())))
        begin = int(torch.randint(frames - length + 1, (), generator=generator))
        latent = latent.clone()
        latent[:, begin : begin + length] = silence
        masked.append((start, latent))
    return masked


def pad_tokens(rows: list[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Token features [len(rows), length, D] and mask of rows [L, D] of different lengths."""
    tokens = rows[0].new_zeros(len(rows), length, rows[0].shape[-1])
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
        mask[i, : len(row)] = True
    return tokens, mask


def training_example(
    item: CachedItem,
    silence: Tensor,
    empty_text: Tensor,
    fusion: Fusion,
    slots: int,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Batch:
    """Draw augmentations and a posterior sample of one item.

    Each event of a reference is dropped on its own (its sound becomes silence, its words leave the
    reference's caption), or loses a span of its frames; the target keeps it. References come in
    random order; of more than the slots a random choice is taken.

    Parameters
    ----------
    item
        With a target [C, T, F].
    silence, empty_text
        Latent of silence [C, 1, F], features of the empty text [L, D].
    fusion
        How the network takes references.
    slots
        Most references of one call.

    Returns
    -------
    Batch
        A batch of one item; slots without a reference hold the empty text.
    """
    frames = item.mean.shape[1]
    # A new sample of the posterior each time, so that the network sees what the decoder bears.
    data = item.mean + item.std * torch.randn(item.mean.shape, generator=generator)
    free = not fusion.uses_timeline or chance(augmentation.free, generator)
    alone = chance(augmentation.unconditional, generator)
    canvases: list[Tensor] = []
    texts: list[Tensor] = []
    for k in torch.randperm(len(item.references), generator=generator).tolist():
        parts: list[Placed] = []
        present = 0
        for number, event in enumerate(item.references[k].events):
            own = [event.sound] if free else event.placements
            if chance(augmentation.drop, generator) or not own:
                continue
            masked = chance(augmentation.mask, generator)
            parts += mask_span(own, silence, generator) if masked else own
            present |= 1 << number
        if parts and not alone and len(canvases) < slots:
            canvases.append(canvas(parts, silence, frames, placed=not free))
            texts.append(item.references[k].captions[present])
    references = fusion.stack(canvases, silence, slots, frames)
    texts += [empty_text] * (len(references) - len(texts))
    # Guidance needs a branch that knows neither prompt nor references.
    prompt = empty_text if alone else item.prompt
    longest = max(len(text) for text in (prompt, empty_text, *texts))
    captions, caption_mask = pad_tokens(texts, longest)
    return Batch(
        data[None],
        *pad_tokens([prompt], longest),
        captions[None],
        caption_mask[None],
        references[None],
        (torch.arange(len(references)) < len(canvases))[None],
    )


def join_batches(batches: list[Batch], slots: int = 0, tokens: int = 0) -> Batch:
    """One batch of several whose targets have the same shape; slots and tokens are padded with
    masked zeros, to `slots` and `tokens` at least.
    """
    slots = max(slots, *(b.references.shape[1] for b in batches))
    longest = max(tokens, *(max(b.prompt.shape[1], b.captions.shape[2]) for b in batches))

    def grow(x: Tensor, *sizes: int) -> Tensor:
        out = x.new_zeros(x.shape[0], *sizes, *x.shape[1 + len(sizes) :])
        out[tuple(slice(size) for size in x.shape[: 1 + len(sizes)])] = x
        return out

    sizes = {
        "data": (),
        "prompt": (longest,),
        "prompt_mask": (longest,),
        "captions": (slots, longest),
        "caption_mask": (slots, longest),
        "references": (slots,),
        "reference_mask": (slots,),
    }
    return Batch(
        **{
            name: torch.cat([grow(getattr(b, name), *size) for b in batches])
            for name, size in sizes.items()
        }
    )
