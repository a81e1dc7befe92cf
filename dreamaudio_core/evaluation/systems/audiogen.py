"""AudioGen (Kreuk et al., 2023), by transformers or audiocraft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...scene.scenes import SceneReference
from .base import SAFE, SECONDS, Baseline


class AudioGenGenerator(Baseline):
    """AudioGen by transformers' Musicgen classes, whose architecture it shares, or by audiocraft
    where that is installed.

    A folder in transformers' layout has a `config.json`; one in audiocraft's has `state_dict.bin`
    and `compression_state_dict.bin`.
    """

    KIND, TITLE = "audiogen", "AudioGen"
    PUBLISHED = "https://huggingface.co/facebook/audiogen-medium"
    SETTINGS = ("guidance", "seconds")

    def __init__(
        self, source: str, device: str = "cpu", guidance: float = 3.0, seconds: float = SECONDS
    ):
        super().__init__(source, device, {"guidance": guidance, "seconds": seconds})
        audiocraft = self.local and (Path(self.source) / "state_dict.bin").is_file()
        self._make = self._open_audiocraft() if audiocraft else self._open_transformers()

    def _open_transformers(self):
        from transformers import AutoTokenizer, MusicgenForConditionalGeneration

        model = (
            self.read(MusicgenForConditionalGeneration.from_pretrained, **SAFE)
            .eval()
            .requires_grad_(False)
            .to(self.device)
        )
        tokenizer = self.read(AutoTokenizer.from_pretrained, trust_remote_code=False)
        codec = model.config.audio_encoder
        self.sample_rate = codec.sampling_rate
        # The codebooks are delayed against each other, which takes as many steps more.
        tokens = (
            math.ceil(self.settings["seconds"] * codec.frame_rate)
            + model.config.decoder.num_codebooks
            - 1
        )

        def make(prompt: str) -> Tensor:
            batch = tokenizer([prompt], return_tensors="pt").to(self.device)
            return model.generate(
                **batch,
                do_sample=True,
                top_k=250,
                guidance_scale=self.settings["guidance"],
                max_new_tokens=tokens,
            )

        return make

    def _open_audiocraft(self):
        try:
            from audiocraft.models import AudioGen
        except ImportError as error:
            raise CheckpointError(
                f"audiogen {self.source!r}: is in audiocraft's layout; install audiocraft, or "
                "name a model in transformers' layout"
            ) from error
        model = AudioGen.get_pretrained(self.source, device=str(self.device))
        model.set_generation_params(
            duration=self.settings["seconds"],
            use_sampling=True,
            top_k=250,
            cfg_coef=self.settings["guidance"],
        )
        self.sample_rate = model.sample_rate
        return lambda prompt: model.generate([prompt])

    @torch.inference_mode()
    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        # Both packages draw from the global generator, whose state is put back afterwards.
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return self.cut(self._make(prompt))
