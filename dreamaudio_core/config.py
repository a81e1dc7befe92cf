"""Configurations of every part, and the table of named presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class AudioConfig:
    """Mel front-end shared by the VAE and the vocoder (paper, section IV-B; AudioLDM's 16 kHz
    setting).
    """

    sample_rate: int = 16_000
    n_fft: int = 1024
    hop_length: int = 160
    n_mels: int = 64
    fmin: float = 0.0
    fmax: float = 8_000.0
    floor: float = 1e-5


@dataclass(frozen=True)
class VAEConfig:
    """Mel VAE (paper, section III-A): an `AutoencoderKL` over [B, 1, frames, mel bands].

    Parameters
    ----------
    patch_size
        1: AudioLDM's convolutional encoder and decoder. Above 1: the networks of
        `networks.patches`, on square patches of this many frames and bands; `multipliers` is then
        `(1,)`, and `groups` and `middle_attention` have no meaning.
    decoder_channels, decoder_blocks
        Width and residual blocks of a decoder on patches; those of the encoder if None.
    """

    in_channels: int = 1
    patch_size: int = 1
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    latent_channels: int = 8
    groups: int = 32
    middle_attention: bool = True
    decoder_channels: int | None = None
    decoder_blocks: int | None = None
    scale_factor: float = 1.0

    @property
    def stride(self) -> int:
        """Compression along time and along mel bands."""
        return self.patch_size * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class VocoderConfig:
    """BigVGAN generator; the field names are those of the official `config.json`.

    `refinement_iterations` is our own: how many Griffin-Lim iterations follow the generator (see
    `griffin_lim`).
    """

    num_mels: int = 64
    upsample_initial_channel: int = 512
    upsample_rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 8, 4, 4)
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: str = "snakebeta"
    snake_logscale: bool = True
    use_bias_at_final: bool = True
    use_tanh_at_final: bool = True
    sampling_rate: int = 16_000
    refinement_iterations: int = 0
    kind: str = "bigvgan"

    @property
    def hop_length(self) -> int:
        """Samples per mel frame."""
        hop = 1
        for rate in self.upsample_rates:
            hop *= rate
        return hop


@dataclass(frozen=True)
class VocosConfig:
    """Vocos-like generator at frame rate (see `networks.vocos`); the front-end is the model's.

    `refinement_iterations` as in `VocoderConfig`.
    """

    kind: str = "vocos"
    num_mels: int = 64
    channels: int = 256
    blocks: int = 6
    expansion: int = 3
    n_fft: int = 1024
    hop_length: int = 160
    sampling_rate: int = 16_000
    refinement_iterations: int = 0


@dataclass(frozen=True)
class TextConfig:
    """Text encoder: `"t5"` (a transformers T5 encoder) or `"minilm"` (a BERT encoder carried inside
    the model folder).
    """

    kind: str = "t5"
    source: str = "google/flan-t5-large"
    dim: int = 1024
    max_tokens: int = 50


@dataclass(frozen=True)
class MRCConfig:
    """MRC UNet (paper, section III-B) and what its weights were trained to do.

    Parameters
    ----------
    architecture
        `"mrc"` (two encoders), `"unet"` (the -UNet ablation) or `"shared"` (the -SEncoder
        ablation).
    objective
        What the network predicts, a name of `sampling.objectives.OBJECTIVES`.
    fusion
        How references enter, a name of `networks.fusion.FUSIONS`.
    model_channels
        Width of the first level; `multipliers` gives that of each level.
    num_references
        Reference slots that the network was trained with (K of the paper).
    aligned_references
        Slots in front of an alignment layer (paper, Table V); None without one.
    pooled_prompt
        Add the mean of the prompt's tokens to the time embedding, which small networks learn to
        follow long before the cross-attention.
    envelope_bands
        Bands of the latent for an estimate of the spectral envelope that the prompt asks for; 0
        for none.
    """

    architecture: str = "mrc"
    objective: str = "flow"
    fusion: str = "concat"
    latent_channels: int = 8
    model_channels: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 5)
    attention_levels: tuple[int, ...] = (1, 2, 3)
    num_res_blocks: int = 2
    head_dim: int = 32
    groups: int = 32
    text_dim: int = 1024
    num_references: int = 3
    aligned_references: int | None = None
    pooled_prompt: bool = False
    envelope_bands: int = 0

    @property
    def max_references(self) -> int:
        """How many references one call takes."""
        return self.aligned_references or self.num_references


@dataclass(frozen=True)
class ArrangerConfig:
    """Arranger: from prompt and captions to the timeline of placed references.

    `predicts_missing` adds the answer whether the prompt asks for something that no reference
    stands for.
    """

    text_dim: int = 384
    hidden: int = 192
    layers: int = 3
    heads: int = 6
    max_references: int = 8
    max_repeats: int = 4
    predicts_missing: bool = False


@dataclass(frozen=True)
class SamplingConfig:
    """How a model samples best; what `generate` does when nothing else is asked for.

    Parameters
    ----------
    steps
        Solver steps.
    solver
        A name of `sampling.solvers.SOLVERS`; the DDPM objective always uses DDIM.
    guidance
        Guidance scale of the prompt; 1 is no guidance.
    reference_guidance
        Guidance scale of the references; None takes that of the prompt (the paper's joint
        guidance).
    shift
        Time shift; above 1 spends more of the steps near the noise.
    ease
        Above 0 the steps are shorter at both ends, up to 1 (see `sampling.flow.times`).
    detail
        How much of the references' own waveforms the result has, from 0 to 1.
    max_guidance
        What the model bears; higher scales are cut to it.
    library
        Whether sounds of the starter library are preferred to what the network makes where no
        reference stands for a part of the prompt.
    """

    steps: int = 24
    solver: str = "ab2"
    guidance: float = 2.0
    reference_guidance: float | None = None
    shift: float = 1.0
    detail: float = 0.0
    max_guidance: float = 10.0
    library: bool = False
    ease: float = 0.0

    def override(self, **given: Any) -> SamplingConfig:
        """These settings with those of `given` that are not None."""
        return dataclasses.replace(self, **{k: v for k, v in given.items() if v is not None})


@dataclass(frozen=True)
class ModelConfig:
    """A whole system: one value decides every size."""

    name: str
    audio: AudioConfig = field(default_factory=AudioConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    vocoder: VocoderConfig | VocosConfig = field(default_factory=VocoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    mrc: MRCConfig = field(default_factory=MRCConfig)
    arranger: ArrangerConfig | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seconds: float = 10.24

    @property
    def frame_seconds(self) -> float:
        """Seconds of one latent frame, the grid on which references are placed."""
        return self.audio.hop_length * self.vae.stride / self.audio.sample_rate

    def latent_shape(self, seconds: float | None = None) -> tuple[int, int, int]:
        """Channels, time steps and bands of the latent of `seconds` of audio, rounded up to what
        the UNet can halve.
        """
        frames = round(
            (self.seconds if seconds is None else seconds)
            * self.audio.sample_rate
            / self.audio.hop_length
        )
        multiple = self.vae.stride * 2 ** (len(self.mrc.multipliers) - 1)
        frames = max(multiple, -(-frames // multiple) * multiple)
        return (
            self.vae.latent_channels,
            frames // self.vae.stride,
            self.audio.n_mels // self.vae.stride,
        )


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON-ready dictionary of a configuration dataclass."""
    return dataclasses.asdict(config)


_DDPM = SamplingConfig(steps=200)
_L = {"model_channels": 128, "multipliers": (1, 2, 4, 8)}
_FULL_VAE = VAEConfig(scale_factor=0.9227914214134216)


def _preset(name: str, **mrc: Any) -> ModelConfig:
    sampling = _DDPM if mrc.get("objective") == "ddpm" else SamplingConfig()
    return ModelConfig(name=name, vae=_FULL_VAE, mrc=MRCConfig(**mrc), sampling=sampling)


PRESETS: dict[str, ModelConfig] = {
    "dreamaudio": _preset("dreamaudio"),
    "dreamaudio-ddpm": _preset("dreamaudio-ddpm", objective="ddpm"),
    "dreamaudio-unet": _preset("dreamaudio-unet", architecture="unet"),
    "dreamaudio-sencoder": _preset("dreamaudio-sencoder", architecture="shared"),
    "dreamaudio-l": _preset("dreamaudio-l", **_L),
    "dreamaudio-l-ddpm": _preset("dreamaudio-l-ddpm", objective="ddpm", **_L),
    "dreamaudio-l-unet": _preset("dreamaudio-l-unet", architecture="unet", **_L),
    "dreamaudio-l-sencoder": _preset("dreamaudio-l-sencoder", architecture="shared", **_L),
    "mini": ModelConfig(
        name="mini",
        vae=VAEConfig(
            patch_size=8,
            channels=128,
            multipliers=(1,),
            num_res_blocks=4,
            latent_channels=16,
            middle_attention=False,
            decoder_channels=160,
            decoder_blocks=5,
        ),
        vocoder=VocosConfig(refinement_iterations=4),
        text=TextConfig(kind="minilm", source="text_encoder", dim=384),
        mrc=MRCConfig(
            latent_channels=16,
            model_channels=64,
            multipliers=(1, 2, 3),
            attention_levels=(2,),
            num_res_blocks=1,
            groups=16,
            text_dim=384,
            num_references=8,
            fusion="placed",
            pooled_prompt=True,
            envelope_bands=8,
        ),
        arranger=ArrangerConfig(predicts_missing=True),
        sampling=SamplingConfig(
            guidance=1.0, reference_guidance=1.5, detail=1.0, max_guidance=4.0, library=True
        ),
    ),
}
