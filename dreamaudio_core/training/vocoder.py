"""Adversarial training of BigVGAN (Lee et al., ICLR 2023) with period and resolution
discriminators.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..audio import LogMel
from ..config import AudioConfig, ModelConfig, to_dict
from ..data.bank import Bank
from ..errors import InputError
from ..networks.bigvgan import BigVGAN, fold_weight_norm
from ..weights.checkpoint import load_state, save_weights
from .adversary import AdversarialPart, Unregistered, frozen
from .crops import CropSource
from .discriminators import (
    PERIODS,
    RESOLUTIONS,
    VocoderDiscriminators,
    feature_matching_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from .part import Turn
from .samples import Board

CONTEXT = 4
SHOWN_ITEMS = 3
MEASURED_SEGMENTS = 32
MULTI_SCALE = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
BETAS = (0.8, 0.99)


class MelLoss(nn.Module):
    """L1 of the model's log-mel (natural logarithm), weight 45 in version 1."""

    weight = 45.0

    def __init__(self, audio: AudioConfig):
        super().__init__()
        self.log_mel = LogMel(audio)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Of waveforms [B, T]."""
        return (self.log_mel(made) - self.log_mel(real)).abs().mean()


class MultiScaleMelLoss(nn.Module):
    """L1 of log-mels (base 10) at seven resolutions, summed, weight 15 in version 2."""

    weight = 15.0

    def __init__(self, audio: AudioConfig):
        super().__init__()
        configs = [
            AudioConfig(audio.sample_rate, size, size // 4, bands, 0.0, audio.sample_rate / 2, 1e-5)
            for size, bands in MULTI_SCALE
        ]
        self.scales = nn.ModuleList(LogMel(config) for config in configs)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Of waveforms [B, T]."""
        return sum((scale(made) - scale(real)).abs().mean() for scale in self.scales) / math.log(
            10.0
        )


class GeneratorObjective(nn.Module):
    """Adversarial loss, feature matching and mel loss of the generator."""

    def __init__(
        self,
        network: BigVGAN,
        audio: AudioConfig,
        discriminators: VocoderDiscriminators,
        multi_scale: bool,
    ):
        super().__init__()
        self.network, self.log_mel = network, LogMel(audio)
        self.mel_loss = MultiScaleMelLoss(audio) if multi_scale else MelLoss(audio)
        self.context = CONTEXT * audio.hop_length
        self.adversarial = True
        self._opponents = Unregistered(discriminators)

    def split(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mels [B, bands, frames] and waveforms [B, T] without the margins, which only the mels
        have seen.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            mel = self.log_mel(waveform)[:, 0].transpose(1, 2)
        return mel[..., CONTEXT:-CONTEXT].contiguous(), waveform[:, self.context : -self.context]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss` and its terms: `mel`, and while the discriminators are heard `adversarial` and
        `features`.
        """
        mel, real = self.split(batch["waveform"])
        made = self.network(mel)[:, 0]
        with torch.autocast(made.device.type, enabled=False):
            terms = {"mel": self.mel_loss(made.float(), real)}
        loss = self.mel_loss.weight * terms["mel"]
        if not self.adversarial:
            return {"loss": loss, **terms}
        with frozen(self._opponents.module) as discriminators:
            scores, maps = discriminators(made)
            with torch.no_grad():
                true_maps = discriminators(real)[1]
        with torch.autocast(made.device.type, enabled=False):
            terms["adversarial"] = least_squares_generator_loss([s.float() for s in scores])
            terms["features"] = feature_matching_loss(true_maps, maps)
            return {"loss": loss + terms["adversarial"] + 2.0 * terms["features"], **terms}


class DiscriminatorObjective(nn.Module):
    """Least-squares loss of the discriminators against the generator's present output."""

    def __init__(self, discriminators: VocoderDiscriminators, generator: GeneratorObjective):
        super().__init__()
        self.discriminators = discriminators
        self._generator = Unregistered(generator)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`."""
        generator = self._generator.module
        with torch.no_grad():
            mel, real = generator.split(batch["waveform"])
            made = generator.network(mel)[:, 0]
        true_scores, made_scores = self.discriminators(real)[0], self.discriminators(made)[0]
        return {
            "loss": least_squares_discriminator_loss(
                [s.float() for s in true_scores], [s.float() for s in made_scores]
            )
        }


class VocoderPart(AdversarialPart):
    """BigVGAN with weight norm while it trains; the exported weights have it folded in.

    Parameters
    ----------
    config
        The model; decides the front-end and the sizes.
    bank
        Training sounds.
    validation
        Held-out sounds that are only measured.
    initial
        Generator weights to start from.
    frames
        Mel frames of a segment: 50 are 8,000 samples.
    multi_scale
        The mel loss of version 2 in place of version 1's.
    discriminator_start
        Step at which the discriminators begin to learn and to be heard; the mel loss acts alone
        before (0 in the paper).
    periods, resolutions, width
        Of the discriminators.
    rate, clip
        Of both optimizers (1e-4 in the paper).
    compiled
        Compile the activations; quicker on CPUs, needs a C++ compiler.

    Notes ----- Curves: the terms of both losses, and `validation/mel`, the log-mel L1 of held-out
    segments under the averaged weights.
    """

    name = "vocoder"

    def __init__(
        self,
        config: ModelConfig,
        bank: Bank,
        validation: Bank | None = None,
        *,
        initial: dict[str, Tensor] | None = None,
        frames: int = 50,
        multi_scale: bool = False,
        discriminator_start: int = 0,
        periods: tuple[int, ...] = PERIODS,
        resolutions: tuple[tuple[int, int, int], ...] = RESOLUTIONS,
        width: int = 32,
        rate: float = 1e-4,
        clip: float = 1000.0,
        compiled: bool = False,
    ):
        hop = config.audio.hop_length
        least = max(n_fft - step for n_fft, step, _ in resolutions) // 2 // hop + 1
        if frames < least:
            raise InputError(
                f"frames: expected at least {least}, so that the discriminators' windows fit, found {frames}"
            )
        self.config, self.compiled, self.start = config, compiled, discriminator_start
        self.network = BigVGAN(config.vocoder)
        if initial is not None:
            load_state(self.network, initial, "initial weights")
        for module in list(self.network.modules()):
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                weight_norm(module)
        if compiled:
            from .snake import compile_activations

            compile_activations(self.network)
        samples = (frames + 2 * CONTEXT) * hop
        self.source = CropSource(bank, samples)
        held = validation is not None and len(validation) > 0
        self.held_out = CropSource(validation, samples) if held else self.source
        discriminators = VocoderDiscriminators(periods, resolutions, width)
        self.objective = GeneratorObjective(self.network, config.audio, discriminators, multi_scale)
        opponents = DiscriminatorObjective(discriminators, self.objective)
        self.turns = [
            Turn("discriminators", opponents, rate, BETAS, clip=clip),
            Turn("vocoder", self.objective, rate, BETAS, clip=clip),
        ]
        self.settings = {
            "network": to_dict(config.vocoder),
            "frames": frames,
            "multi-scale mel": multi_scale,
            "periods": periods,
            "resolutions": resolutions,
            "discriminator width": width,
            "rate": rate,
            "clip": clip,
            **({"discriminator start": discriminator_start} if discriminator_start else {}),
        }

    def sample(self, board: Board, step: int) -> None:
        """Mel distance of the held-out segments, and a few of them."""
        device = next(self.network.parameters()).device
        mel, real = self.objective.split(self.held_out.fixed(MEASURED_SEGMENTS).to(device))
        made = torch.cat([self.network(part)[:, 0] for part in mel.split(8)])
        log_mel = self.objective.log_mel
        board.scalars({"validation/mel": float((log_mel(made) - log_mel(real)).abs().mean())}, step)
        for i in range(min(SHOWN_ITEMS, len(made))):
            board.sound(f"validation/{i} true", real[i], step)
            board.sound(f"validation/{i} made", made[i], step)
            board.spectrogram(
                f"validation/{i} (true, made)",
                [log_mel(real[i : i + 1])[0], log_mel(made[i : i + 1])[0]],
                step,
            )

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `vocoder`."""
        save_weights(path, fold_weight_norm(state), "vocoder", self.config.vocoder)
