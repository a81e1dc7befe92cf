"""What a metric is: what it needs, and from features to scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...networks import aesthetics, clap, cnn14, vggish

# Extractor of each network that metrics may name, and where its weights are published.
NETWORKS: dict[str, tuple[Callable[..., Any], str]] = {
    "vggish": (vggish.VGGishExtractor, vggish.PUBLISHED),
    "cnn14": (cnn14.Cnn14Extractor, cnn14.PUBLISHED),
    "clap": (clap.ClapExtractor, clap.PUBLISHED),
    "aesthetics": (aesthetics.AestheticsExtractor, aesthetics.PUBLISHED),
}


@dataclass(frozen=True)
class Clips:
    """The clips that are scored, as features of the metric's network.

    Parameters
    ----------
    generated, target
        Functions that give the features of each clip; computed when called, or read from a cache.
    prompts
        Function that gives the prompts' vectors [N, D].
    """

    generated: Callable[[], list[np.ndarray]]
    target: Callable[[], list[np.ndarray]]
    prompts: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Result of a metric.

    Parameters
    ----------
    per_clip
        Scores [N] by column of the report, which shows their means.
    whole
        Scores of the whole set by column.
    notes
        Limits of the figures, for the report.
    """

    per_clip: dict[str, np.ndarray] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A metric.

    Parameters
    ----------
    name
        As in `--metrics`.
    network
        Key of `NETWORKS`, and option that names its weights.
    score
        From clips to scores.
    with_target, with_prompts
        Whether it compares with targets or with prompts.
    least
        How many clips it needs.
    """

    name: str
    network: str
    score: Callable[[Clips], Scores]
    with_target: bool = False
    with_prompts: bool = False
    least: int = 1
