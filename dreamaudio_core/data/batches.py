"""Batches for the placed fusion, with the paper's augmentations (paper, section IV-A)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..rendering.placing import canvas
from .latents import CachedItem


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of the training augmentations.

    Parameters
    ----------
    drop
        Each reference loses its sound and caption; the target keeps the event (paper: 0.4).
    mask
        A contiguous span of a reference's frames becomes silence (paper: 0.1).
    unconditional
        Prompt and references are dropped together, for guidance (paper: 0.1).
    free
        References are not placed, so that the network has to find their time (the paper's mode).
    """

    drop: float = 0.4
    mask: float = 0.1
    unconditional: float = 0.1
    free: float = 0.5


@dataclass
class Batch:
    """Inputs of `MRCUNet.forward` and the target latents, for one training step, of either fusion."""

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


def mask_span(
    parts: list[tuple[int, Tensor]], silence: Tensor, generator: torch.Generator
) -> list[tuple[int, Tensor]]:
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


def placed_batch(
    items: list[CachedItem],
    silence: Tensor,
    empty_text: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Batch:
    """Draw augmentations and posterior samples, and join items of one length.

    Parameters
    ----------
    items
        Items whose targets have the same shape [C, T, F].
    silence, empty_text
        Latent of silence [C, 1, F], features of the empty text [L, D].
    """
    frames = items[0].mean.shape[1]
    data, prompts, canvases, captions = [], [], [], []
    for item in items:
        noise = torch.randn(item.mean.shape, generator=generator)
        data.append(item.mean + item.std * noise)
        free = chance(augmentation.free, generator)
        alone = chance(augmentation.unconditional, generator)
        prompts.append(empty_text if alone else item.prompt)
        rows, words = [], []
        for reference in item.references:
            dropped = chance(augmentation.drop, generator)
            parts = [(0, reference.whole)] if free else reference.parts
            if alone or dropped or not parts:
                continue
            if chance(augmentation.mask, generator):
                parts = mask_span(parts, silence, generator)
            rows.append(canvas(parts, silence, frames, placed=not free))
            words.append(reference.tokens)
        canvases.append(rows)
        captions.append(words)
    slots = max(1, max(len(rows) for rows in canvases))
    shape = (data[0].shape[0] + 2, frames, data[0].shape[2])
    references = torch.zeros(len(items), slots, *shape)
    reference_mask = torch.zeros(len(items), slots, dtype=torch.bool)
    longest = max(len(t) for t in [*prompts, empty_text, *(w for words in captions for w in words)])
    caption_tokens = torch.zeros(len(items), slots, longest, prompts[0].shape[-1])
    caption_mask = torch.zeros(len(items), slots, longest, dtype=torch.bool)
    for i, (rows, words) in enumerate(zip(canvases, captions)):
        for k, row in enumerate(rows):
            references[i, k], reference_mask[i, k] = row, True
        caption_tokens[i], caption_mask[i] = pad_tokens(
            [*words, *[empty_text] * (slots - len(words))], longest
        )
    prompt, prompt_mask = pad_tokens(prompts, longest)
    return Batch(
        torch.stack(data),
        prompt,
        prompt_mask,
        caption_tokens,
        caption_mask,
        references,
        reference_mask,
    )


def join_batches(batches: list[Batch]) -> Batch:
    """One batch of several whose targets have the same shape; slots and tokens are padded with
    masked zeros.
    """
    slots = max(b.references.shape[1] for b in batches)
    longest = max(max(b.prompt.shape[1], b.captions.shape[2]) for b in batches)

    def grow(x: Tensor, *sizes: int) -> Tensor:
        out = x.new_zeros(x.shape[0], *sizes, *x.shape[1 + len(sizes) :])
        out[(slice(None), *(slice(size) for size in x.shape[1 : 1 + len(sizes)]))] = x
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
