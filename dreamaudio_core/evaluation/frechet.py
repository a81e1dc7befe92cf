"""Frechet distance between two sets of features, taken as Gaussians (Kilgour et al., "Frechet Audio
Distance").
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError


def frechet_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """Frechet distance of two Gaussians.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), in float64. The trace of the root is the sum
    of the singular values of S_a^(1/2) S_b^(1/2), which stays real and accurate where the product
    S_a S_b is singular.

    Parameters
    ----------
    mean_a, mean_b : np.ndarray
        Means [D].
    cov_a, cov_b : np.ndarray
        Covariances [D, D], symmetric and positive semi-definite up to rounding.

    Returns
    -------
    float
        The distance, at least 0.

    Raises
    ------
    InputError
        If shapes differ, values are not finite, or a covariance is not symmetric or has a clearly
        negative eigenvalue.
    """
    mean_a, mean_b = (np.atleast_1d(np.asarray(m, dtype=np.float64)) for m in (mean_a, mean_b))
    cov_a, cov_b = (np.atleast_2d(np.asarray(c, dtype=np.float64)) for c in (cov_a, cov_b))
    size = mean_a.shape[-1]
    if not (mean_a.shape == mean_b.shape == (size,) and cov_a.shape == cov_b.shape == (size, size)):
        raise InputError(
            f"Frechet distance: expected means [D] and covariances [D, D] of one size D, found "
            f"{mean_a.shape}, {cov_a.shape}, {mean_b.shape}, {cov_b.shape}"
        )
    root_a, root_b = _root(cov_a, "first"), _root(cov_b, "second")
    return _combine(mean_a, mean_b, np.trace(cov_a) + np.trace(cov_b), root_a @ root_b)


def frechet_distance_of_samples(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two sets of feature vectors, with unbiased covariances.

    Equals `frechet_distance` of the sets' means and covariances, but works on the triangular
    factors of the centred samples, so that no covariance is squared or rooted.

    Parameters
    ----------
    a, b : np.ndarray
        Feature vectors [N, D] and [M, D], N and M at least 2.

    Returns
    -------
    float
        The distance, at least 0.

    Raises
    ------
    InputError
        If a set has fewer than two vectors, sizes differ or values are not finite.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
    for name, x in (("first", a), ("second", b)):
        if x.ndim != 2 or len(x) < 2:
            raise InputError(
                f"Frechet distance: the {name} set needs at least 2 feature vectors [N, D] for a "
                "covariance, "
                f"found shape {x.shape}"
            )
        if not np.isfinite(x).all():
            raise InputError(f"Frechet distance: the {name} set holds NaN or infinite features")
    if a.shape[1] != b.shape[1]:
        raise InputError(f"Frechet distance: feature sizes differ: {a.shape[1]} and {b.shape[1]}")
    factors, total = [], 0.0
    for x in (a, b):
        centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
        factors.append(np.linalg.qr(centred, mode="r"))
        total += float(np.sum(centred**2))
    return _combine(a.mean(axis=0), b.mean(axis=0), total, factors[0] @ factors[1].T)


def _root(cov: np.ndarray, name: str) -> np.ndarray:
    """Symmetric square root of a covariance."""
    if not np.isfinite(cov).all():
        raise InputError(f"Frechet distance: the {name} covariance holds NaN or infinite values")
    scale = max(float(np.abs(cov).max()), np.finfo(np.float64).tiny)
    if np.abs(cov - cov.T).max() > 1e-8 * scale:
        raise InputError(f"Frechet distance: the {name} covariance is not symmetric")
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    if values[0] < -1e-8 * scale * len(cov):
        raise InputError(
            f"Frechet distance: the {name} covariance has the negative eigenvalue {values[0]:.3g}"
        )
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _combine(mean_a: np.ndarray, mean_b: np.ndarray, traces: float, product: np.ndarray) -> float:
    shift = float(np.sum((mean_a - mean_b) ** 2))
    if not np.isfinite(shift):
        raise InputError("Frechet distance: a mean holds NaN or infinite values")
    return max(
        0.0, shift + float(traces) - 2 * float(np.linalg.svd(product, compute_uv=False).sum())
    )
