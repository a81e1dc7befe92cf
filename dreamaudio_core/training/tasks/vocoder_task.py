"""Adversarial training of a vocoder with period and resolution discriminators (BigVGAN, Lee et al.,
ICLR 2023).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...audio.mel import LogMel
from ...config import AudioConfig, ModelConfig, VocoderConfig, to_dict
from ...data.bank import Bank
from ...errors import InputError
from ...networks.bigvgan import BigVGAN
from ...networks.vocoder import Vocoder, build_vocoder
from ...weights.bigvgan import fold_weight_norm
from ...weights.checkpoint import load_state, load_weights, save_weights
from ...weights.folder import find_config
from ..arguments import add_bank_options, add_discriminator_options, chosen, load_banks
from ..dataset import CropDataset
from ..discriminators import (
    PERIODS,
    RESOLUTIONS,
    VocoderDiscriminators,
    feature_matching_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from ..gan import AdversarialLoss, AdversarialTask, DiscriminatorLoss, frozen
from ..logger import Logger
from ..task import OptimizerStep

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

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Loss of generated against real waveforms [B, T]."""
        return (self.log_mel(generated) - self.log_mel(real)).abs().mean()


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

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """Loss of generated against real waveforms [B, T]."""
        return sum(
            (scale(generated) - scale(real)).abs().mean() for scale in self.scales
        ) / math.log(10.0)


class GeneratorLoss(AdversarialLoss):
    """Adversarial loss, feature matching and mel loss of the generator."""

    network: Vocoder
    log_mel: LogMel
    mel_loss: MelLoss | MultiScaleMelLoss

    def __init__(
        self,
        network: Vocoder,
        audio: AudioConfig,
        discriminators: VocoderDiscriminators,
        multi_scale: bool,
    ):
        super().__init__(discriminators)
        self.network, self.log_mel = network, LogMel(audio)
        self.mel_loss = MultiScaleMelLoss(audio) if multi_scale else MelLoss(audio)
        self.context = CONTEXT * audio.hop_length

    def split(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mels [B, bands, frames] and waveforms [B, T], both without the margins that only the mels
        have seen.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            mel = self.log_mel(waveform)[:, 0].transpose(1, 2)
        return mel[..., CONTEXT:-CONTEXT].contiguous(), waveform[:, self.context : -self.context]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss` and its terms: `mel`, and while the discriminators are active `adversarial` and
        `features`.
        """
        mel, real = self.split(batch["waveform"])
        generated = self.network(mel)[:, 0]
        with torch.autocast(generated.device.type, enabled=False):
            terms = {"mel": self.mel_loss(generated.float(), real)}
        loss = self.mel_loss.weight * terms["mel"]
        if not self.adversarial:
            return {"loss": loss, **terms}
        with frozen(self._discriminators.module) as discriminators:
            scores, maps = discriminators(generated)
            with torch.no_grad():
                true_maps = discriminators(real)[1]
        with torch.autocast(generated.device.type, enabled=False):
            terms["adversarial"] = least_squares_generator_loss([s.float() for s in scores])
            terms["features"] = feature_matching_loss(true_maps, maps)
            return {"loss": loss + terms["adversarial"] + 2.0 * terms["features"], **terms}

    def pair(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Waveforms and those that are generated from their mels."""
        mel, real = self.split(batch["waveform"])
        return real, self.network(mel)[:, 0]

    def discriminator_loss(
        self, discriminators: nn.Module, real: Tensor, generated: Tensor
    ) -> Tensor:
        """Least-squares loss."""
        true_scores, generated_scores = discriminators(real)[0], discriminators(generated)[0]
        return least_squares_discriminator_loss(
            [s.float() for s in true_scores], [s.float() for s in generated_scores]
        )


class VocoderTask(AdversarialTask):
    """The vocoder of a model. BigVGAN has weight norm while it trains; the exported weights have it
    folded in.

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
        Step at which the discriminators begin to learn and to count; before it the mel loss acts
        alone (0 in the paper).
    periods, resolutions, width
        Sizes of the discriminators.
    lr, clip
        Learning rate (1e-4 in the paper) and largest gradient norm of both optimizers.

    Notes
    -----
    Curves: the terms of both losses, and `validation/mel`, the log-mel L1 of held-out
    segments under the averaged weights.
    """

    summary = "the vocoder against period and resolution discriminators"
    defaults = {"lr": 1e-4, "warmup": 0, "clip": 1000.0}
    name = "vocoder"
    network: Vocoder
    dataset: CropDataset
    loss: GeneratorLoss

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
        lr: float = 1e-4,
        clip: float = 1000.0,
    ):
        hop = config.audio.hop_length
        least = max(n_fft - step for n_fft, step, _ in resolutions) // 2 // hop + 1
        if frames < least:
            raise InputError(
                f"frames: expected at least {least}, so that the discriminators' windows fit, "
                f"found {frames}"
            )
        self.config, self.start = config, discriminator_start
        self.network = build_vocoder(config.vocoder)
        if initial is not None:
            load_state(self.network, initial, "initial weights")
        if isinstance(self.network, BigVGAN):
            for module in list(self.network.modules()):
                if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                    weight_norm(module)
        samples = (frames + 2 * CONTEXT) * hop
        self.dataset = CropDataset(bank, samples)
        self.held_out = CropDataset(validation, samples) if validation else self.dataset
        discriminators = VocoderDiscriminators(periods, resolutions, width)
        self.loss = GeneratorLoss(self.network, config.audio, discriminators, multi_scale)
        opponents = DiscriminatorLoss(discriminators, self.loss)
        self.optimizer_steps = [
            OptimizerStep("discriminators", opponents, lr, BETAS, clip=clip),
            OptimizerStep("vocoder", self.loss, lr, BETAS, clip=clip),
        ]
        self.settings = {
            "network": to_dict(config.vocoder),
            "frames": frames,
            "multi-scale mel": multi_scale,
            "periods": periods,
            "resolutions": resolutions,
            "discriminator width": width,
            "lr": lr,
            "clip": clip,
            **({"discriminator start": discriminator_start} if discriminator_start else {}),
        }

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Bank, segments, mel loss and discriminators."""
        parser.add_argument("--initial", type=Path, metavar="WEIGHTS", help="weights to start from")
        add_bank_options(parser)
        add_discriminator_options(parser, start=0, width=32)
        parser.add_argument(
            "--frames",
            type=int,
            default=50,
            help="mel frames of a segment (default 50: 8,000 samples)",
        )
        parser.add_argument(
            "--multi-scale", action="store_true", help="the mel loss of BigVGAN version 2"
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "VocoderTask":
        """The task that the command line describes."""
        config, _ = find_config(args.model)
        initial = load_weights(args.initial, "vocoder", VocoderConfig)[1] if args.initial else None
        names = ("frames", "multi_scale", "discriminator_start", "width", "lr", "clip")
        return cls(config, *load_banks(args), initial=initial, **chosen(args, *names))

    def validate(self, logger: Logger, step: int) -> None:
        """Mel distance of the held-out segments, and a few of them."""
        device = next(self.network.parameters()).device
        mel, real = self.loss.split(self.held_out.fixed(MEASURED_SEGMENTS).to(device))
        generated = torch.cat([self.network(part)[:, 0] for part in mel.split(8)])
        log_mel = self.loss.log_mel
        logger.scalars(
            {"validation/mel": float((log_mel(generated) - log_mel(real)).abs().mean())}, step
        )
        for i in range(min(SHOWN_ITEMS, len(generated))):
            logger.audio(f"validation/{i} true", real[i], step)
            logger.audio(f"validation/{i} generated", generated[i], step)
            logger.spectrogram(
                f"validation/{i} (true, generated)",
                [log_mel(real[i : i + 1])[0], log_mel(generated[i : i + 1])[0]],
                step,
            )

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `vocoder`."""
        if isinstance(self.network, BigVGAN):
            state = fold_weight_norm(state)
        save_weights(path, state, "vocoder", self.config.vocoder)
