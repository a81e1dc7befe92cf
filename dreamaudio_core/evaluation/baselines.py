"""The paper's baselines as systems under test, run by the packages that hold them, on weights that
the user names.

AudioLDM (Liu et al., 2023), AudioLDM 2 (Liu et al., 2024) and Tango (Ghosal et al., 2023) run on
diffusers, AudioGen (Kreuk et al., 2023) on transformers or audiocraft. None of them takes reference
sounds: they hear the prompt alone. The idea of Re-AudioLDM (Yuan et al., 2024), to look up sounds
for the prompt and to generate from both, is run with this project's library and model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import CheckpointError, InputError
from ..files import folder_digest
from ..networks.pretrained import folder_or_hub_id
from ..scene.scenes import SceneReference
from .generators import Generator, PipelineGenerator, load_pipeline_generator

SECONDS = 10.24
"""Length of the paper's clips."""
_FILES = (".json", ".txt", ".model", ".safetensors", ".bin")
# No code that comes with a model is run, and nothing is unpickled.
_SAFE = {"trust_remote_code": False, "use_safetensors": True}
_PUBLISHED = {
    "audioldm": "https://huggingface.co/cvssp/audioldm-s-full-v2",
    "audioldm2": "https://huggingface.co/cvssp/audioldm2",
    "tango": "https://huggingface.co/declare-lab/tango (its parts saved by diffusers)",
    "audiogen": "https://huggingface.co/facebook/audiogen-medium",
}


class _Baseline:
    """What the adapters share: weights with an identity, settings, and a fixed length."""

    KIND: str
    TITLE: str
    sample_rate: int

    def __init__(self, source: str, device: str, settings: dict[str, Any]):
        self.source, self.local = folder_or_hub_id(
            source, f"{self.KIND}:{source}", f"one is published at {_PUBLISHED[self.KIND]}"
        )
        self.device = torch.device(device)
        self.settings = settings
        self.name = f"{self.TITLE} ({Path(self.source).name})"
        weights = folder_digest(Path(self.source), _FILES) if self.local else self.source
        self.identity = "\0".join(
            [self.KIND, weights, *(f"{k}={v!r}" for k, v in sorted(settings.items()))]
        )

    def _read(self, load, *args, **options):
        """Result of a `from_pretrained`, offline for a folder."""
        try:
            return load(self.source, *args, local_files_only=self.local, **options)
        # What faulty files raise; anything else is a defect and passes through.
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{self.KIND} {self.source!r}: cannot be read ({reason}); expected the whole "
                "folder of a "
                f"model such as {_PUBLISHED[self.KIND]}"
            ) from error

    def _cut(self, waveform: Any) -> Tensor:
        """Mono waveform [T] of at most the length asked for."""
        waveform = torch.as_tensor(waveform).detach().float().cpu()
        return waveform.reshape(-1)[: round(self.settings["seconds"] * self.sample_rate)]


class AudioLDMGenerator(_Baseline):
    """AudioLDM by diffusers' `AudioLDMPipeline`; see `load_generator` for the settings."""

    KIND, TITLE = "audioldm", "AudioLDM"

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

        return self._read(AudioLDMPipeline.from_pretrained, **_SAFE)

    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt; the references are not used."""
        found = self.pipeline(
            prompt,
            audio_length_in_s=self.settings["seconds"],
            num_inference_steps=self.settings["steps"],
            guidance_scale=self.settings["guidance"],
            generator=torch.Generator("cpu").manual_seed(seed),
        )
        return self._cut(found.audios[0])


class AudioLDM2Generator(AudioLDMGenerator):
    """AudioLDM 2 by diffusers' `AudioLDM2Pipeline`; see `load_generator` for the settings."""

    KIND, TITLE = "audioldm2", "AudioLDM 2"

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
        language_model = self._read(
            GPT2LMHeadModel.from_pretrained, subfolder="language_model", **_SAFE
        )
        return self._read(AudioLDM2Pipeline.from_pretrained, language_model=language_model, **_SAFE)


class TangoGenerator(_Baseline):
    """Tango, put together from diffusers' and transformers' parts, since neither has a pipeline for
    it.

    The folder holds the parts as diffusers saves them: `unet` (UNet2DConditionModel), `scheduler`,
    `text_encoder` (T5EncoderModel), `tokenizer`, `vae` (AutoencoderKL) and `vocoder`
    (SpeechT5HifiGan). Tango's VAE and vocoder are those of AudioLDM (Tango, section 2).
    """

    KIND, TITLE = "tango", "Tango"

    def __init__(
        self,
        source: str,
        device: str = "cpu",
        steps: int = 200,
        guidance: float = 3.0,
        seconds: float = SECONDS,
    ):
        super().__init__(source, device, {"steps": steps, "guidance": guidance, "seconds": seconds})
        if self.local and (Path(self.source) / "pytorch_model_main.bin").is_file():
            raise CheckpointError(
                f"tango {self.source!r}: holds Tango's weights as they were published "
                "(pytorch_model_main.bin), which only Tango's own program reads; name a folder of "
                "parts that diffusers saved: unet, scheduler, text_encoder, tokenizer, vae and "
                "vocoder, with safetensors weights"
            )
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from diffusers import DDPMScheduler as Scheduler
        from transformers import AutoTokenizer, SpeechT5HifiGan, T5EncoderModel

        def part(cls, folder: str):
            found = self._read(cls.from_pretrained, subfolder=folder, use_safetensors=True)
            return found.eval().requires_grad_(False).to(self.device)

        self.unet, self.vae = part(UNet2DConditionModel, "unet"), part(AutoencoderKL, "vae")
        self.text_encoder, self.vocoder = (
            part(T5EncoderModel, "text_encoder"),
            part(SpeechT5HifiGan, "vocoder"),
        )
        self.tokenizer = self._read(
            AutoTokenizer.from_pretrained, subfolder="tokenizer", trust_remote_code=False
        )
        self.scheduler = self._read(Scheduler.from_pretrained, subfolder="scheduler")
        self.sample_rate = self.vocoder.config.sampling_rate

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
        shape = (
            1,
            self.unet.config.in_channels,
            frames,
            self.vocoder.config.model_in_dim // stride,
        )
        self.scheduler.set_timesteps(self.settings["steps"])
        z = (
            torch.randn(shape, generator=generator).to(self.device)
            * self.scheduler.init_noise_sigma
        )
        for time in self.scheduler.timesteps:
            rows = self.scheduler.scale_model_input(z.expand(2, -1, -1, -1), time)
            out = self.unet(
                rows, time, text, encoder_attention_mask=batch["attention_mask"].bool()
            ).sample
            plain, prompted = out.chunk(2)
            guided = plain + self.settings["guidance"] * (prompted - plain)
            z = self.scheduler.step(guided, time, z, generator=generator).prev_sample
        mel = self.vae.decode(z / self.vae.config.scaling_factor).sample
        return self._cut(self.vocoder(mel[:, 0]))


class AudioGenGenerator(_Baseline):
    """AudioGen by transformers' Musicgen classes, whose architecture it shares, or by audiocraft
    where that is installed.

    A folder in transformers' layout has a `config.json`; one in audiocraft's has `state_dict.bin`
    and `compression_state_dict.bin`.
    """

    KIND, TITLE = "audiogen", "AudioGen"

    def __init__(
        self, source: str, device: str = "cpu", guidance: float = 3.0, seconds: float = SECONDS
    ):
        super().__init__(source, device, {"guidance": guidance, "seconds": seconds})
        audiocraft = self.local and (Path(self.source) / "state_dict.bin").is_file()
        self._make = self._open_audiocraft() if audiocraft else self._open_transformers()

    def _open_transformers(self):
        from transformers import AutoTokenizer, MusicgenForConditionalGeneration

        model = (
            self._read(MusicgenForConditionalGeneration.from_pretrained, **_SAFE)
            .eval()
            .requires_grad_(False)
            .to(self.device)
        )
        tokenizer = self._read(AutoTokenizer.from_pretrained, trust_remote_code=False)
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
                "name a model "
                "in transformers' layout"
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
            return self._cut(self._make(prompt))


class RetrievalGenerator:
    """References looked up in a library, one for each event of the prompt, then given to this
    project's model.

    What references an item brings itself is left aside, as in Re-AudioLDM, which knows the prompt
    alone.

    Parameters
    ----------
    library : str or Path
        File of a `dreamaudio_core.retrieval.SoundLibrary`.
    pipeline : PipelineGenerator
        The model.
    device : str
        Where the library's encoder runs.
    """

    def __init__(self, library: str | Path, pipeline: PipelineGenerator, device: str = "cpu"):
        from ..retrieval import SoundLibrary

        self.library = SoundLibrary(library, device=device)
        self.pipeline = pipeline
        self.sample_rate = pipeline.sample_rate
        self.name = f"retrieval ({Path(library).name}) + {pipeline.name}"
        self.identity = "\0".join(["retrieval", self.library.identity(), pipeline.identity])

    def generate(self, prompt: str, references: Sequence[SceneReference], seed: int) -> Tensor:
        """Waveform [T] for the prompt and what the library has for it."""
        hits = self.library.search(prompt)
        if len(hits) > self.pipeline.model.max_references:
            hits = self.library.search(prompt, self.pipeline.model.max_references)
        return self.pipeline.generate(
            prompt, [SceneReference(hit.path, hit.caption) for hit in hits], seed
        )


_KINDS = {
    cls.KIND: cls
    for cls in (AudioLDMGenerator, AudioLDM2Generator, TangoGenerator, AudioGenGenerator)
}


def load_generator(name: str, device: str = "cpu", **settings: Any) -> Generator:
    """A system under test by its name.

    Parameters
    ----------
    name : str
        `audioldm:FOLDER`, `audioldm2:FOLDER`, `tango:FOLDER` or `audiogen:FOLDER` (instead of a
        folder also a hub id, which is then downloaded), `retrieval:LIBRARY[+MODEL]` with the
        embedded model by default, or else an embedded model or a model folder of this project.
    device : str
        Where it runs.
    settings : Any
        `steps` and `guidance` for the diffusion baselines, `guidance` for AudioGen, and those of
        `load_pipeline_generator` for this project's models.

    Raises
    ------
    CheckpointError, InputError
        If the weights cannot be read, a package is missing, or the system has no such setting.
    """
    kind, _, source = name.partition(":")
    if kind == "retrieval":
        return _load_retrieval(source, device, settings)
    if kind not in _KINDS:
        return load_pipeline_generator(name, device=device, **settings)
    cls = _KINDS[kind]
    known = (
        ("guidance", "seconds") if cls is AudioGenGenerator else ("steps", "guidance", "seconds")
    )
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise InputError(
            f"{unknown[0].replace('_', '-')}: {cls.TITLE} has no such setting; it has "
            f"{', '.join(known)}"
        )
    try:
        return cls(source, device, **settings)
    except ImportError as error:
        raise InputError(
            f"{name}: the package {error.name or error} is missing; install "
            "dreamaudio[evaluation] with "
            "diffusers"
        ) from error


def _load_retrieval(text: str, device: str, settings: dict[str, Any]) -> RetrievalGenerator:
    library, model = text, "mini"
    # The name of the library may contain a plus sign itself.
    if not Path(text).expanduser().is_file() and "+" in text:
        library, _, model = text.rpartition("+")
    if not library or not model:
        raise InputError(f"retrieval:{text}: expected retrieval:LIBRARY or retrieval:LIBRARY+MODEL")
    if not Path(library).expanduser().is_file():
        raise InputError(
            f"library {library}: expected the file of a library, found none; create one with: "
            f"dreamaudio library add FOLDER --library {library}"
        )
    return RetrievalGenerator(
        library, load_pipeline_generator(model, device=device, **settings), device
    )
