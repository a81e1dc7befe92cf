"""Scores of a folder of generated clips, against targets and prompts where there are any (paper,
section IV-C).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..networks import clap, vggish
from ..networks import cnn14 as panns
from ..networks.extractor import Extractor
from . import aesthetics
from .feature_cache import FeatureCache
from .frechet import frechet_distance_of_samples
from .kl import kl_divergence
from .pairs import Pairing, Policy, pair_folders

METRICS = ("fad", "kl", "clap", "clap_a", "pq", "cu")
"""Names for `--metrics`; `kl` gives both activations."""
_NEEDS = {
    "fad": "vggish",
    "kl": "cnn14",
    "clap": "clap",
    "clap_a": "clap",
    "pq": "aesthetics",
    "cu": "aesthetics",
}
_PUBLISHED = {
    "vggish": vggish.PUBLISHED,
    "cnn14": panns.PUBLISHED,
    "clap": clap.PUBLISHED,
    "aesthetics": aesthetics.PUBLISHED,
}
_PAIRED = ("fad", "kl", "clap_a")


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
        Folder of the feature cache; `.dreamaudio_features` beside the generated folder by default.
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
            m
            for m in METRICS
            if getattr(weights, _NEEDS[m]) is not None
            and (has_target or m not in _PAIRED)
            and (has_prompts or m != "clap")
        ]
        if not chosen:
            raise InputError(
                "no metric can be computed: name weights (vggish, cnn14, clap, aesthetics) for "
                "metrics whose "
                "targets or prompts are given. " + ". ".join(dict.fromkeys(_PUBLISHED.values()))
            )
        return chosen
    for metric in wanted:
        if metric not in METRICS:
            raise InputError(
                f"metrics: expected names out of {', '.join(METRICS)}, found {metric!r}"
            )
        if getattr(weights, _NEEDS[metric]) is None:
            raise InputError(
                f"metrics: {metric} needs weights, give --{_NEEDS[metric]}; "
                f"{_PUBLISHED[_NEEDS[metric]]}"
            )
        if metric in _PAIRED and not has_target:
            raise InputError(
                f"metrics: {metric} compares with targets; give a target folder or leave it out"
            )
        if metric == "clap" and not has_prompts:
            raise InputError(
                "metrics: clap compares with prompts; give a file of prompts or leave it out"
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
    extractors: dict[str, Extractor],
    options: Options,
    name: str = "ours",
) -> Evaluation:
    """Score paired clips with what `choose_metrics` and `load_extractors` gave; otherwise as
    `evaluate`.
    """
    stems = pairing.stems
    check_count(metrics, len(stems))
    if "clap" in metrics:
        without = [stem for stem in stems if not (prompts or {}).get(stem, "").strip()]
        if without:
            raise InputError(
                f"prompts: {len(without)} clips have none, {without[0]!r} for one; add them or "
                "leave clap out of "
                "--metrics"
            )
    if options.cache is None:
        raise InputError("cache: expected a folder for features, found none")
    cache = FeatureCache(options.cache)

    def features(network: str, side: dict) -> list[np.ndarray]:
        return cache.features(
            [side[s] for s in stems], extractors[network], options.batch_size, options.show_progress
        )

    scores: dict[str, float] = {}
    columns: dict[str, np.ndarray] = {}
    notes = list(pairing.notes)
    if "fad" in metrics:
        ours, theirs = (
            np.concatenate(features("vggish", side)) for side in (pairing.generated, pairing.target)
        )
        scores["fad"] = frechet_distance_of_samples(theirs, ours)
        fewest = min(len(ours), len(theirs))
        if fewest <= ours.shape[1]:
            notes.append(
                f"FAD: {fewest} patches for a covariance of {ours.shape[1]} dimensions; with so "
                "few the distance "
                "depends on their number, so compare it only with sets of this size"
            )
    if "kl" in metrics:
        ours, theirs = (
            np.stack(features("cnn14", side)) for side in (pairing.generated, pairing.target)
        )
        for activation in ("softmax", "sigmoid"):
            columns[f"kl_{activation}"] = kl_divergence(theirs, ours, activation)
    if "clap" in metrics or "clap_a" in metrics:
        ours = np.stack(features("clap", pairing.generated))
        if "clap" in metrics:
            columns["clap"] = clap.clap_score(
                _embed_prompts(extractors["clap"], [prompts[s] for s in stems], options), ours
            )
        if "clap_a" in metrics:
            columns["clap_a"] = clap.clap_score(np.stack(features("clap", pairing.target)), ours)
    if "pq" in metrics or "cu" in metrics:
        ours = np.stack(features("aesthetics", pairing.generated))
        for axis, column in zip(("pq", "cu"), ours.T, strict=True):
            if axis in metrics:
                columns[axis] = column
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
    """Refuse FAD on fewer than two clips, which have no covariance."""
    if "fad" in metrics and count < 2:
        raise InputError(
            f"FAD needs at least 2 clips in each folder for a covariance, found {count}; add "
            "clips or leave fad "
            "out of --metrics"
        )


def load_extractors(metrics: list[str], weights: Weights, device: str) -> dict[str, Extractor]:
    """The networks that the metrics need, by name; a missing weight file is reported here, before
    any work.
    """
    classes = {
        "vggish": vggish.VGGishExtractor,
        "cnn14": panns.Cnn14Extractor,
        "clap": clap.ClapExtractor,
        "aesthetics": aesthetics.AestheticsExtractor,
    }
    return {
        network: classes[network](getattr(weights, network), device)
        for network in dict.fromkeys(_NEEDS[m] for m in metrics)
    }


def _embed_prompts(
    extractor: clap.ClapExtractor, prompts: list[str], options: Options
) -> np.ndarray:
    parts = [
        extractor.embed_texts(prompts[i : i + options.batch_size])
        for i in range(0, len(prompts), options.batch_size)
    ]
    return np.concatenate(parts)
