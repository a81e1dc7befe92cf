"""From compositions to shards: latents of targets and references, and features of their texts."""

from __future__ import annotations

from typing import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.mel import LogMel
from ..config import ModelConfig
from ..errors import InputError
from ..networks.text_encoder import TextEncoder
from ..networks.vae import AutoencoderKL
from ..rendering.placing import cut_part, encode_sounds, latent_frames, silence_latent
from ..scene.timeline import Placement
from .compose.composition import Composition, Event

MAX_EVENTS = 4
# Targets that the VAE encodes together, and parts of references that wait for others as long.
TARGETS, PARTS = 8, 64


class LatentEncoder:
    """Turns compositions into shards.

    Parameters
    ----------
    config
        Sizes of the model that the shards are for.
    vae, text_encoder
        Its parts.
    device
        Where they compute.
    timeline
        Whether references are also encoded where the target has them.
    """

    def __init__(
        self,
        config: ModelConfig,
        vae: AutoencoderKL,
        text_encoder: TextEncoder,
        device: torch.device | str = "cpu",
        timeline: bool = True,
    ):
        self.config, self.device, self.timeline = config, torch.device(device), timeline
        self.vae, self.text_encoder = vae.to(device), text_encoder.to(device)
        self.log_mel = LogMel(config.audio, device)
        self.rate = config.audio.sample_rate
        self.frame_seconds = config.audio.hop_length * config.vae.stride / self.rate

    @torch.inference_mode()
    def shard(self, items: Iterable[Composition]) -> dict[str, Tensor]:
        """Tensors of one shard, see `shards`; all items must have the same length.

        Raises
        ------
        InputError
            If an item has no target, or a reference holds more than four events.
        """
        return _ShardBuilder(self).build(items)

    def target(self, waveform: Tensor, seconds: float) -> Tensor:
        """A target [T], padded to what the network takes."""
        frames = self.config.latent_shape(seconds)[1] * self.config.vae.stride
        samples = frames * self.config.audio.hop_length
        return F.pad(waveform[:samples], (0, max(0, samples - len(waveform))))

    def posteriors(self, targets: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Means and standard deviations [C, T, F] of targets [T] of one length."""
        scale = self.config.vae.scale_factor
        posterior = self.vae.posterior(self.log_mel(torch.stack(targets).to(self.device)))
        deviations = posterior.logvar.cpu().mul(0.5).exp() * scale
        return list(posterior.mean.cpu() * scale), list(deviations)

    def part(self, waveform: Tensor, place: Placement) -> Tensor:
        """The part [t] of a reference that a placement uses."""
        return cut_part(waveform, place, self.rate)

    def sounds(self, parts: list[Tensor]) -> list[Tensor]:
        """Latents [C, t, F] of parts of references."""
        encoded = encode_sounds(self.vae, self.log_mel, [part.to(self.device) for part in parts])
        return [latent.cpu() for latent in encoded]

    def frames(self, part: Tensor) -> int:
        """Latent frames of a part."""
        return latent_frames(len(part), self.config.vae, self.config.audio)

    def tokens(self, texts: list[str]) -> tuple[list[list[int]], Tensor]:
        """Begin and end of each text's features, and all features [_, D]."""
        rows = self.text_encoder.rows(texts, self.device)
        ends = torch.tensor([len(r) for r in rows]).cumsum(0).tolist()
        return [[end - len(row), end] for end, row in zip(ends, rows)], torch.cat(rows)


class _ShardBuilder:
    """Collects the rows of one shard."""

    def __init__(self, encoder: LatentEncoder):
        self.encoder = encoder
        self.texts = [""]
        # Sounds wait until there are enough for the VAE to encode those of one length together.
        self.targets: list[Tensor] = []
        self.means: list[Tensor] = []
        self.stds: list[Tensor] = []
        self.parts: list[Tensor] = []
        self.sounds: list[Tensor] = []
        self.cursor = 0
        self.references: list[int] = []
        self.captions: list[list[int]] = []
        self.events: list[list[int]] = []
        self.placements: list[list[int]] = []

    def build(self, items: Iterable[Composition]) -> dict[str, Tensor]:
        prompts = []
        for number, item in enumerate(items):
            if item.target is None:
                raise InputError(
                    f"item {number} of the shard: expected a target sound, found none; a test set "
                    "without targets cannot be cached for training"
                )
            self.targets.append(self.encoder.target(item.target, item.seconds))
            prompts.append(self._text(item.prompt))
            self._groups(number, item)
            self._encode(TARGETS, PARTS)
        self._encode(1, 1)
        # Half precision from here on: its rounding is far below the spread of the posterior.
        encoder, means = self.encoder, self.means
        spans, tokens = encoder.tokens(self.texts)
        empty = torch.zeros(0, *means[0].shape[::2])
        tables = {"captions": (self.captions, 3), "events": (self.events, 4)}
        if encoder.timeline:
            tables["placements"] = (self.placements, 4)
        return {
            "mean": torch.stack(means).half(),
            "std": torch.stack(self.stds).half(),
            "silence": silence_latent(encoder.vae, encoder.config.audio).half().cpu(),
            "sounds": (torch.cat(self.sounds) if self.sounds else empty).half(),
            "tokens": tokens.half(),
            "texts": torch.tensor(spans),
            "prompts": torch.tensor(prompts),
            "references": torch.tensor(self.references, dtype=torch.long),
            **{
                name: torch.tensor(rows, dtype=torch.long).reshape(-1, width)
                for name, (rows, width) in tables.items()
            },
        }

    def _groups(self, number: int, item: Composition) -> None:
        for group in item.groups:
            if len(group.events) > MAX_EVENTS:
                raise InputError(
                    f"item {number} of the shard: a reference holds {len(group.events)} events, "
                    f"expected at most {MAX_EVENTS}; choose more groups"
                )
            row = len(self.references)
            self.references.append(number)
            for event, start in zip(group.events, group.starts()):
                self._event(row, event, start, item.seconds)
            # Training may leave out any of the events, and its words with it.
            for present in range(1, 2 ** len(group.events)):
                self.captions.append([row, present, self._text(group.caption(present))])

    def _event(self, row: int, event: Event, start: int, limit: float) -> None:
        encoder, key = self.encoder, len(self.events)
        frame = round(start / encoder.rate / encoder.frame_seconds)
        whole = Placement(0.0, min(limit, len(event.reference) / encoder.rate))
        self.events.append([row, frame, *self._sound(event, whole)])
        for place in event.placements if encoder.timeline else ():
            frame = round(place.start / encoder.frame_seconds)
            self.placements.append([key, frame, *self._sound(event, place)])

    def _sound(self, event: Event, place: Placement) -> tuple[int, int]:
        part = self.encoder.part(event.reference, place)
        self.parts.append(part)
        frames = self.encoder.frames(part)
        self.cursor += frames
        return self.cursor - frames, self.cursor

    def _encode(self, targets: int, parts: int) -> None:
        """Encode what waits, if there is as much as that."""
        if len(self.targets) >= targets:
            means, stds = self.encoder.posteriors(self.targets)
            self.means, self.stds = self.means + means, self.stds + stds
            self.targets = []
        if len(self.parts) >= parts:
            self.sounds += [x.transpose(0, 1) for x in self.encoder.sounds(self.parts)]
            self.parts = []

    def _text(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts) - 1
