"""Make-an-Audio (Huang et al., 2023), as published: its checkpoint in diffusers' networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...scene.scenes import SceneReference
from .base import SECONDS, Baseline
from .make_an_audio_files import read_published


class MakeAnAudioGenerator(Baseline):
    """Make-an-Audio by its published files; see `make_an_audio_files` for the folder.

    Its latents lie with the mel bands as rows and time as columns, whose number is a multiple of
    four. Noise is taken away by DDIM, guided by the empty prompt.
    """

    KIND, TITLE = "make-an-audio", "Make-an-Audio"
    PUBLISHED = "https://github.com/Text-to-Audio/Make-An-Audio (its folder useful_ckpts)"

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        steps: int = 100,
        guidance: float = 3.0,
        seconds: float = SECONDS,
    ):
        super().__init__(source, device, {"steps": steps, "guidance": guidance, "seconds": seconds})
        parts = read_published(Path(self.source))
        self.scheduler, self.scale = parts.scheduler, parts.scale
        self.tokenizer = parts.tokenizer
        for name in ("unet", "vae", "text_encoder", "projection", "vocoder"):
            part = getattr(parts, name)
            setattr(self, name, part.eval().requires_grad_(False).to(self.device))
        self.sample_rate = self.vocoder.config.sampling_rate

    unet: Any
    vae: Any
    text_encoder: Any
    projection: Any
    vocoder: Any

    def _embed(self, texts: list[str]) -> Tensor:
        """Features [B, 77, D] of texts; padding takes part in them, as in its training."""
        tokens = self.tokenizer(
            texts, truncation=True, max_length=77, padding="max_length", return_tensors="pt"
        )
        return self.projection(self.text_encoder(tokens["input_ids"].to(self.device))[0])

    @torch.inference_mode()
    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        text = self._embed(["", prompt])
        stride = 2 ** (len(self.vae.config.block_out_channels) - 1)
        config = self.vocoder.config
        frames = self.settings["seconds"] * self.sample_rate / config.hop_length / stride
        shape = (1, self.unet.config.in_channels, config.num_mels // stride, -(-frames // 4) * 4)
        generator = torch.Generator("cpu").manual_seed(seed)
        z = torch.randn([int(size) for size in shape], generator=generator).to(self.device)
        self.scheduler.set_timesteps(self.settings["steps"])
        for time in self.scheduler.timesteps:
            plain, prompted = self.unet(z.expand(2, -1, -1, -1), time, text).sample.chunk(2)
            guided = plain + self.settings["guidance"] * (prompted - plain)
            z = self.scheduler.step(guided, time, z).prev_sample
        mel = self.vae.decode(z / self.scale).sample
        return self.cut(self.vocoder(mel[:, 0]))
