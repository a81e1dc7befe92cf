"""Divergence between the classes recognised in a target and in the generated clip (paper, section
IV-C).
"""

from __future__ import annotations

import numpy as np

from .metric import Clips, Metric, Scores

EPSILON = 1e-6
"""Added to the generated probabilities before the logarithm, as is usual for audio."""


def kl_divergence(
    target: np.ndarray, generated: np.ndarray, activation: str = "softmax"
) -> np.ndarray:
    """KL(target || generated) of each pair, from class logits.

    sum_c p_c ln(p_c / (q_c + 1e-6)), with p and q the activations of the target's and the generated
    clip's logits. With sigmoids p and q are no distributions over classes, so that this value may
    be negative.

    Parameters
    ----------
    target, generated : np.ndarray
        Logits [N, classes] of paired clips.
    activation : {"softmax", "sigmoid"}
        How logits become probabilities.

    Returns
    -------
    np.ndarray
        Divergences [N] in nats, float64.
    """
    target, generated = (np.asarray(x, dtype=np.float64) for x in (target, generated))
    log_p, p = _log_probabilities(target, activation)
    _, q = _log_probabilities(generated, activation)
    return np.sum(p * (log_p - np.log(q + EPSILON)), axis=1)


def _log_probabilities(logits: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    if activation == "softmax":
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    else:
        log_p = -np.logaddexp(0.0, -logits)
    return log_p, np.exp(log_p)


def _score(clips: Clips) -> Scores:
    generated, target = np.stack(clips.generated()), np.stack(clips.target())
    return Scores(
        {f"kl_{name}": kl_divergence(target, generated, name) for name in ("softmax", "sigmoid")}
    )


KL = Metric("kl", "cnn14", _score, with_target=True)
"""Gives both activations."""
