"""Frechet distance and KL divergence against independent arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats

from dreamaudio_core.evaluation.metrics.fad import frechet_distance
from dreamaudio_core.evaluation.metrics.kl import EPSILON, kl_divergence


def covariance(rng: np.random.Generator, size: int, rank: int) -> np.ndarray:
    factor = rng.normal(size=(size, rank))
    return factor @ factor.T / rank


def with_moments(rng: np.random.Generator, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Samples of exactly this mean and unbiased covariance."""
    noise = rng.normal(size=(4 * len(mean) + 2, len(mean)))
    noise -= noise.mean(0)
    white = (
        noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise, rowvar=False).reshape(cov.shape))).T
    )
    return mean + white @ np.linalg.cholesky(cov).T


def by_scipy(mean_a, cov_a, mean_b, cov_b) -> float:
    root = scipy.linalg.sqrtm((cov_a @ cov_b).astype(complex))
    return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * root.real))


# Frechet distance


def test_one_dimension_has_the_closed_form():
    rng = np.random.default_rng(0)
    a = with_moments(rng, np.array([1.0]), np.array([[4.0]]))
    b = with_moments(rng, np.array([-2.0]), np.array([[9.0]]))
    assert frechet_distance(a, b) == pytest.approx((1 + 2) ** 2 + (2 - 3) ** 2, rel=1e-12)


def test_commuting_covariances_have_the_closed_form():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    a, b = rng.uniform(0.1, 5, 12), rng.uniform(0.1, 5, 12)
    mean_a, mean_b = rng.normal(size=(2, 12))
    found = frechet_distance(
        with_moments(rng, mean_a, basis * a @ basis.T),
        with_moments(rng, mean_b, basis * b @ basis.T),
    )
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [2, 16, 128])
def test_general_covariances_agree_with_scipy(size):
    rng = np.random.default_rng(size)
    mean_a, mean_b = rng.normal(size=(2, size))
    cov_a, cov_b = covariance(rng, size, 3 * size), covariance(rng, size, 2 * size)
    a, b = with_moments(rng, mean_a, cov_a), with_moments(rng, mean_b, cov_b)
    expected = by_scipy(mean_a, cov_a, mean_b, cov_b)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_samples_agree_with_scipy():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20))
    b = rng.normal(size=(200, 20)) @ rng.normal(size=(20, 20)) + 0.5
    moments = (a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    found = frechet_distance(a, b)
    assert found == pytest.approx(by_scipy(*moments), rel=1e-9)


def test_sets_smaller_than_their_dimension_keep_the_exact_distance():
    """Their covariances are singular; those of two lines at an angle have a closed form."""
    angle, size = 0.3, 128
    line_a = np.zeros((2, size))
    line_a[:, 0] = 1, -1
    line_b = np.zeros((2, size))
    line_b[:, 0] = math.cos(angle), -math.cos(angle)
    line_b[:, 1] = math.sin(angle), -math.sin(angle)
    expected = 2 + 2 - 2 * 2 * math.cos(angle)
    assert frechet_distance(line_a, line_b) == pytest.approx(expected, rel=1e-12)


def test_a_set_is_at_no_distance_from_itself_and_order_does_not_matter():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(10, 128)) * 100, rng.normal(size=(15, 128))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, a[::-1]) >= 0
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_large_offset_costs_no_digits():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(60, 4)) + 1
    assert frechet_distance(a + 1e6, b + 1e6) == pytest.approx(frechet_distance(a, b), rel=1e-7)


# KL divergence


def test_softmax_divergence_by_hand():
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): 1/2 ln 2 + 0 + 1/4 ln 1/2 = 1/4 ln 2."""
    target = np.log([[0.5, 0.25, 0.25]]) + 3.0
    generated = np.log([[0.25, 0.25, 0.5]]) - 1.0
    assert kl_divergence(target, generated)[0] == pytest.approx(0.25 * math.log(2), abs=5e-6)


def test_sigmoid_divergence_by_hand():
    """p = (1/2, 3/4), q = (1/4, 3/4): 1/2 ln 2."""
    target = np.array([[0.0, math.log(3)]])
    generated = np.array([[-math.log(3), math.log(3)]])
    assert kl_divergence(target, generated, "sigmoid")[0] == pytest.approx(
        0.5 * math.log(2), abs=5e-6
    )


def test_many_classes_agree_with_scipy():
    rng = np.random.default_rng(4)
    target, generated = rng.normal(size=(2, 7, 527)) * 4
    p, q = scipy.special.softmax(target, axis=1), scipy.special.softmax(generated, axis=1)
    assert kl_divergence(target, generated) == pytest.approx(
        scipy.special.rel_entr(p, q + EPSILON).sum(1), rel=1e-9
    )
    mild = scipy.stats.entropy(
        *(scipy.special.softmax(x / 4, axis=1) for x in (target, generated)), axis=1
    )
    assert kl_divergence(target / 4, generated / 4) == pytest.approx(mild, rel=0.005)
    p, q = scipy.special.expit(target), scipy.special.expit(generated)
    expected = scipy.special.rel_entr(p, q + EPSILON).sum(1)
    assert kl_divergence(target, generated, "sigmoid") == pytest.approx(expected, rel=1e-9)


def test_divergence_is_from_the_target_and_stays_finite_at_the_extremes():
    sure, unsure = np.array([[800.0, -800.0]]), np.array([[0.0, 0.0]])
    assert kl_divergence(sure, unsure)[0] == pytest.approx(math.log(2), abs=1e-5)
    other_way = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / EPSILON)
    assert kl_divergence(unsure, sure)[0] == pytest.approx(other_way, rel=1e-5)
    assert np.isfinite(kl_divergence(sure, -sure, "sigmoid")).all()
