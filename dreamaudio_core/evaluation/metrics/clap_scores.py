"""CLAP similarities (Wu et al., "Large-scale contrastive language-audio pretraining"; paper,
equations 7 and 8).
"""

from __future__ import annotations

import numpy as np

from .metric import Clips, Metric, Scores


def clap_score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """100 times the cosine of paired vectors [N, D]: CLAP between prompt and clip, CLAP_A between
    target and clip; [N], -100 to 100, float64.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 100 * np.sum(a * b, axis=1) / norms.clip(min=1e-12)


def _with_prompts(clips: Clips) -> Scores:
    return Scores({"clap": clap_score(clips.prompts(), np.stack(clips.generated()))})


def _with_targets(clips: Clips) -> Scores:
    return Scores({"clap_a": clap_score(np.stack(clips.target()), np.stack(clips.generated()))})


CLAP = Metric("clap", "clap", _with_prompts, with_prompts=True)
CLAP_A = Metric("clap_a", "clap", _with_targets, with_target=True)
