"""Training of the mel VAE: L1 and KL, later also a patch discriminator (paper, section III-A;
AudioLDM).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..audio import LogMel
from ..config import ModelConfig, to_dict
from ..data.bank import Bank
from ..errors import InputError
from ..networks.bigvgan import BigVGAN
from ..networks.vae import AutoencoderKL
from ..weights.checkpoint import load_state, save_weights
from .adversary import AdversarialPart, Unregistered, frozen
from .crops import CropSource
from .discriminators import PatchDiscriminator, hinge_discriminator_loss, hinge_generator_loss
from .part import Turn
from .samples import Board

SHOWN_ITEMS = 3
MEASURED_CROPS = 64


class VAESource(CropSource):
    """Crops with the noise of their posterior sample."""

    def __init__(self, bank: Bank, config: ModelConfig, frames: int):
        super().__init__(bank, frames * config.audio.hop_length)
        stride = config.vae.stride
        self.latent = (config.vae.latent_channels, frames // stride, config.audio.n_mels // stride)

    def example(self, item: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop [samples] and noise [C, T, F]."""
        return super().example(item, generator), torch.randn(self.latent, generator=generator)

    def collate(self, examples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """`waveform` [B, samples] and `noise` [B, C, T, F]."""
        waveforms, noise = zip(*examples)
        return {"waveform": torch.stack(waveforms), "noise": torch.stack(noise)}

    def fixed(self, count: int) -> Tensor:
        """Crops [count, samples] that are always the same."""
        count = min(count, len(self.bank))
        items = [i * len(self.bank) // count for i in range(count)]
        return torch.stack([self.example(i, torch.Generator().manual_seed(i))[0] for i in items])


class VAEObjective(nn.Module):
    """L1 of the log-mel, KL from the unit Gaussian and, when it acts, the discriminator's opinion."""

    def __init__(
        self,
        network: AutoencoderKL,
        log_mel: LogMel,
        discriminator: PatchDiscriminator,
        kl_weight: float,
        adversarial_weight: float,
    ):
        super().__init__()
        self.network, self.log_mel = network, log_mel
        self.kl_weight, self.adversarial_weight = kl_weight, adversarial_weight
        self.adversarial = False
        self._opponent = Unregistered(discriminator)

    def reconstruct(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mels, their reconstructions from posterior samples, and the KL divergence [B]."""
        with torch.autocast(batch["waveform"].device.type, enabled=False):
            mel = self.log_mel(batch["waveform"])
        posterior = self.network.posterior(mel)
        z = posterior.mean + torch.exp(0.5 * posterior.logvar) * batch["noise"]
        return mel, self.network.decoder(self.network.post_quant_conv(z)), posterior.kl()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, `l1` (natural logarithm), `kl` (nats an item) and `adversarial`, each a mean."""
        mel, made, kl = self.reconstruct(batch)
        l1, kl = (made.float() - mel).abs().mean(), kl.float().mean()
        terms = {"l1": l1, "kl": kl}
        loss = l1 + self.kl_weight * kl
        if self.adversarial:
            with frozen(self._opponent.module) as discriminator:
                terms["adversarial"] = hinge_generator_loss(discriminator(made).float())
            loss = loss + self.adversarial_weight * terms["adversarial"]
        return {"loss": loss, **terms}


class PatchObjective(nn.Module):
    """Hinge loss of the discriminator against the VAE's present reconstructions."""

    def __init__(self, discriminator: PatchDiscriminator, generator: VAEObjective):
        super().__init__()
        self.discriminator = discriminator
        self._generator = Unregistered(generator)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, a mean over the patches."""
        with torch.no_grad():
            mel, made, _ = self._generator.module.reconstruct(batch)
        return {
            "loss": hinge_discriminator_loss(
                self.discriminator(mel).float(), self.discriminator(made).float()
            )
        }


class VAEPart(AdversarialPart):
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
        For sounds on the board.
    frames
        Mel frames of a crop, a multiple of the stride.
    kl_weight
        Of the KL divergence in nats an item, against the mean L1.
    discriminator_start
        Step at which the discriminator begins to learn and to be heard.
    adversarial_weight, width
        Weight of its opinion, and its size.
    decoder_only
        Leave the encoder, and so all latents and the scale factor, as they are; needs `initial`.
    rate, clip
        Of the optimizers.

    Notes ----- Curves: `vae/l1`, `vae/kl`, and `validation/l1` of the mean's reconstruction under
    the averaged weights.
    """

    name = "vae"

    def __init__(
        self,
        config: ModelConfig,
        bank: Bank,
        validation: Bank | None = None,
        *,
        initial: dict[str, Tensor] | None = None,
        vocoder: BigVGAN | None = None,
        frames: int = 128,
        kl_weight: float = 1e-5,
        discriminator_start: int = 50_000,
        adversarial_weight: float = 0.1,
        width: int = 64,
        rate: float = 5e-5,
        clip: float = 1.0,
        decoder_only: bool = False,
    ):
        if decoder_only and initial is None:
            raise InputError(
                "decoder only: expected weights to start from, found none; name them with --initial"
            )
        if frames < 32 or frames % config.vae.stride:
            raise InputError(
                f"frames: expected a multiple of the VAE's stride {config.vae.stride}, 32 or more, found {frames}"
            )
        self.config, self.start, self.vocoder = config, discriminator_start, vocoder
        self.network = AutoencoderKL(config.vae)
        if initial is not None:
            load_state(self.network, initial, "initial weights")
        self.decoder_only = decoder_only
        if decoder_only:
            self.network.encoder.requires_grad_(False)
            self.network.quant_conv.requires_grad_(False)
        self.source = VAESource(bank, config, frames)
        self.held_out = (
            self.source
            if validation is None or len(validation) == 0
            else VAESource(validation, config, frames)
        )
        discriminator = PatchDiscriminator(width)
        self.objective = VAEObjective(
            self.network, LogMel(config.audio), discriminator, kl_weight, adversarial_weight
        )
        opponent = PatchObjective(discriminator, self.objective)
        self.turns = [
            Turn("discriminator", opponent, rate, betas=(0.5, 0.9), clip=clip),
            Turn("vae", self.objective, rate, betas=(0.5, 0.9), clip=clip),
        ]
        self.settings = {
            "network": to_dict(replace(config.vae, scale_factor=1.0)),
            "frames": frames,
            "kl weight": kl_weight,
            "discriminator start": discriminator_start,
            "adversarial weight": adversarial_weight,
            "discriminator width": width,
            "rate": rate,
            "clip": clip,
            **({"decoder only": True} if decoder_only else {}),
        }

    def to(self, device: torch.device) -> None:
        """Move the vocoder of the samples."""
        self.vocoder = self.vocoder and self.vocoder.to(device)

    def sample(self, board: Board, step: int) -> None:
        """L1 of the held-out crops, and a few of them reconstructed."""
        device = next(self.network.parameters()).device
        mel = self.objective.log_mel(self.held_out.fixed(MEASURED_CROPS).to(device))
        rows = [
            self.network.decoder(self.network.post_quant_conv(self.network.posterior(m).mean))
            for m in mel.split(8)
        ]
        made = torch.cat(rows)
        board.scalars({"validation/l1": float((made - mel).abs().mean())}, step)
        for i in range(min(SHOWN_ITEMS, len(mel))):
            board.spectrogram(f"validation/{i} (true, reconstructed)", [mel[i], made[i]], step)
            if self.vocoder is not None:
                for name, spectrogram in (("true", mel[i]), ("reconstructed", made[i])):
                    waveform = self.vocoder.vocode(spectrogram[None])[0, 0]
                    board.sound(f"validation/{i} {name}, vocoded", waveform, step)

    @torch.no_grad()
    def scale_factor(self, state: dict[str, Tensor]) -> float:
        """Factor that gives latents of training crops unit variance, for weights `state`."""
        network = AutoencoderKL(self.config.vae, device=next(iter(state.values())).device)
        network.load_state_dict(state)
        mel = self.objective.log_mel(
            self.source.fixed(MEASURED_CROPS).to(next(network.parameters()))
        )
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
