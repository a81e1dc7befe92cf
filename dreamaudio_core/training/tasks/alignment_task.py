"""Fine-tuning of the alignment layer alone, for another number of references than three (paper,
section III-B).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...config import ModelConfig, MRCConfig
from ...errors import InputError
from ...networks.fusion import fusion_of
from ...networks.mrc import MRCUNet
from ...weights.checkpoint import load_state
from ...weights.folder import find_config
from .flow_task import FlowTask

PREFIX = "alignment."


class AlignmentTask(FlowTask):
    """A trained MRC UNet whose references pass a new 3x3 convolution first; everything else is
    frozen.

    The layer starts as the identity on the slots that the network knows, so that at first the same
    references give the same output as before.

    Parameters
    ----------
    config
        The model to widen.
    data
        Cache folders; references beyond the network's own slots come from items with that many
        groups.
    initial
        State dict of its trained UNet, with or without an alignment layer of the same size.
    references
        References that the widened network takes.
    options
        Those of `FlowTask`.

    Raises
    ------
    InputError
        If the fusion needs no alignment, or the number of references is not larger than before.
    """

    summary = "only the alignment layer, for more references than the network has"
    name = "flow"

    def __init__(
        self,
        config: ModelConfig,
        data: list[Path],
        initial: dict[str, Tensor],
        references: int,
        **options: Any,
    ):
        if fusion_of(config.mrc).uses_timeline:
            raise InputError(
                "align: this model places its references and takes any number; only models that "
                "join them on channels have an alignment layer"
            )
        if references <= config.mrc.num_references:
            raise InputError(
                f"references: expected more than the network's {config.mrc.num_references}, found "
                f"{references}"
            )
        config = replace(config, mrc=replace(config.mrc, aligned_references=references))
        super().__init__(config, data, initial=initial, **options)
        self.settings["trained"] = "alignment"
        # Little is trained, so that little can be saved.
        self.shard_units = ()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Those of the flow, the weights to widen and the number of references."""
        cls._add_cache_arguments(parser)
        parser.add_argument(
            "--initial", type=Path, required=True, metavar="WEIGHTS", help="the trained network"
        )
        parser.add_argument(
            "--references",
            type=int,
            required=True,
            metavar="K",
            help="references of the widened network",
        )

    @classmethod
    def from_arguments(cls, args: argparse.Namespace) -> "AlignmentTask":
        """The task that the command line describes."""
        config, folder = find_config(args.model)
        options = cls._cache_options(args, folder, 0.0)
        initial = cls._initial(args, config) or {}
        return cls(config, args.data, initial, args.references, **options)

    def _network(self, config: MRCConfig, initial: dict[str, Tensor] | None) -> MRCUNet:
        network = MRCUNet(config)
        fresh = {
            name: value for name, value in network.state_dict().items() if name.startswith(PREFIX)
        }
        assert initial is not None
        own = {name: value for name, value in initial.items() if name.startswith(PREFIX)}
        fits = {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in fresh.items()}
        base = {name: value for name, value in initial.items() if not name.startswith(PREFIX)}
        load_state(network, {**base, **(own if fits else fresh)}, "weights to align")
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(PREFIX))
        return network
