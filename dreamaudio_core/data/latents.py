"""Cached training items: latents of targets and references and token features, in safetensors
shards.

One shard holds items of one length. Variable-length rows (tokens, sounds) are joined along time;
integer tables say where each begins and ends.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..audio import LogMel
from ..config import ModelConfig
from ..errors import CheckpointError
from ..networks.text_encoder import TextEncoder
from ..networks.vae import AutoencoderKL
from ..rendering.placing import cut_part, encode_sound, silence_latent
from ..scene.timeline import Placement
from .composer import Composition


@dataclass
class CachedReference:
    """One reference of a cached item.

    `parts` are the placed occurrences (start frame, latent [C, t, F]), empty where the prompt does
    not ask for it; `whole` is the reference at its own time; `tokens` are its caption's features
    [L, D].
    """

    parts: list[tuple[int, Tensor]]
    whole: Tensor
    tokens: Tensor


@dataclass
class CachedItem:
    """Target posterior (mean and standard deviation [C, T, F], scaled), prompt features [L, D] and
    references.
    """

    mean: Tensor
    std: Tensor
    prompt: Tensor
    references: list[CachedReference]


class LatentEncoder:
    """Turns compositions into shards."""

    def __init__(
        self,
        config: ModelConfig,
        vae: AutoencoderKL,
        text_encoder: TextEncoder,
        device: torch.device | str = "cpu",
    ):
        self.config, self.device = config, torch.device(device)
        self.vae, self.text_encoder = vae.to(device), text_encoder.to(device)
        self.log_mel = LogMel(config.audio, device)
        self.frame_seconds = config.audio.hop_length * config.vae.stride / config.audio.sample_rate

    @torch.inference_mode()
    def shard(self, compositions: Iterable[Composition]) -> dict[str, Tensor]:
        """Tensors of one shard; all compositions must have the same length."""
        compositions = list(compositions)
        means, stds, sounds, tables = [], [], [], {"references": [], "parts": []}
        texts: list[str] = [""]
        prompts: list[int] = []
        rate = self.config.audio.sample_rate
        limit = compositions[0].target.shape[-1] / rate
        cursor = 0

        def add(latent: Tensor) -> tuple[int, int]:
            nonlocal cursor
            sounds.append(latent.transpose(0, 1))
            cursor += latent.shape[1]
            return cursor - latent.shape[1], cursor

        for number, item in enumerate(compositions):
            mean, std = self._posterior(item.target)
            means.append(mean)
            stds.append(std)
            prompts.append(len(texts))
            texts.append(item.prompt)
            for event in item.references:
                whole = cut_part(
                    event.reference, Placement(0.0, min(limit, len(event.reference) / rate)), rate
                )
                row = len(tables["references"])
                tables["references"].append([number, len(texts), *add(self._encode(whole))])
                texts.append(event.reference_caption)
                for place in event.placements:
                    span = add(self._encode(cut_part(event.reference, place, rate)))
                    tables["parts"].append([row, round(place.start / self.frame_seconds), *span])
        spans, tokens = self._tokens(texts)
        return {
            "mean": torch.stack(means).half(),
            "std": torch.stack(stds).half(),
            "silence": silence_latent(self.vae, self.config.audio).half().cpu(),
            "sounds": torch.cat(sounds).half()
            if sounds
            else torch.zeros(0, *means[0].shape[::2]).half(),
            "tokens": tokens.half(),
            "texts": torch.tensor(spans),
            "prompts": torch.tensor(prompts),
            "references": torch.tensor(tables["references"], dtype=torch.long).reshape(-1, 4),
            "parts": torch.tensor(tables["parts"], dtype=torch.long).reshape(-1, 4),
        }

    def _posterior(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.posterior(self.log_mel(waveform[None].to(self.device)))
        scale = self.config.vae.scale_factor
        return posterior.mean[0].cpu() * scale, posterior.logvar[0].cpu().mul(0.5).exp() * scale

    def _encode(self, waveform: Tensor) -> Tensor:
        return encode_sound(self.vae, self.log_mel, waveform.to(self.device)).cpu()

    def _tokens(self, texts: list[str], batch: int = 64) -> tuple[list[list[int]], Tensor]:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows: list[Tensor] = [torch.empty(0)] * len(texts)
        for begin in range(0, len(order), batch):
            chosen = order[begin : begin + batch]
            ids, mask = self.text_encoder.tokenize([texts[i] for i in chosen])
            longest = int(mask.sum(dim=1).max())
            features = self.text_encoder(
                ids[:, :longest].to(self.device), mask[:, :longest].to(self.device)
            ).cpu()
            for i, row, length in zip(chosen, features, mask.sum(dim=1)):
                rows[i] = row[:length]
        ends = torch.tensor([len(r) for r in rows]).cumsum(0).tolist()
        return [[end - len(row), end] for end, row in zip(ends, rows)], torch.cat(rows)


def write_shard(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write a shard beside its place, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file(
        {k: v.contiguous() for k, v in tensors.items()},
        beside,
        metadata={"facts": json.dumps(facts)},
    )
    os.replace(beside, path)


class LazyTensors(Mapping):
    """Tensors of a safetensors file: the tables in memory, the large ones as slices of the file."""

    LARGE = ("mean", "std", "sounds", "tokens")

    def __init__(self, path: Path):
        self.path = path
        self._file = safe_open(path, framework="pt")
        self._names = list(self._file.keys())
        self._tables = {
            key: self._file.get_tensor(key) for key in self._names if key not in self.LARGE
        }

    def __getitem__(self, key: str) -> Any:
        if key in self._tables:
            return self._tables[key]
        if key not in self._names:
            raise KeyError(key)
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        return self._file.get_slice(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


class LatentShard:
    """Read access to one shard, held in memory or, if `lazy`, read item by item."""

    def __init__(self, path: Path, lazy: bool = False):
        try:
            with safe_open(path, framework="pt") as file:
                self.tensors = (
                    LazyTensors(path)
                    if lazy
                    else {key: file.get_tensor(key) for key in file.keys()}
                )
                self.facts = json.loads(file.metadata()["facts"])
                self.shape = tuple(file.get_slice("mean").get_shape()[1:])
                self.text_dim = file.get_slice("tokens").get_shape()[1]
            self._by_item: list[list[int]] = [[] for _ in range(len(self.tensors["prompts"]))]
            for row, (item, *_) in enumerate(self.tensors["references"].tolist()):
                self._by_item[item].append(row)
            self._parts: dict[int, list[list[int]]] = {}
            for row, *rest in self.tensors["parts"].tolist():
                self._parts.setdefault(row, []).append(rest)
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: not a complete shard of cached latents ({error}); cache it again"
            ) from error

    def __len__(self) -> int:
        return len(self._by_item)

    @property
    def silence(self) -> Tensor:
        """Latent of silence [C, 1, F]."""
        return self.tensors["silence"].float()

    @property
    def empty_text(self) -> Tensor:
        """Features of the empty text [L, D]."""
        return self._text(0)

    def _text(self, row: int) -> Tensor:
        begin, end = self.tensors["texts"][row].tolist()
        return self.tensors["tokens"][begin:end].float()

    def _sound(self, begin: int, end: int) -> Tensor:
        return self.tensors["sounds"][begin:end].transpose(0, 1).float()

    def __getitem__(self, item: int) -> CachedItem:
        references = []
        for row in self._by_item[item]:
            _, text, begin, end = self.tensors["references"][row].tolist()
            parts = [(start, self._sound(b, e)) for start, b, e in self._parts.get(row, [])]
            references.append(CachedReference(parts, self._sound(begin, end), self._text(text)))
        prompt = self._text(int(self.tensors["prompts"][item]))
        return CachedItem(
            self.tensors["mean"][item].float(),
            self.tensors["std"][item].float(),
            prompt,
            references,
        )
