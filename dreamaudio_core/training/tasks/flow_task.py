"""Training of the MRC UNet on cached latents: every preset and variant (paper, sections III-B and
III-C).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...config import ModelConfig, MRCConfig, to_dict
from ...data.batches import Augmentation, Batch, join_batches, training_example
from ...data.shards import LatentShard
from ...errors import CheckpointError, InputError
from ...networks.fusion import fusion_of
from ...networks.mrc import MRCUNet
from ...networks.vae import AutoencoderKL
from ...networks.vocoder import Vocoder
from ...sampling.objectives import objective_of
from ...weights.checkpoint import load_state, load_weights, save_weights
from ...weights.folder import find_config
from ..arguments import chosen, load_preview_part, not_negative, positive, probability
from ..dataset import Dataset
from ..logger import Logger
from ..task import OptimizerStep, Task

VALIDATION_ITEMS = 8
SHOWN_ITEMS = 2
SAMPLE_GUIDANCE = 2.0
# Root mean square distance from the latent of silence above which a latent frame is sounding.
SOUNDING = 0.5


def shard_paths(data: list[Path]) -> list[Path]:
    """Shard files of cache folders, or given one by one, in the order of the folders and of their
    names.

    Raises
    ------
    InputError
        If a folder holds none.
    """
    paths: list[Path] = []
    for entry in map(Path, data):
        found = sorted(entry.glob("*.safetensors")) if entry.is_dir() else [entry]
        if not found or not found[0].exists():
            raise InputError(
                f"{entry}: expected shards of cached latents (*.safetensors), found none; create "
                "them with: dreamaudio data cache"
            )
        paths += found
    return paths


def with_count(entry: Path) -> tuple[Path, int | None]:
    """A cache, and how many of its items count: `FOLDER:24000` stands for the first 24,000."""
    name, colon, count = str(entry).rpartition(":")
    if colon and count.isdigit() and not Path(entry).exists():
        return Path(name), int(count)
    return Path(entry), None


class FlowDataset(Dataset):
    """Items of cached shards with the paper's augmentations.

    Parameters
    ----------
    data
        Cache folders or shard files; `FOLDER:N` for the first N items of a folder.
    config
        The model; shards of another latent shape or text width are rejected.
    slots
        Most references of one item.
    augmentation
        Random changes of each example.
    time_power
        A flow time is u to this power, u uniform on [0, 1]: above 1, more of the steps lie near
        the noise, where the prompt decides.

    Raises
    ------
    InputError
        If a shard does not fit the model.
    """

    def __init__(
        self,
        data: list[Path],
        config: ModelConfig,
        slots: int,
        augmentation: Augmentation,
        time_power: float = 1.0,
    ):
        if time_power <= 0.0:
            raise InputError(f"time power: expected a number above 0, found {time_power}")
        self.config, self.slots = config, slots
        self.augmentation, self.time_power = augmentation, time_power
        self.objective = objective_of(config.mrc.objective)
        self.fusion = fusion_of(config.mrc)
        self.shards: list[LatentShard] = []
        channels, _, bands = config.latent_shape()
        multiple = 2 ** (len(config.mrc.multipliers) - 1)
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, (path, shard, count) in enumerate(self._open(data)):
            self.shards.append(shard)
            c, frames, f = shard.shape
            if (c, f) != (channels, bands) or frames % multiple:
                raise InputError(
                    f"{path}: its latents are [{c}, {frames}, {f}], the model expects [{channels}, "
                    f"a multiple of {multiple}, {bands}]; cache the data with this model's VAE"
                )
            if shard.text_dim != config.mrc.text_dim:
                raise InputError(
                    f"{path}: its text features have size {shard.text_dim}, the model expects "
                    f"{config.mrc.text_dim}; cache the data with this model's text encoder"
                )
            if self.fusion.uses_timeline and not shard.has_timeline:
                raise InputError(
                    f"{path}: was cached without timelines, which this model's references need; "
                    "cache it again for this model"
                )
            by_shape.setdefault(shard.shape, []).extend((number, item) for item in range(count))
        self._counts = [len(items) for items in by_shape.values()]
        self._items = [key for items in by_shape.values() for key in items]

    @staticmethod
    def _open(data: list[Path]) -> Iterator[tuple[Path, LatentShard, int]]:
        """File, shard, and how many of its items count."""
        for folder, count in map(with_count, data):
            found = 0
            for path in shard_paths([folder]):
                if found == count:
                    break
                shard = LatentShard(path)
                taken = len(shard) if count is None else min(count - found, len(shard))
                yield path, shard, taken
                found += taken
            if count is not None and found < count:
                raise InputError(
                    f"{folder}: expected {count} items in it, found {found}; cache more"
                )

    def group_sizes(self) -> list[int]:
        """Items of each target length."""
        return self._counts

    def example(self, item: int, generator: torch.Generator) -> dict[str, Any]:
        """Batch of one, its noise [C, T, F] and its time (a step from 0 to 999 for DDPM)."""
        number, row = self._items[item]
        shard = self.shards[number]
        batch = training_example(
            shard[row],
            shard.silence,
            shard.empty_text,
            self.fusion,
            self.slots,
            self.augmentation,
            generator,
        )
        noise = torch.randn(batch.data.shape[1:], generator=generator)
        time = self.objective.random_time(generator, self.time_power)
        return {"batch": batch, "noise": noise, "time": time}

    def collate(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors of `Batch`, and `noise` [B, C, T, F] and `time` [B]."""
        batch: Batch = join_batches([e["batch"] for e in examples])
        joined = {"data": batch.data, **batch.conditions()}
        return {
            **joined,
            **{name: torch.stack([e[name] for e in examples]) for name in ("noise", "time")},
        }


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
    """

    network: MRCUNet
    silence: Tensor

    def __init__(self, network: MRCUNet, silence: Tensor):
        super().__init__()
        self.network, self.objective = network, objective_of(network.config.objective)
        self.register_buffer("silence", silence, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared errors: `loss` is their sum, `envelope` that of the spectral envelope."""
        given = ("data", "noise", "time")
        conditions = {name: value for name, value in batch.items() if name not in given}

        def predict(z: Tensor, time: Tensor) -> Tensor:
            return self.network(z, time, **conditions)

        loss = self.objective.loss(predict, batch["data"], batch["time"], batch["noise"])
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
    time_power
        Skew of the flow times, see `FlowDataset` (paper: 1).

    Notes
    -----
    Curves: `flow/loss`, `flow/envelope` where the network estimates it, and
    `validation/loss` of fixed items with fixed noise and times under the averaged weights.
    """

    summary = "the MRC UNet, in every preset and variant"
    name = "flow"
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
        time_power: float = 1.0,
    ):
        self.config = config
        self.network = self._network(config.mrc, initial)
        slots = self.network.config.max_references
        self.dataset = FlowDataset(data, config, slots, augmentation, time_power)
        plain = Augmentation(0.0, 0.0, 0.0, 0.0)
        self.held_out = FlowDataset(validation or data, config, slots, plain)
        self.vae, self.vocoder = vae, vocoder
        self.loss = FlowLoss(self.network, self.dataset.shards[0].silence.float())
        self.optimizer_steps = [
            OptimizerStep("flow", self.loss, lr, clip=clip, weight_decay=weight_decay)
        ]
        # Without any reference in a batch the placed reference encoder stays idle.
        self.may_leave_unused = self.network.fusion.may_skip_encoder
        self.settings = {
            "network": to_dict(self.network.config),
            "lr": lr,
            "clip": clip,
            "weight decay": weight_decay,
            "augmentation": to_dict(augmentation),
            **({"time power": time_power} if time_power != 1.0 else {}),
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
            "--weight-decay", type=not_negative, default=0.01, help="of AdamW (default 0.01)"
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "FlowTask":
        """The task that the command line describes."""
        config, folder = find_config(args.model)
        options = cls._cache_options(args, folder, args.free)
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
            **chosen(args, "lr", "clip", "weight_decay", "time_power"),
        }

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
