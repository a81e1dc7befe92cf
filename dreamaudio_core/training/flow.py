"""Training of the MRC UNet on cached latents: every preset and variant (paper, sections III-B and
III-C).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig, MRCConfig, to_dict
from ..data.batches import Augmentation, Batch, join_batches, placed_batch
from ..data.concat_batches import concat_batch
from ..data.grouped import open_shard
from ..errors import CheckpointError, InputError
from ..networks.bigvgan import BigVGAN
from ..networks.fusion import fusion_of
from ..networks.mrc import MRCUNet
from ..networks.vae import AutoencoderKL
from ..sampling.objectives import objective_of
from ..weights.checkpoint import load_state, save_weights
from .part import Part, Source, Turn
from .samples import Board

VALIDATION_ITEMS = 8
SHOWN_ITEMS = 2
SAMPLE_GUIDANCE = 2.0
SOUNDING = 0.5  # Root mean square distance of a latent frame from silence, above which it is heard.


def shard_paths(data: list[Path]) -> list[Path]:
    """Shard files of cache folders (and of files named themselves), in the order of the folders and
    of their names.

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
                f"{entry}: expected shards of cached latents (*.safetensors), found none; make them with: "
                "python -m dreamaudio_core data cache"
            )
        paths += found
    return paths


class FlowSource(Source):
    """Items of cached shards with the paper's augmentations.

    Parameters
    ----------
    data
        Cache folders or shard files.
    config
        Of the model; shards of another latent shape or text width are refused.
    slots
        References of one call, for the concatenating fusion.
    augmentation
        What is drawn for each example.
    time_power
        A flow time is u to this power, u even on [0, 1]: above 1, more of the steps lie near the
        noise, where the prompt decides.

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
        self.config, self.slots, self.augmentation, self.time_power = (
            config,
            slots,
            augmentation,
            time_power,
        )
        self.objective = objective_of(config.mrc.objective)
        self.uses_timeline = fusion_of(config.mrc).uses_timeline
        self.shards = [open_shard(path) for path in shard_paths(data)]
        channels, _, bands = config.latent_shape()
        multiple = 2 ** (len(config.mrc.multipliers) - 1)
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, (path, shard) in enumerate(zip(shard_paths(data), self.shards)):
            c, frames, f = shard.shape
            if (c, f) != (channels, bands) or frames % multiple:
                raise InputError(
                    f"{path}: its latents are [{c}, {frames}, {f}], the model expects [{channels}, a multiple "
                    f"of {multiple}, {bands}]; cache the data with this model's VAE"
                )
            if shard.text_dim != config.mrc.text_dim:
                raise InputError(
                    f"{path}: its text features have size {shard.text_dim}, the model expects "
                    f"{config.mrc.text_dim}; cache the data with this model's text encoder"
                )
            by_shape.setdefault(shard.shape, []).extend(
                (number, item) for item in range(len(shard))
            )
        self._counts = [len(items) for items in by_shape.values()]
        self._items = [key for items in by_shape.values() for key in items]

    def groups(self) -> list[int]:
        """Items of each target length."""
        return self._counts

    def example(self, item: int, generator: torch.Generator) -> dict[str, Any]:
        """Batch of one, its noise [C, T, F] and its time (a step from 0 to 999 for DDPM)."""
        number, row = self._items[item]
        shard = self.shards[number]
        common = (shard.silence, shard.empty_text)
        if self.uses_timeline:
            batch = placed_batch([shard[row]], *common, self.augmentation, generator)
        else:
            batch = concat_batch([shard[row]], *common, self.slots, self.augmentation, generator)
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


class FlowObjective(nn.Module):
    """Loss of the flow, or of noise prediction for the DDPM variant; and of the prompt's envelope,
    if it is estimated.
    """

    def __init__(self, network: MRCUNet, silence: Tensor):
        super().__init__()
        self.network, self.objective = network, objective_of(network.config.objective)
        self.register_buffer("silence", silence, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared errors over the batch: `loss` is their sum, `envelope` that of the envelope."""
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


class FlowPart(Part):
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
        For sounds and spectrograms on the board.
    rate, clip, weight_decay
        Of the optimizer (paper: 5e-5).
    time_power
        Skew of the flow times, see `FlowSource` (paper: 1).

    Notes ----- Curves: `flow/loss`, `flow/envelope` where the network estimates it, and
    `validation/loss` of fixed items with fixed noise and times under the averaged weights.
    """

    name = "flow"

    def __init__(
        self,
        config: ModelConfig,
        data: list[Path],
        *,
        initial: dict[str, Tensor] | None = None,
        augmentation: Augmentation = Augmentation(),
        validation: list[Path] | None = None,
        vae: AutoencoderKL | None = None,
        vocoder: BigVGAN | None = None,
        rate: float = 5e-5,
        clip: float = 1.0,
        weight_decay: float = 0.01,
        time_power: float = 1.0,
    ):
        self.config = config
        self.network = self._network(config.mrc, initial)
        slots = self.network.config.max_references
        self.source = FlowSource(data, config, slots, augmentation, time_power)
        plain = Augmentation(0.0, 0.0, 0.0, 0.0)
        self.held_out = FlowSource(validation or data, config, slots, plain)
        self.vae, self.vocoder = vae, vocoder
        self.objective = FlowObjective(self.network, self.source.shards[0].silence.float())
        self.turns = [Turn("flow", self.objective, rate, clip=clip, weight_decay=weight_decay)]
        # Without any reference in a batch the placed reference encoder stays idle.
        self.may_leave_unused = self.network.fusion.may_skip_encoder
        self.settings = {
            "network": to_dict(self.network.config),
            "rate": rate,
            "clip": clip,
            "weight decay": weight_decay,
            "augmentation": to_dict(augmentation),
            **({"time power": time_power} if time_power != 1.0 else {}),
        }

    def _network(self, config: MRCConfig, initial: dict[str, Tensor] | None) -> MRCUNet:
        network = MRCUNet(config)
        return network if initial is None else load_state(network, initial, "initial weights")

    def to(self, device: torch.device) -> None:
        """Move what only the samples need."""
        self.vae = self.vae and self.vae.to(device)
        self.vocoder = self.vocoder and self.vocoder.to(device)

    def _validation(self) -> dict[str, Tensor]:
        first = self.held_out.groups()[0]
        examples = [
            self.held_out.example(i, torch.Generator().manual_seed(i))
            for i in range(min(VALIDATION_ITEMS, first))
        ]
        return self.held_out.collate(examples)

    def sample(self, board: Board, step: int) -> None:
        """Loss of the validation items, and a few of them generated."""
        device = next(self.network.parameters()).device
        batch = {name: value.to(device) for name, value in self._validation().items()}
        board.scalars({"validation/loss": float(self.objective(batch)["loss"])}, step)
        if self.vae is None or board.writer is None:
            return
        shown = {name: value[:SHOWN_ITEMS] for name, value in batch.items()}
        mels = self.vae.decode(self.generate(shown))
        targets = self.vae.decode(shown["data"])
        for i, (made, target) in enumerate(zip(mels, targets)):
            board.spectrogram(f"validation/{i} (target, generated)", [target, made], step)
            if self.vocoder is not None:
                for name, mel in (("target", target), ("generated", made)):
                    board.sound(
                        f"validation/{i} {name}",
                        self.vocoder.vocode(mel[None])[0, 0],
                        step,
                    )

    def generate(self, batch: dict[str, Tensor]) -> Tensor:
        """Latents [B, C, T, F] from the noise of `batch`, guided by prompt and references together."""
        empty = self.source.shards[0].empty_text.to(batch["prompt"])
        conditions = {k: v for k, v in batch.items() if k not in ("data", "noise", "time")}
        blank = {k: torch.zeros_like(v) for k, v in conditions.items()}
        width = min(len(empty), blank["prompt"].shape[1])
        for text, mask in (("prompt", "prompt_mask"), ("captions", "caption_mask")):
            blank[text][..., :width, :] = empty[:width]
            blank[mask][..., :width] = True
        if not self.network.fusion.uses_timeline:
            silence = self.source.shards[0].silence.to(batch["data"])
            blank["references"] = silence.expand_as(conditions["references"]).contiguous()
        context = self.network.precompute(
            **{k: torch.cat([conditions[k], blank[k]]) for k in conditions}
        )

        def guided(z: Tensor, time: float) -> Tensor:
            lam = torch.full((2 * len(z),), time, device=z.device)
            full, plain = self.network.denoise(z.repeat(2, 1, 1, 1), lam, context).chunk(2)
            return plain + SAMPLE_GUIDANCE * (full - plain)

        return self.objective.objective.sample(
            guided, batch["noise"], steps=self.objective.objective.preview_steps
        )

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `flow`."""
        save_weights(path, state, "flow", self.network.config)


def check_fits(config: MRCConfig, given: MRCConfig, where: Path) -> None:
    """Refuse weights of another network than the configuration's.

    Raises
    ------
    CheckpointError
        Names the first field that differs.
    """
    for name, value in to_dict(config).items():
        found = to_dict(given)[name]
        if name != "aligned_references" and found != value:
            raise CheckpointError(
                f"{where}: its mrc.{name} is {found}, the model expects {value}; name the model that the "
                "weights belong to with --model"
            )
