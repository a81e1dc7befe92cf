"""Tango (Ghosal et al., 2023), put together from diffusers' and transformers' parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...scene.scenes import SceneReference
from .base import SECONDS, Baseline
from .tango_files import MAIN, read_published


class TangoGenerator(Baseline):
    """Tango by its parts, since neither diffusers nor transformers has a pipeline for it.

    The folder holds Tango as it is published (`pytorch_model_main.bin` and its fellows, with the
    files of its text encoder's tokenizer; see `tango_files`), or the parts as diffusers saves
    them: `unet` (UNet2DConditionModel), `scheduler`, `text_encoder` (T5EncoderModel), `tokenizer`,
    `vae` (AutoencoderKL) and `vocoder` (SpeechT5HifiGan). VAE and vocoder are those of AudioLDM
    (Tango, section 2).
    """

    KIND, TITLE = "tango", "Tango"
    PUBLISHED = "https://huggingface.co/declare-lab/tango"

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        steps: int = 200,
        guidance: float = 3.0,
        seconds: float = SECONDS,
    ):
        super().__init__(source, device, {"steps": steps, "guidance": guidance, "seconds": seconds})
        published = self.local and (Path(self.source) / MAIN).is_file()
        parts = read_published(Path(self.source)) if published else self._saved_parts()
        for name in ("unet", "vae", "text_encoder", "vocoder"):
            setattr(self, name, parts[name].eval().requires_grad_(False).to(self.device))
        self.tokenizer, self.scheduler = parts["tokenizer"], parts["scheduler"]
        self.sample_rate = self.vocoder.config.sampling_rate

    unet: Any
    vae: Any
    text_encoder: Any
    vocoder: Any

    def _saved_parts(self) -> dict[str, Any]:
        """Parts as diffusers saves them."""
        from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        from transformers import AutoTokenizer, SpeechT5HifiGan, T5EncoderModel

        networks = {
            "unet": UNet2DConditionModel,
            "vae": AutoencoderKL,
            "text_encoder": T5EncoderModel,
            "vocoder": SpeechT5HifiGan,
        }
        found: dict[str, Any] = {
            name: self.read(cls.from_pretrained, subfolder=name, use_safetensors=True)
            for name, cls in networks.items()
        }
        found["tokenizer"] = self.read(
            AutoTokenizer.from_pretrained, subfolder="tokenizer", trust_remote_code=False
        )
        found["scheduler"] = self.read(DDPMScheduler.from_pretrained, subfolder="scheduler")
        return found

    @torch.inference_mode()
    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        generator = torch.Generator("cpu").manual_seed(seed)
        batch = self.tokenizer(["", prompt], padding=True, truncation=True, return_tensors="pt").to(
            self.device
        )
        text = self.text_encoder(**batch).last_hidden_state
        stride = 2 ** (len(self.vae.config.block_out_channels) - 1)
        hop = math.prod(self.vocoder.config.upsample_rates)
        frames = math.ceil(self.settings["seconds"] * self.sample_rate / hop / stride)
        bands = self.vocoder.config.model_in_dim // stride
        shape = (1, self.unet.config.in_channels, frames, bands)
        self.scheduler.set_timesteps(self.settings["steps"])
        z = torch.randn(shape, generator=generator).to(self.device)
        z = z * self.scheduler.init_noise_sigma
        for time in self.scheduler.timesteps:
            rows = self.scheduler.scale_model_input(z.expand(2, -1, -1, -1), time)
            out = self.unet(
                rows, time, text, encoder_attention_mask=batch["attention_mask"].bool()
            ).sample
            plain, prompted = out.chunk(2)
            guided = plain + self.settings["guidance"] * (prompted - plain)
            z = self.scheduler.step(guided, time, z, generator=generator).prev_sample
        mel = self.vae.decode(z / self.vae.config.scaling_factor).sample
        return self.cut(self.vocoder(mel[:, 0]))
