"""CMMD: the formula, the moments' shortcut, and diversity and following in feature space."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.metrics.cmmd import FEWEST, cmmd, cmmd_of_folds, normalised
from kdbench.metrics.following import feature_cosine, psnr
from kdbench.metrics.moments import Moments
from kdbench.metrics.vendi import mean_pairwise_distance, vendi_score
from kdbench.stats.jackknife import folds


def embeddings(count: int, seed: int, width: int = 96, shift: float = 0.0) -> np.ndarray:
    """Unit vectors that share most of their direction, as CLIP's do."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).normal(size=width)
    own = rng.normal(size=(count, width)) + shift * np.linspace(-1, 1, width)
    return normalised(common * 1.2 + own)


def by_reference_formula(x: np.ndarray, y: np.ndarray) -> float:
    """As google-research's `distance.mmd` writes it, in float64."""
    gamma = 1 / (2 * 10**2)
    x_sq, y_sq = np.diag(x @ x.T), np.diag(y @ y.T)

    def mean(a: np.ndarray, b: np.ndarray, a_sq: np.ndarray, b_sq: np.ndarray) -> float:
        return float(np.mean(np.exp(-gamma * (-2 * a @ b.T + a_sq[:, None] + b_sq[None]))))

    return 1000 * (mean(x, x, x_sq, x_sq) + mean(y, y, y_sq, y_sq) - 2 * mean(x, y, x_sq, y_sq))


def test_it_is_the_reference_formula_without_its_matrices() -> None:
    x, y = embeddings(130, 1), embeddings(120, 2, shift=0.3)
    assert cmmd(x, y) == pytest.approx(by_reference_formula(x, y), rel=1e-9)


def test_equal_sets_are_at_no_distance() -> None:
    x = embeddings(80, 3)
    assert cmmd(x, x) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("shift", [0.05, 0.3, 1.5])
def test_two_moments_are_all_that_matters(shift: float) -> None:
    x, y = embeddings(800, 4), embeddings(700, 5, shift=shift)
    own = folds(800, 10)
    streamed = cmmd_of_folds([Moments.of(x[own == f]) for f in range(10)], Moments.of(y))
    assert streamed.value == pytest.approx(cmmd(x, y), rel=1e-4)
    left = cmmd(x[own != 2], y)
    assert streamed.without[2] == pytest.approx(left, rel=1e-4)
    found = streamed.estimate()
    assert found.low < found.value < found.high


def test_too_few_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match=f"at least {FEWEST} samples, got 49"):
        cmmd_of_folds([Moments.of(embeddings(49, 1))], Moments.of(embeddings(60, 2)))
    with pytest.raises(ValueError, match="at least 50 rows"):
        cmmd(embeddings(49, 1), embeddings(60, 2))
    with pytest.raises(ValueError, match="no direction"):
        normalised(np.zeros((2, 3)))


def test_vendi_counts_what_is_different() -> None:
    same, apart = np.ones((5, 3)), np.eye(6)
    for q in (0.5, 1, 2, math.inf):
        assert vendi_score(same, q) == pytest.approx(1)
        assert vendi_score(apart, q) == pytest.approx(6)


def test_vendi_respects_its_order() -> None:
    rows = np.eye(4)[[0, 0, 0, 1]]  # eigenvalues 3/4 and 1/4
    assert vendi_score(rows) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    assert vendi_score(rows, 2) == pytest.approx(1 / (0.75**2 + 0.25**2))
    assert vendi_score(rows, math.inf) == pytest.approx(4 / 3)
    with pytest.raises(ValueError, match="not negative"):
        vendi_score(rows, -1)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
def test_vendi_is_the_same_from_either_side_and_falls_with_its_order(
    count: int, width: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    wide = np.hstack([rows, np.zeros((count, 20))])
    assert vendi_score(wide) == pytest.approx(vendi_score(rows))
    scores = [vendi_score(rows, q) for q in (0.1, 1, 2, math.inf)]
    assert all(a >= b - 1e-9 for a, b in pairwise(scores))
    assert scores[-1] >= 1 - 1e-9 and scores[0] <= min(count, width) + 1e-9


def test_a_distance_is_the_mean_over_pairs() -> None:
    rows = np.array([[0.0, 1], [3, 4]])
    assert math.isnan(mean_pairwise_distance(rows[:1]))
    assert mean_pairwise_distance(rows) == pytest.approx(math.hypot(3, 3))
    assert mean_pairwise_distance(rows, squared=True) == pytest.approx(18)
    from scipy.spatial.distance import pdist

    many = np.random.default_rng(0).normal(size=(7, 5))
    assert mean_pairwise_distance(many) == pytest.approx(pdist(many).mean())


def test_psnr_is_scikit_images() -> None:
    from skimage.metrics import peak_signal_noise_ratio

    one, two = np.random.default_rng(0).integers(0, 256, (2, 16, 12, 3), np.uint8)
    assert psnr(one, two) == pytest.approx(peak_signal_noise_ratio(one, two))
    assert psnr(one, one) == math.inf
    with pytest.raises(ValueError, match="can't be compared"):
        psnr(one, two[:8])
    with pytest.raises(ValueError, match="8 bits"):
        psnr(one / 255, two)  # type: ignore[arg-type]


def test_cosines_pair_the_rows() -> None:
    teacher = np.array([[1.0, 0], [1, 1], [2, 0]])
    student = np.array([[5.0, 0], [-1, -1], [0, 3]])
    assert feature_cosine(teacher, student).tolist() == pytest.approx([1, -1, 0])
    with pytest.raises(ValueError, match="3 and 2 images"):
        feature_cosine(teacher, student[:2])
