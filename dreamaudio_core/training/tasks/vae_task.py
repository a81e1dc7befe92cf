"""Training of the mel VAE: L1 and KL, later also a patch discriminator (paper, section III-A;
AudioLDM).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ...audio.mel import LogMel
from ...config import ModelConfig, to_dict
from ...data.bank import Bank
from ...errors import InputError
from ...networks.vae import AutoencoderKL
from ...networks.vocoder import Vocoder
from ...weights.checkpoint import load_state, save_weights
from ...weights.folder import find_config
from ...weights.latent_diffusion import load_vae
from ...weights.load import load_part
from ..arguments import (
    add_bank_options,
    add_discriminator_options,
    chosen,
    load_banks,
    not_negative,
)
from ..dataset import CropDataset
from ..discriminators import PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss
from ..gan import AdversarialLoss, AdversarialTask, DiscriminatorLoss, frozen
from ..logger import Logger
from ..task import OptimizerStep

SHOWN_ITEMS = 3
MEASURED_CROPS = 64


class VAEDataset(CropDataset):
    """Crops with the noise of their posterior sample, and how strong the noise on them is."""

    def __init__(self, bank: Bank, config: ModelConfig, frames: int):
        super().__init__(bank, frames * config.audio.hop_length)
        stride = config.vae.stride
        self.latent = (config.vae.latent_channels, frames // stride, config.audio.n_mels // stride)

    def example(self, item: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Crop [samples], noise [C, T, F] and its level from 0 to 1."""
        crop = super().example(item, generator)
        noise = torch.randn(self.latent, generator=generator)
        return crop, noise, torch.rand((), generator=generator)

    def collate(self, examples: list[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """`waveform` [B, samples], `noise` [B, C, T, F] and `level` [B]."""
        waveforms, noise, levels = (torch.stack(column) for column in zip(*examples))
        return {"waveform": waveforms, "noise": noise, "level": levels}


class VAELoss(AdversarialLoss):
    """L1 of the log-mel, KL from the unit Gaussian and, when active, the adversarial loss."""

    network: AutoencoderKL
    log_mel: LogMel

    def __init__(
        self,
        network: AutoencoderKL,
        log_mel: LogMel,
        discriminator: PatchDiscriminator,
        kl_weight: float,
        adversarial_weight: float,
        latent_noise: float = 0.0,
    ):
        super().__init__(discriminator)
        self.network, self.log_mel, self.latent_noise = network, log_mel, latent_noise
        self.kl_weight, self.adversarial_weight = kl_weight, adversarial_weight

    def reconstruct(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels, their reconstructions from posterior samples, and the KL divergence [B]."""
        with torch.autocast(batch["waveform"].device.type, enabled=False):
            mel = self.log_mel(batch["waveform"])
        posterior = self.network.posterior(mel)
        deviation = torch.exp(0.5 * posterior.logvar)
        if self.latent_noise:
            # Relative to the latents, or larger latents would drown the noise.
            rms = posterior.mean.detach().square().mean().sqrt()
            deviation = deviation + self.latent_noise * rms * batch["level"][:, None, None, None]
        z = posterior.mean + deviation * batch["noise"]
        return mel, self.network.reconstruct(z), posterior.kl()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, `l1` (natural logarithm), `kl` (nats per item) and `adversarial`, each a mean."""
        mel, reconstruction, kl = self.reconstruct(batch)
        l1, kl = (reconstruction.float() - mel).abs().mean(), kl.float().mean()
        terms = {"l1": l1, "kl": kl}
        loss = l1 + self.kl_weight * kl
        if self.adversarial:
            with frozen(self._discriminators.module) as discriminator:
                terms["adversarial"] = hinge_generator_loss(discriminator(reconstruction).float())
            loss = loss + self.adversarial_weight * terms["adversarial"]
        return {"loss": loss, **terms}

    def pair(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Log-mels and their reconstructions."""
        mel, reconstruction, _ = self.reconstruct(batch)
        return mel, reconstruction

    def discriminator_loss(
        self, discriminators: nn.Module, real: Tensor, generated: Tensor
    ) -> Tensor:
        """Hinge loss, a mean over the patches."""
        return hinge_discriminator_loss(
            discriminators(real).float(), discriminators(generated).float()
        )


class VAETask(AdversarialTask):
    """The mel VAE.

    Parameters
    ----------
    config
        The model; decides the front-end and the sizes. Its scale factor is replaced by a measured
        one.
    bank
        Training sounds.
    validation
        Held-out sounds that are only measured.
    initial
        Weights to start from.
    vocoder
        For sounds in the log.
    frames
        Mel frames of a crop, a multiple of the stride.
    kl_weight
        Weight of the KL divergence (nats per item) against the mean L1.
    discriminator_start
        Step at which the discriminator begins to learn and its loss counts.
    adversarial_weight, width
        Weight of the adversarial loss, and channels of the discriminator's first layer.
    latent_noise
        Strongest noise on the latents, relative to their root mean square and drawn evenly from 0
        for each crop, so that the decoder forgives errors of the flow.
    decoder_only
        Leave the encoder, and so all latents and the scale factor, as they are; needs `initial`.
    lr, clip
        Learning rate and largest gradient norm of both optimizers.

    Notes
    -----
    Curves: `vae/l1`, `vae/kl`, and `validation/l1` of the mean's reconstruction under
    the averaged weights.
    """

    summary = "the mel VAE: L1, KL and a late patch discriminator"
    name = "vae"
    network: AutoencoderKL
    dataset: VAEDataset
    loss: VAELoss

    def __init__(
        self,
        config: ModelConfig,
        bank: Bank,
        validation: Bank | None = None,
        *,
        initial: dict[str, Tensor] | None = None,
        vocoder: Vocoder | None = None,
        frames: int = 128,
        kl_weight: float = 1e-5,
        discriminator_start: int = 50_000,
        adversarial_weight: float = 0.1,
        width: int = 64,
        lr: float = 5e-5,
        clip: float = 1.0,
        decoder_only: bool = False,
        latent_noise: float = 0.0,
    ):
        if decoder_only and initial is None:
            raise InputError(
                "decoder only: expected weights to start from, found none; name them with --initial"
            )
        if frames < 32 or frames % config.vae.stride:
            raise InputError(
                f"frames: expected a multiple of the VAE's stride {config.vae.stride}, 32 or more, "
                f"found {frames}"
            )
        self.config, self.start, self.vocoder = config, discriminator_start, vocoder
        self.network = AutoencoderKL(config.vae)
        if initial is not None:
            load_state(self.network, initial, "initial weights")
        self.decoder_only = decoder_only
        if decoder_only:
            self.network.encoder.requires_grad_(False)
            if self.network.quant_conv is not None:
                self.network.quant_conv.requires_grad_(False)
        self.dataset = VAEDataset(bank, config, frames)
        self.held_out = (
            self.dataset
            if validation is None or len(validation) == 0
            else VAEDataset(validation, config, frames)
        )
        discriminator = PatchDiscriminator(width)
        self.loss = VAELoss(
            self.network,
            LogMel(config.audio),
            discriminator,
            kl_weight,
            adversarial_weight,
            latent_noise,
        )
        opponent = DiscriminatorLoss(discriminator, self.loss)
        self.optimizer_steps = [
            OptimizerStep("discriminator", opponent, lr, betas=(0.5, 0.9), clip=clip),
            OptimizerStep("vae", self.loss, lr, betas=(0.5, 0.9), clip=clip),
        ]
        self.settings = {
            "network": to_dict(replace(config.vae, scale_factor=1.0)),
            "frames": frames,
            "kl weight": kl_weight,
            "discriminator start": discriminator_start,
            "adversarial weight": adversarial_weight,
            "discriminator width": width,
            "lr": lr,
            "clip": clip,
            **({"decoder only": True} if decoder_only else {}),
            **({"latent noise": latent_noise} if latent_noise else {}),
        }

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Bank, crops, losses and discriminator."""
        parser.add_argument("--initial", type=Path, metavar="WEIGHTS", help="weights to start from")
        add_bank_options(parser)
        add_discriminator_options(parser, start=50_000, width=64)
        parser.add_argument(
            "--frames", type=int, default=128, help="mel frames of a crop (default 128)"
        )
        parser.add_argument(
            "--kl-weight",
            type=not_negative,
            default=1e-5,
            help="weight of the KL divergence in nats per item (default 1e-5)",
        )
        parser.add_argument(
            "--adversarial-weight",
            type=not_negative,
            default=0.1,
            help="weight of the adversarial loss (default 0.1)",
        )
        parser.add_argument(
            "--decoder-only",
            action="store_true",
            help="leave the encoder, and so all latents, as they are",
        )
        parser.add_argument(
            "--latent-noise",
            type=not_negative,
            default=0.0,
            metavar="SHARE",
            help="strongest noise on the latents, relative to their size (default 0)",
        )
        parser.add_argument(
            "--vocoder", type=Path, metavar="WEIGHTS", help="to log sounds, not only spectrograms"
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "VAETask":
        """The task that the command line describes."""
        config, _ = find_config(args.model)
        given, initial = load_vae(args.initial) if args.initial else (config.vae, None)
        if args.decoder_only:
            config = replace(config, vae=given)
        names = ("frames", "kl_weight", "discriminator_start", "adversarial_weight", "width")
        return cls(
            config,
            *load_banks(args),
            initial=initial,
            vocoder=load_part("vocoder", args.vocoder) if args.vocoder else None,
            **chosen(args, *names, "lr", "clip", "decoder_only", "latent_noise"),
        )

    def to(self, device: torch.device) -> None:
        """Move the vocoder of the samples."""
        self.vocoder = self.vocoder and self.vocoder.to(device)

    def validate(self, logger: Logger, step: int) -> None:
        """L1 of the held-out crops, and a few of them reconstructed."""
        device = next(self.network.parameters()).device
        mel = self.loss.log_mel(self.held_out.fixed(MEASURED_CROPS).to(device))
        rows = [self.network.reconstruct(self.network.posterior(m).mean) for m in mel.split(8)]
        reconstruction = torch.cat(rows)
        logger.scalars({"validation/l1": float((reconstruction - mel).abs().mean())}, step)
        for i in range(min(SHOWN_ITEMS, len(mel))):
            logger.spectrogram(
                f"validation/{i} (true, reconstructed)", [mel[i], reconstruction[i]], step
            )
            if self.vocoder is not None:
                for name, spectrogram in (("true", mel[i]), ("reconstructed", reconstruction[i])):
                    waveform = self.vocoder.vocode(spectrogram[None])[0, 0]
                    logger.audio(f"validation/{i} {name}, vocoded", waveform, step)

    @torch.no_grad()
    def scale_factor(self, state: dict[str, Tensor]) -> float:
        """Factor that gives latents of training crops unit variance, for weights `state`."""
        network = AutoencoderKL(self.config.vae, device=next(iter(state.values())).device)
        network.load_state_dict(state)
        mel = self.loss.log_mel(self.dataset.fixed(MEASURED_CROPS).to(next(network.parameters())))
        posteriors = [network.posterior(part) for part in mel.split(8)]
        mean = torch.cat([p.mean for p in posteriors])
        variance = mean.var() + torch.cat([p.logvar for p in posteriors]).exp().mean()
        return float(variance.clamp(min=1e-12).rsqrt())

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `vae` with its measured scale factor, or the given one if the
        encoder stayed.
        """
        scale = self.config.vae.scale_factor if self.decoder_only else self.scale_factor(state)
        save_weights(path, state, "vae", replace(self.config.vae, scale_factor=scale))
