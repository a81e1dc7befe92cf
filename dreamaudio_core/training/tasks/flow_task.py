"""Training of the MRC UNet on cached latents: every preset and variant (paper, sections III-B and
III-C).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...config import ModelConfig, MRCConfig, to_dict
from ...data.batches import Augmentation
from ...errors import CheckpointError
from ...networks.layers import ResBlock
from ...networks.mrc import MRCUNet
from ...networks.vae import AutoencoderKL
from ...networks.vocoder import Vocoder
from ...sampling.objectives import objective_of
from ...weights.checkpoint import load_state, load_weights, save_weights
from ...weights.folder import find_config
from ..arguments import chosen, load_preview_part, not_negative, positive, probability
from ..flow_dataset import FlowDataset, FlowTimes
from ..logger import Logger
from ..task import OptimizerStep, Task

VALIDATION_ITEMS = 8
SHOWN_ITEMS = 2
SAMPLE_GUIDANCE = 2.0
# Root mean square distance from the latent of silence above which a latent frame is sounding.
SOUNDING = 0.5


def spectral_envelope(data: Tensor, silence: Tensor) -> Tensor:
    """Mean [B, C, 1, F] over the frames that sound of latents [B, C, T, F]; `silence` [C, 1, F] is
    the latent of silence.
    """
    sounding = ((data - silence).square().mean(dim=(1, 3), keepdim=True).sqrt() > SOUNDING).to(
        data.dtype
    )
    return (data * sounding).sum(dim=2, keepdim=True) / sounding.sum(dim=2, keepdim=True).clamp(
        min=1.0
    )


class FlowLoss(nn.Module):
    """Loss of the network's objective, and of the spectral envelope where the network estimates
    it.

    Parameters
    ----------
    weight
        Of the errors, broadcast to [B, C, T, F]; all alike by default (paper).
    """

    network: MRCUNet
    silence: Tensor
    weight: Tensor | None

    def __init__(self, network: MRCUNet, silence: Tensor, weight: Tensor | None = None):
        super().__init__()
        self.network, self.objective = network, objective_of(network.config.objective)
        self.register_buffer("silence", silence, persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared errors: `loss` is their sum, `envelope` that of the spectral envelope."""
        given = ("data", "noise", "time")
        conditions = {name: value for name, value in batch.items() if name not in given}

        def predict(z: Tensor, time: Tensor) -> Tensor:
            return self.network(z, time, **conditions)

        loss = self.objective.loss(
            predict, batch["data"], batch["time"], batch["noise"], self.weight
        )
        estimate = self.network.envelope(batch["prompt"], batch["prompt_mask"])
        if estimate is None:
            return {"loss": loss}
        envelope = (
            (estimate.float() - spectral_envelope(batch["data"], self.silence)).square().mean()
        )
        return {"loss": loss + envelope, "envelope": envelope}


class FlowTask(Task):
    """The MRC UNet.

    Parameters
    ----------
    config
        The model: any preset, or a model folder's.
    data
        Cache folders of the training items; they are mixed by their sizes.
    initial
        Weights (state dict of the UNet) to start from.
    augmentation
        The paper's by default.
    validation
        Cache folders of items that are only measured; the first training items without augmentation
        if none.
    vae, vocoder
        For sounds and spectrograms in the log.
    lr, clip, weight_decay
        Learning rate (paper: 5e-5), largest gradient norm and weight decay.
    times
        How flow times are drawn (paper: evenly).
    weigh_channels
        Weigh the errors of a latent channel by its deviation: the first channels of a VAE whose
        first layer is a fitted transform carry the level of a patch, which matters most to the ear.
    stretch_seconds
        Every item is seen twice an epoch: whole, and as a stretch of this length around a placed
        reference, see `flow_dataset.stretch_start`.

    Notes
    -----
    Curves: `flow/loss`, `flow/envelope` where the network estimates it, and
    `validation/loss` of fixed items with fixed noise and times under the averaged weights.
    """

    summary = "the MRC UNet, in every preset and variant"
    name = "flow"
    may_compile = True
    network: MRCUNet
    dataset: FlowDataset
    loss: FlowLoss

    def __init__(
        self,
        config: ModelConfig,
        data: list[Path],
        *,
        initial: dict[str, Tensor] | None = None,
        augmentation: Augmentation = Augmentation(),
        validation: list[Path] | None = None,
        vae: AutoencoderKL | None = None,
        vocoder: Vocoder | None = None,
        lr: float = 5e-5,
        clip: float = 1.0,
        weight_decay: float = 0.01,
        times: FlowTimes = FlowTimes(),
        weigh_channels: bool = False,
        stretch_seconds: float | None = None,
    ):
        self.config = config
        self.network = self._network(config.mrc, initial)
        slots = self.network.config.max_references
        self.dataset = FlowDataset(data, config, slots, augmentation, times, stretch_seconds)
        plain = Augmentation(0.0, 0.0, 0.0, 0.0)
        self.held_out = FlowDataset(validation or data, config, slots, plain)
        self.vae, self.vocoder = vae, vocoder
        weight = self.dataset.channel_weights() if weigh_channels else None
        self.loss = FlowLoss(self.network, self.dataset.shards[0].silence.float(), weight)
        self.optimizer_steps = [
            OptimizerStep("flow", self.loss, lr, clip=clip, weight_decay=weight_decay)
        ]
        # Without any reference in a batch the placed reference encoder stays idle.
        self.may_leave_unused = self.network.fusion.may_skip_encoder
        self.shard_units = () if self.may_leave_unused else (ResBlock,)
        self.settings = {
            "network": to_dict(self.network.config),
            "lr": lr,
            "clip": clip,
            "weight decay": weight_decay,
            "augmentation": to_dict(augmentation),
            **({"time power": times.power} if times.power != 1.0 else {}),
            **({"time spread": times.spread} if times.spread is not None else {}),
            **({"channels weighed": True} if weigh_channels else {}),
            **({"stretch seconds": stretch_seconds} if stretch_seconds is not None else {}),
        }

    def _network(self, config: MRCConfig, initial: dict[str, Tensor] | None) -> MRCUNet:
        network = MRCUNet(config)
        if initial is not None:
            load_state(network, initial, "initial weights")
        return network

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Cached data, augmentation and optimizer."""
        cls._add_cache_arguments(parser)
        parser.add_argument("--initial", type=Path, metavar="WEIGHTS", help="weights to start from")
        parser.add_argument(
            "--free",
            type=probability,
            default=0.5,
            help="share of items whose references are not placed (default 0.5)",
        )
        parser.add_argument(
            "--stretch-seconds",
            type=positive,
            metavar="N",
            help="also train on stretches of this length around placed references, as often as on "
            "whole items",
        )

    @staticmethod
    def _add_cache_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--data",
            type=Path,
            action="append",
            required=True,
            metavar="CACHE",
            help="folder of `data cache`, FOLDER:N for its first N items; repeat to mix",
        )
        parser.add_argument(
            "--validation",
            type=Path,
            action="append",
            metavar="CACHE",
            help="items that are only measured (default: the first of --data)",
        )
        for part in ("vae", "vocoder"):
            parser.add_argument(
                f"--{part}",
                type=Path,
                metavar="WEIGHTS",
                help="to log sounds (default: the model folder's)",
            )
        for name, value, text in (
            ("drop", 0.4, "probability that an event loses its reference"),
            ("mask", 0.1, "probability that a span of an event is silenced"),
            ("unconditional", 0.1, "probability of guidance dropout"),
        ):
            parser.add_argument(
                f"--{name}", type=probability, default=value, help=f"{text} (default {value})"
            )
        parser.add_argument(
            "--time-power",
            type=positive,
            default=1.0,
            metavar="P",
            help="flow times are u ** P with uniform u: above 1 more of them lie near the noise "
            "(default 1)",
        )
        parser.add_argument(
            "--time-spread",
            type=positive,
            metavar="S",
            help="flow times are logit-normal with this standard deviation: most lie in the middle "
            "(1 is usual; default: as --time-power says)",
        )
        parser.add_argument(
            "--weigh-channels",
            action="store_true",
            help="weigh the errors of a latent channel by its deviation",
        )
        parser.add_argument(
            "--weight-decay", type=not_negative, default=0.01, help="of AdamW (default 0.01)"
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "FlowTask":
        """The task that the command line describes."""
        config, folder = find_config(args.model)
        options = cls._cache_options(args, folder, args.free)
        options["stretch_seconds"] = args.stretch_seconds
        return cls(config, args.data, initial=cls._initial(args, config), **options)

    @staticmethod
    def _initial(args: argparse.Namespace, config: ModelConfig) -> dict[str, Tensor] | None:
        if args.initial is None:
            return None
        found, state = load_weights(args.initial, "flow", MRCConfig)
        check_fits(config.mrc, found, args.initial)
        return state

    @staticmethod
    def _cache_options(
        args: argparse.Namespace, folder: Path | None, free: float
    ) -> dict[str, Any]:
        return {
            "augmentation": Augmentation(args.drop, args.mask, args.unconditional, free),
            "validation": args.validation,
            "vae": load_preview_part("vae", args.vae, folder),
            "vocoder": load_preview_part("vocoder", args.vocoder, folder),
            "times": FlowTimes(args.time_power, args.time_spread),
            **chosen(args, "lr", "clip", "weight_decay", "weigh_channels"),
        }

    def fix_shapes(self) -> None:
        """Pad slots and tokens to the most that an item can have."""
        self.dataset.fixed_lengths = True

    def to(self, device: torch.device) -> None:
        """Move the parts that only the logged samples need."""
        self.vae = self.vae and self.vae.to(device)
        self.vocoder = self.vocoder and self.vocoder.to(device)

    def _validation(self) -> dict[str, Tensor]:
        first = self.held_out.group_sizes()[0]
        examples = [
            self.held_out.example(i, torch.Generator().manual_seed(i))
            for i in range(min(VALIDATION_ITEMS, first))
        ]
        return self.held_out.collate(examples)

    def validate(self, logger: Logger, step: int) -> None:
        """Loss of the validation items, and a few of them generated."""
        device = next(self.network.parameters()).device
        batch = {name: value.to(device) for name, value in self._validation().items()}
        logger.scalars({"validation/loss": float(self.loss(batch)["loss"])}, step)
        if self.vae is None or logger.writer is None:
            return
        shown = {name: value[:SHOWN_ITEMS] for name, value in batch.items()}
        mels = self.vae.decode(self.generate(shown))
        targets = self.vae.decode(shown["data"])
        for i, (generated, target) in enumerate(zip(mels, targets)):
            logger.spectrogram(f"validation/{i} (target, generated)", [target, generated], step)
            if self.vocoder is not None:
                for name, mel in (("target", target), ("generated", generated)):
                    logger.audio(
                        f"validation/{i} {name}",
                        self.vocoder.vocode(mel[None])[0, 0],
                        step,
                    )

    def generate(self, batch: dict[str, Tensor]) -> Tensor:
        """Latents [B, C, T, F] from the noise of `batch`, with joint guidance."""
        empty = self.dataset.shards[0].empty_text.to(batch["prompt"])
        conditions = {k: v for k, v in batch.items() if k not in ("data", "noise", "time")}
        blank = {k: torch.zeros_like(v) for k, v in conditions.items()}
        width = min(len(empty), blank["prompt"].shape[1])
        for text, mask in (("prompt", "prompt_mask"), ("captions", "caption_mask")):
            blank[text][..., :width, :] = empty[:width]
            blank[mask][..., :width] = True
        if not self.network.fusion.uses_timeline:
            silence = self.dataset.shards[0].silence.to(batch["data"])
            blank["references"] = silence.expand_as(conditions["references"]).contiguous()
        context = self.network.precompute(
            **{k: torch.cat([conditions[k], blank[k]]) for k in conditions}
        )

        def guided(z: Tensor, time: float) -> Tensor:
            lam = torch.full((2 * len(z),), time, device=z.device)
            full, plain = self.network.denoise(z.repeat(2, 1, 1, 1), lam, context).chunk(2)
            return plain + SAMPLE_GUIDANCE * (full - plain)

        return self.loss.objective.sample(
            guided, batch["noise"], steps=self.loss.objective.preview_steps
        )

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `flow`."""
        save_weights(path, state, "flow", self.network.config)


def check_fits(config: MRCConfig, given: MRCConfig, where: Path) -> None:
    """Raise unless weights belong to the network of the configuration.

    Raises
    ------
    CheckpointError
        Names the first field that differs.
    """
    for name, value in to_dict(config).items():
        found = to_dict(given)[name]
        if name != "aligned_references" and found != value:
            raise CheckpointError(
                f"{where}: its mrc.{name} is {found}, the model expects {value}; name the model "
                "that the weights belong to with --model"
            )
