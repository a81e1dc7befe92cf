"""Training of the arranger on the timelines of compositions."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ArrangerConfig, ModelConfig, to_dict
from ...data.arranger_items import prepare_items, read_items
from ...data.bank import Bank
from ...errors import InputError
from ...evaluation.arranger_metrics import measure_compositions
from ...networks.arranger import Arranger, ArrangerOutput
from ...networks.text_encoder import load_text_encoder
from ...weights.checkpoint import load_state, load_weights, save_weights
from ...weights.folder import find_config
from ..arguments import chosen
from ..arranger_dataset import TARGETS, ArrangerDataset
from ..logger import Logger
from ..task import OptimizerStep, Task

VALIDATION_ITEMS = 500
BETAS, WEIGHT_DECAY = (0.9, 0.98), 0.02
# Layers that compare captions with the prompt's words, and those that say whether the references
# are everything that the prompt asks for.
MATCHING = ("match_prompt", "match_caption", "word_weight", "match")
COMPLETENESS = ("words", "complete")


class ArrangerLoss(nn.Module):
    """Errors of all answers; times in seconds, and only where the item uses the reference.

    Parameters
    ----------
    network
        The arranger.
    tolerance
        Start errors below it, in seconds, cost less than in proportion: half a latent frame, since
        starts are rounded to whole frames.
    """

    def __init__(self, network: Arranger, tolerance: float):
        super().__init__()
        self.network, self.tolerance = network, tolerance

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, the sum of the other terms, weighted so that each counts."""
        inputs = {name: value for name, value in batch.items() if name not in TARGETS}
        terms = self.terms(self.network(**inputs), batch)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def terms(self, out: ArrangerOutput, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted terms, each a mean over what it applies to."""
        used, exists = batch["used"], batch["reference_mask"]
        asked = used[..., 0]
        own = torch.eye(asked.shape[1], dtype=torch.bool, device=used.device)[:, None]
        pairs = used[..., None] & asked[:, None, None] & ~own

        def mean(values: Tensor, mask: Tensor) -> Tensor:
            return (values * mask).sum() / mask.sum().clamp_min(1)

        def distance(found: Tensor, target: str, beta: float) -> Tensor:
            return F.smooth_l1_loss(found, batch[target], reduction="none", beta=beta)

        def binary(logits: Tensor, target: str) -> Tensor:
            return F.binary_cross_entropy_with_logits(logits, batch[target], reduction="none")

        count = F.cross_entropy(out.repeats.transpose(1, 2), batch["count"], reduction="none")
        gain = out.gain[..., None].expand(used.shape)
        terms = {
            "occurs": mean(binary(out.occurs, "occurs"), exists),
            "repeats": 0.5 * mean(count, asked),
            "start": mean(distance(out.start, "start", self.tolerance), used),
            "duration": mean(distance(out.duration, "duration", 0.25), used),
            "gain": 0.02 * mean(distance(gain, "gain", 3.0), used),
            "order": mean(binary(out.precedes, "pairs"), pairs),
        }
        if out.complete is not None:
            terms["complete"] = mean(binary(out.complete, "complete"), exists.any(1))
        return terms


class ArrangerTask(Task):
    """The arranger, on compositions of a bank.

    Parameters
    ----------
    config
        The model; decides the sizes and the grid of the starts.
    bank
        Sounds that the compositions are about.
    data
        Data folder of `prepare_items`.
    initial
        Weights to start from; those of a network without the answer on completeness will do.
    freeze_matching
        Keep the layers that match words, so that wordings unlike those of training stay understood.
    only_completeness
        Train only the answer whether the references are everything that is asked for.
    lr, clip
        Learning rate and largest gradient norm.

    Notes
    -----
    Curves: the weighted terms of the loss, and `validation/...`, the shares of
    `evaluation.arranger_metrics.measure_compositions` in percent.
    """

    summary = "the arranger, which reads from the prompt where each reference sounds"
    defaults = {
        "lr": 1e-3,
        "warmup": 300,
        "batch": 64,
        "ema": 0.998,
        "schedule": "cosine",
        "validate_every": 1000,
    }
    name = "arranger"
    network: Arranger
    dataset: ArrangerDataset
    loss: ArrangerLoss

    def __init__(
        self,
        config: ModelConfig,
        bank: Bank,
        data: Path,
        *,
        compositions: int = 40_000,
        held_out: int = 1_500,
        text_encoder: str | Path | None = None,
        initial: dict[str, Tensor] | None = None,
        freeze_matching: bool = False,
        only_completeness: bool = False,
        lr: float = 1e-3,
        clip: float = 1.0,
    ):
        if config.arranger is None:
            raise InputError(
                f"arranger: the model {config.name!r} has none, because its network places the "
                "references; name a model with placed references"
            )
        self.config, half_frame = config, config.frame_seconds / 2
        self.features = prepare_items(
            bank,
            data,
            {"train": compositions, "test": held_out},
            lambda: load_text_encoder(text_encoder or config.text.source, config.text),
        )
        self.held_out = read_items(data, "test")
        kinds = {entry.label: entry.kind for entry in bank.entries}
        items = read_items(data, "train")
        self.dataset = ArrangerDataset(items, self.features, kinds, config.arranger, half_frame)
        self.network = Arranger(config.arranger)
        if initial is not None:
            state = self.network.state_dict()
            fresh = {k: v for k, v in state.items() if k.split(".")[0] in COMPLETENESS}
            load_state(self.network, {**fresh, **initial}, "initial weights")
        for name, parameter in self.network.named_parameters():
            layer = name.split(".")[0]
            frozen = freeze_matching and layer in MATCHING
            frozen |= only_completeness and layer not in COMPLETENESS
            parameter.requires_grad_(not frozen)
        self.loss = ArrangerLoss(self.network, half_frame)
        step = OptimizerStep("arranger", self.loss, lr, BETAS, WEIGHT_DECAY, clip)
        self.optimizer_steps = [step]
        self.settings = {
            "network": to_dict(config.arranger),
            "lr": lr,
            "clip": clip,
            "freeze matching": freeze_matching,
            "only completeness": only_completeness,
        }

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Bank, compositions and which layers are trained."""
        parser.add_argument(
            "--bank",
            type=Path,
            required=True,
            metavar="MANIFEST",
            help="manifest of the sound bank",
        )
        parser.add_argument(
            "--data",
            type=Path,
            required=True,
            metavar="FOLDER",
            help="for compositions and text features, which are computed once",
        )
        parser.add_argument("--compositions", type=int, default=40_000, help="default 40,000")
        parser.add_argument("--held-out", type=int, default=1_500, help="default 1,500")
        parser.add_argument(
            "--text-encoder", type=Path, metavar="FOLDER", help="default: the model's own"
        )
        parser.add_argument("--initial", type=Path, metavar="WEIGHTS", help="weights to start from")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--freeze-matching",
            action="store_true",
            help="keep the layers that match words, so that wordings unlike those of training stay "
            "understood",
        )
        which.add_argument(
            "--only-completeness",
            action="store_true",
            help="train only the answer whether the references are everything that is asked for",
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "ArrangerTask":
        """The task that the command line describes."""
        config, folder = find_config(args.model)
        own = folder / config.text.source if folder else None
        encoder = args.text_encoder or (own if own is not None and own.is_dir() else None)
        initial = None
        if args.initial:
            initial = load_weights(args.initial, "arranger", ArrangerConfig)[1]
        names = ("compositions", "held_out", "freeze_matching", "only_completeness", "lr", "clip")
        return cls(
            config,
            Bank(args.bank),
            args.data,
            text_encoder=encoder,
            initial=initial,
            **chosen(args, *names),
        )

    def validate(self, logger: Logger, step: int) -> None:
        """Shares of right answers over held-out compositions."""
        grid = self.config.frame_seconds
        items = self.held_out[:VALIDATION_ITEMS]
        found = measure_compositions(self.network, self.features, items, grid)
        logger.scalars({f"validation/{name}": value for name, value in found.items()}, step)

    def export(self, path: Path, state: dict[str, Tensor]) -> None:
        """Weight file of the part `arranger`."""
        save_weights(path, state, "arranger", self.config.arranger)
