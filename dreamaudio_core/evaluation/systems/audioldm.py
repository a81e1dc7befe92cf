"""AudioLDM (Liu et al., 2023) and AudioLDM 2 (Liu et al., 2024), by diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...scene.scenes import SceneReference
from .base import SAFE, SECONDS, Baseline


class AudioLDMGenerator(Baseline):
    """AudioLDM by diffusers' `AudioLDMPipeline`; see `load_generator` for the settings."""

    KIND, TITLE = "audioldm", "AudioLDM"
    PUBLISHED = "https://huggingface.co/cvssp/audioldm-s-full-v2"

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        steps: int = 200,
        guidance: float = 2.5,
        seconds: float = SECONDS,
    ):
        super().__init__(source, device, {"steps": steps, "guidance": guidance, "seconds": seconds})
        self.pipeline = self._load().to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.sample_rate = self.pipeline.vocoder.config.sampling_rate

    def _load(self):
        from diffusers import AudioLDMPipeline

        return self.read(AudioLDMPipeline.from_pretrained, **SAFE)

    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        found = self.pipeline(
            prompt,
            audio_length_in_s=self.settings["seconds"],
            num_inference_steps=self.settings["steps"],
            guidance_scale=self.settings["guidance"],
            generator=torch.Generator("cpu").manual_seed(seed),
        )
        return self.cut(found.audios[0])


class AudioLDM2Generator(AudioLDMGenerator):
    """AudioLDM 2 by diffusers' `AudioLDM2Pipeline`; see `load_generator` for the settings."""

    KIND, TITLE = "audioldm2", "AudioLDM 2"
    PUBLISHED = "https://huggingface.co/cvssp/audioldm2"

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        steps: int = 200,
        guidance: float = 3.5,
        seconds: float = SECONDS,
    ):
        super().__init__(source, device, steps, guidance, seconds)

    def _load(self):
        from diffusers import AudioLDM2Pipeline
        from transformers import GPT2LMHeadModel

        # Published folders name GPT2Model, which lost the methods that the pipeline calls when
        # transformers split generation off (huggingface/diffusers issue 12630); the class with a
        # head still has them.
        language_model = self.read(
            GPT2LMHeadModel.from_pretrained, subfolder="language_model", **SAFE
        )
        return self.read(AudioLDM2Pipeline.from_pretrained, language_model=language_model, **SAFE)
