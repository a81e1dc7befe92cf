"""The metrics of the evaluation. A new one is a module with a `Metric` and a line here."""

from .clap_scores import CLAP, CLAP_A
from .fad import FAD
from .kl import KL
from .metric import NETWORKS, Clips, Metric, Scores
from .quality import CU, PQ

METRICS: dict[str, Metric] = {metric.name: metric for metric in (FAD, KL, CLAP, CLAP_A, PQ, CU)}
"""By the names for `--metrics`."""

__all__ = ["METRICS", "NETWORKS", "Clips", "Metric", "Scores"]
