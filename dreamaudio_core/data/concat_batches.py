"""Batches for the concatenating fusion, with the paper's augmentations event by event (paper,
section IV-A).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..rendering.placing import canvas
from .batches import Augmentation, Batch, chance, mask_span, pad_tokens
from .grouped import GroupedItem, GroupedReference
from .latents import CachedItem


def as_grouped(item: CachedItem | GroupedItem) -> GroupedItem:
    """An item of single-event references as one of groups, each reference at its own time."""
    if isinstance(item, GroupedItem):
        return item
    references = [GroupedReference([(0, r.whole)], {1: r.tokens}) for r in item.references]
    return GroupedItem(item.mean, item.std, item.prompt, references)


def concat_batch(
    items: list[CachedItem | GroupedItem],
    silence: Tensor,
    empty_text: Tensor,
    slots: int,
    augmentation: Augmentation,
    generator: torch.Generator,
) -> Batch:
    """Draw augmentations and posterior samples, and join items of one length.

    Each event of a reference is dropped on its own (its sound becomes silence, its words leave the
    reference's caption), or loses a span of its frames; the target keeps it. References come in
    random order, empty slots last; of more references than slots a random choice is taken.
    `augmentation.free` has no meaning here: nothing is placed.

    Parameters
    ----------
    items
        Items whose targets have the same shape [C, T, F].
    silence, empty_text
        Latent of silence [C, 1, F], features of the empty text [L, D].
    slots
        References of one call of the network, K.

    Returns
    -------
    Batch
        With references [B, K, C, T, F]; empty slots hold silence and the empty text.
    """
    frames, channels = items[0].mean.shape[1], items[0].mean.shape[0]
    data, prompts, rows, words = [], [], [], []
    reference_mask = torch.zeros(len(items), slots, dtype=torch.bool)
    for i, item in enumerate(map(as_grouped, items)):
        data.append(item.mean + item.std * torch.randn(item.mean.shape, generator=generator))
        alone = chance(augmentation.unconditional, generator)
        prompts.append(empty_text if alone else item.prompt)
        order = torch.randperm(len(item.references), generator=generator).tolist()[:slots]
        kept: list[tuple[Tensor, Tensor]] = []
        for k in order:
            parts, present = [], 0
            for number, part in enumerate(item.references[k].parts):
                if chance(augmentation.drop, generator):
                    continue
                masked = chance(augmentation.mask, generator)
                parts += mask_span([part], silence, generator) if masked else [part]
                present |= 1 << number
            if parts and not alone:
                sound = canvas(parts, silence, frames, placed=False)[:channels]
                kept.append((sound, item.references[k].captions[present]))
        reference_mask[i, : len(kept)] = True
        empty = silence.expand(channels, frames, -1)
        rows.append(torch.stack([sound for sound, _ in kept] + [empty] * (slots - len(kept))))
        words.append([text for _, text in kept] + [empty_text] * (slots - len(kept)))
    longest = max(len(text) for text in [*prompts, *(t for texts in words for t in texts)])
    prompt, prompt_mask = pad_tokens(prompts, longest)
    captions, caption_mask = pad_tokens([t for texts in words for t in texts], longest)
    captions = captions.unflatten(0, (len(items), slots))
    caption_mask = caption_mask.unflatten(0, (len(items), slots))
    return Batch(
        torch.stack(data),
        prompt,
        prompt_mask,
        captions,
        caption_mask,
        torch.stack(rows),
        reference_mask,
    )
