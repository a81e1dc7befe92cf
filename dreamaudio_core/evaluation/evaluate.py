"""Scores of a folder of generated clips, against targets and prompts where there are any (paper,
section IV-C).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .feature_cache import FeatureCache
from .metrics import METRICS, NETWORKS, Clips
from .pairs import Pairing, Policy, pair_folders


@dataclass(frozen=True)
class Weights:
    """Where the networks behind the metrics lie; nothing is downloaded that is not named here as a
    hub id.

    Parameters
    ----------
    vggish, cnn14 : str or Path, optional
        Weight files for FAD and KL.
    clap : str or Path, optional
        Folder or hub id for CLAP and CLAP_A.
    aesthetics : str or Path, optional
        Folder or checkpoint for PQ and CU.
    """

    vggish: str | Path | None = None
    cnn14: str | Path | None = None
    clap: str | Path | None = None
    aesthetics: str | Path | None = None


@dataclass(frozen=True)
class Options:
    """How an evaluation runs.

    Parameters
    ----------
    cache : str or Path, optional
        Folder of the feature cache; `.dreamaudio_features` next to the generated folder by default.
    batch_size : int
        Clips a batch.
    device : str
        Where the networks run.
    policy : Policy
        What happens to clips that do not fit.
    show_progress : bool
        Show bars.
    """

    cache: str | Path | None = None
    batch_size: int = 8
    device: str = "cpu"
    policy: Policy = field(default_factory=Policy)
    show_progress: bool = False

    def __post_init__(self):
        if (
            isinstance(self.batch_size, bool)
            or not isinstance(self.batch_size, int)
            or self.batch_size < 1
        ):
            raise InputError(
                f"batch_size: expected a whole number of at least 1, found {self.batch_size!r}"
            )


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`.

    Parameters
    ----------
    name : str
        The system.
    scores : dict of str to float
        `fad`, `kl_softmax`, `kl_sigmoid`, `clap`, `clap_a`, `pq`, `cu`, as far as asked for; all
        but FAD are means.
    clips : dict of str to dict
        The same for each item, FAD left out.
    notes : tuple of str
        Clips left out or converted, and limits of the figures.
    weights : dict of str to str
        Source and SHA-256 of the weights of each network.
    pairing : Pairing
        The clips.
    """

    name: str
    scores: dict[str, float]
    clips: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    weights: dict[str, str]
    pairing: Pairing = field(repr=False)


def choose_metrics(
    wanted: list[str] | None, weights: Weights, has_target: bool, has_prompts: bool
) -> list[str]:
    """The metrics to compute: those asked for, or all that weights, targets and prompts allow.

    Raises
    ------
    InputError
        If a metric is unknown or lacks its weights, targets or prompts, or none is possible.
    """
    if wanted is None:
        chosen = [
            name
            for name, metric in METRICS.items()
            if getattr(weights, metric.network) is not None
            and (has_target or not metric.with_target)
            and (has_prompts or not metric.with_prompts)
        ]
        if not chosen:
            published = ". ".join(published for _, published in NETWORKS.values())
            raise InputError(
                f"no metric can be computed: give weights (--{', --'.join(NETWORKS)}) for "
                f"metrics whose targets or prompts are given. {published}"
            )
        return chosen
    for name in wanted:
        if name not in METRICS:
            raise InputError(f"metrics: expected names out of {', '.join(METRICS)}, found {name!r}")
        metric = METRICS[name]
        if getattr(weights, metric.network) is None:
            raise InputError(
                f"metrics: {name} needs weights, give --{metric.network}; "
                f"{NETWORKS[metric.network][1]}"
            )
        if metric.with_target and not has_target:
            raise InputError(
                f"metrics: {name} compares with targets; give a target folder or leave it out"
            )
        if metric.with_prompts and not has_prompts:
            raise InputError(
                f"metrics: {name} compares with prompts; give a file of prompts or leave it out"
            )
    return list(dict.fromkeys(wanted))


def evaluate(
    generated: str | Path,
    target: str | Path | None = None,
    prompts: dict[str, str] | None = None,
    weights: Weights = Weights(),
    metrics: list[str] | None = None,
    options: Options = Options(),
    name: str = "ours",
) -> Evaluation:
    """Score a folder of clips.

    Features are kept in a cache, so that a second call, also after an interruption, computes only
    what is missing.

    Parameters
    ----------
    generated : str or Path
        Folder of generated clips.
    target : str or Path, optional
        Folder of targets, paired by stem.
    prompts : dict of str to str, optional
        Prompt of each stem.
    weights : Weights
        Where the networks lie.
    metrics : list of str, optional
        Names out of `METRICS`; all possible ones by default.
    options : Options
        Cache, batches, device and treatment of bad input.
    name : str
        The system, as reports call it.

    Raises
    ------
    InputError, AudioError, CheckpointError
        Names the folder, clip, prompt or weight file that does not fit.
    """
    metrics = choose_metrics(metrics, weights, target is not None, prompts is not None)
    extractors = load_extractors(metrics, weights, options.device)
    if options.cache is None:
        options = replace(
            options, cache=Path(generated).expanduser().absolute().parent / ".dreamaudio_features"
        )
    pairing = pair_folders(generated, target, options.policy, options.show_progress)
    return score(pairing, prompts, metrics, extractors, options, name)


def score(
    pairing: Pairing,
    prompts: dict[str, str] | None,
    metrics: list[str],
    extractors: dict[str, Any],
    options: Options,
    name: str = "ours",
) -> Evaluation:
    """Score paired clips with what `choose_metrics` and `load_extractors` gave; otherwise as
    `evaluate`.
    """
    stems = pairing.stems
    check_count(metrics, len(stems))
    by_stem = prompts or {}
    if any(METRICS[metric].with_prompts for metric in metrics):
        without = [stem for stem in stems if not by_stem.get(stem, "").strip()]
        if without:
            raise InputError(
                f"prompts: {len(without)} clips have none, {without[0]!r} for one; add them or "
                "leave clap out of --metrics"
            )
    if options.cache is None:
        raise InputError("cache: expected a folder for features, found none")
    cache = FeatureCache(options.cache)

    def clips_for(network: str) -> Clips:
        def features(side: dict) -> list[np.ndarray]:
            clips = [side[stem] for stem in stems]
            return cache.features(
                clips, extractors[network], options.batch_size, options.show_progress
            )

        def vectors() -> np.ndarray:
            texts = [by_stem[stem] for stem in stems]
            size = options.batch_size
            batches = [texts[i : i + size] for i in range(0, len(texts), size)]
            return np.concatenate([extractors[network].embed_texts(batch) for batch in batches])

        return Clips(lambda: features(pairing.generated), lambda: features(pairing.target), vectors)

    scores: dict[str, float] = {}
    columns: dict[str, np.ndarray] = {}
    notes = list(pairing.notes)
    for name_of_metric in METRICS:
        if name_of_metric in metrics:
            metric = METRICS[name_of_metric]
            found = metric.score(clips_for(metric.network))
            scores.update(found.whole)
            columns.update(found.per_clip)
            notes += found.notes
    scores.update({key: float(np.mean(column)) for key, column in columns.items()})
    clips = {
        stem: {key: float(column[i]) for key, column in columns.items()}
        for i, stem in enumerate(stems)
    }
    used = {
        network: f"{e.source} (SHA-256 {e.digest})" if Path(e.source).exists() else str(e.source)
        for network, e in extractors.items()
    }
    return Evaluation(name, scores, clips, tuple(notes), used, pairing)


def check_count(metrics: list[str], count: int) -> None:
    """Refuse metrics that need more clips; FAD needs two for a covariance."""
    for name in metrics:
        if count < METRICS[name].least:
            raise InputError(
                f"{name.upper()} needs at least {METRICS[name].least} clips in each folder, found "
                f"{count}; add clips or leave {name} out of --metrics"
            )


def load_extractors(metrics: list[str], weights: Weights, device: str) -> dict[str, Any]:
    """The networks that the metrics need, by name; a missing weight file is reported here, before
    any work.
    """
    return {
        network: NETWORKS[network][0](getattr(weights, network), device)
        for network in dict.fromkeys(METRICS[metric].network for metric in metrics)
    }
