"""CLAP similarities (Wu et al., "Large-scale contrastive language-audio pretraining"; paper,
equations 7 and 8).
"""

from __future__ import annotations

import numpy as np

from ...networks.clap import clap_score
from .metric import Clips, Metric, Scores


def _with_prompts(clips: Clips) -> Scores:
    return Scores({"clap": clap_score(clips.prompts(), np.stack(clips.generated()))})


def _with_targets(clips: Clips) -> Scores:
    return Scores({"clap_a": clap_score(np.stack(clips.target()), np.stack(clips.generated()))})


CLAP = Metric("clap", "clap", _with_prompts, with_prompts=True)
CLAP_A = Metric("clap_a", "clap", _with_targets, with_target=True)
