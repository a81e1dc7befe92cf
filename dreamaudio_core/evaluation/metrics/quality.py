"""Production quality and content usefulness by AudioBox-Aesthetics (paper, section IV-C)."""

from __future__ import annotations

from functools import partial

import numpy as np

from .metric import Clips, Metric, Scores

_AXES = ("pq", "cu")


def _axis(name: str, clips: Clips) -> Scores:
    return Scores({name: np.stack(clips.generated())[:, _AXES.index(name)]})


PQ = Metric("pq", "aesthetics", partial(_axis, "pq"))
CU = Metric("cu", "aesthetics", partial(_axis, "cu"))
