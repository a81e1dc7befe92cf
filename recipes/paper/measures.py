"""Estimates of hours and gigabytes, from the section `costs` of the configuration."""

from __future__ import annotations

from typing import Any

# Bytes a parameter: weights, average and two moments of a checkpoint; the exported weights.
CHECKPOINT, EXPORT = 16, 4
PASSES = 3
"""A training step costs as much as this many forward passes."""


class Costs:
    """What things cost."""

    def __init__(self, config: dict[str, Any]):
        self.config = config

    def __getitem__(self, name: str) -> float:
        return float(self.config["costs"][name])

    def sounds(self, collection: str) -> int:
        """Sounds of a collection."""
        return int(self.config["clips"][collection][0])

    def bank(self) -> tuple[float, float]:
        """Seconds and bytes of the bank."""
        clips = self.config["clips"].values()
        count = sum(number for number, _ in clips)
        seconds = sum(number * length for number, length in clips)
        return count * self["build"], seconds * self["bank-second"]

    def parameters(self, network: str) -> float:
        """Parameters of a network."""
        return float(self.config["networks"][network][0])

    def training(self, preset: str, options: dict[str, Any]) -> float:
        """Seconds of a flow training."""
        work = PASSES * self.config["networks"][preset][1] * 1e9 * options.get("batch", 8)
        return float(options["steps"] * (work / self["flops"] + self["step"]))

    @staticmethod
    def checkpoints(
        parameters: float, options: dict[str, Any], last: bool | int
    ) -> tuple[float, float]:
        """Bytes that a training keeps, and bytes that it writes in all."""
        count = max(1, -(-options["steps"] // options.get("save-every", 1000)))
        kept = EXPORT * parameters * 2
        if last:
            kept += min(count, options.get("keep", 3)) * CHECKPOINT * parameters
        return kept, count * (CHECKPOINT + EXPORT) * parameters
