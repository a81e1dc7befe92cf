"""Frechet distance between two sets of features, taken as Gaussians (Kilgour et al., "Frechet Audio
Distance").
"""

from __future__ import annotations

import numpy as np

from .metric import Clips, Metric, Scores


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two sets of feature vectors, taken as Gaussians.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of their means and unbiased covariances, in
    float64. The trace of the root is the sum of the singular values of S_a^(1/2) S_b^(1/2). With
    the triangular factors of the centred samples for the roots no covariance is squared or rooted,
    so the distance stays accurate for sets smaller than their dimension.

    Parameters
    ----------
    a, b : np.ndarray
        Feature vectors [N, D] and [M, D], N and M at least 2.

    Returns
    -------
    float
        The distance, at least 0.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    factors: list[np.ndarray] = []
    total = 0.0
    for x in (a, b):
        centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
        factors.append(np.asarray(np.linalg.qr(centred, mode="r")))
        total += float(np.sum(centred**2))
    shift = float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))
    overlap = float(np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum())
    return max(0.0, shift + total - 2 * overlap)


def _score(clips: Clips) -> Scores:
    generated, target = np.concatenate(clips.generated()), np.concatenate(clips.target())
    notes = []
    fewest = min(len(generated), len(target))
    if fewest <= generated.shape[1]:
        notes.append(
            f"FAD: {fewest} patches for a covariance of {generated.shape[1]} dimensions; with so "
            "few the distance depends on their number, so compare it only with sets of this size"
        )
    return Scores(whole={"fad": frechet_distance(target, generated)}, notes=tuple(notes))


# A single clip has no covariance.
FAD = Metric("fad", "vggish", _score, with_target=True, least=2)
