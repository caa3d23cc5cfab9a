"""Precision, recall, density, coverage: equal to the package `prdc`, closed forms, folds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kdbench.metrics import blocks
from kdbench.metrics.prdc import expected_coverage, prdc
from kdbench.stats import mean
from kdbench.stats.jackknife import folds

NAMES = ("precision", "recall", "density", "coverage")


def drawn(count: int, seed: int, width: int = 16, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(count, width))).astype(np.float32)


def values(found: Any) -> list[float]:
    return [getattr(found, name).value for name in NAMES]


def peers(real: np.ndarray, generated: np.ndarray, k: int) -> list[float]:
    from prdc import compute_prdc

    found = compute_prdc(real, generated, k)
    return [float(found[name]) for name in NAMES]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("strip", [1 << 24, 5_000])
def test_it_is_the_package_prdc(monkeypatch: pytest.MonkeyPatch, k: int, strip: int) -> None:
    monkeypatch.setattr(blocks, "_STRIP", strip)
    real, generated = drawn(220, 1), drawn(190, 2, scale=1.1)
    assert values(prdc(real, generated, k)) == pytest.approx(peers(real, generated, k), abs=1e-12)


def test_every_fold_left_out_is_the_package_on_the_others() -> None:
    real, generated = drawn(150, 3), drawn(130, 4, scale=0.8)
    own = folds(130, 6)
    found = prdc(real, generated, 5, folds=own)
    one_real = [
        prdc(real, np.vstack([image[None], real[:5]]), 5).real_like[0] for image in generated
    ]
    assert found.real_like.tolist() == one_real
    for fold in range(6):
        left = [getattr(found, name).without[fold] for name in NAMES]
        assert left == pytest.approx(peers(real, generated[own != fold], 5), abs=1e-12)


def test_neighbours_that_all_lie_in_one_fold_are_looked_for_further_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kdbench.metrics.prdc._NEAREST", 1)
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(4), 30)
    generated = rng.normal(size=(120, 3)) * 0.01 + np.eye(4)[own][:, :3] * 10
    real = rng.normal(size=(90, 3)) * 4
    found = prdc(real, generated, 5, folds=own)
    for fold in range(4):
        left = [getattr(found, name).without[fold] for name in NAMES]
        assert left == pytest.approx(peers(real, generated[own != fold], 5), abs=1e-12)


def test_equal_sets_have_all_of_everything() -> None:
    real = drawn(200, 5)
    assert values(prdc(real, real.copy())) == [1, 1, 1, 1]


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    found = prdc(3 * drawn(1000, 6, 64), 0.1 * drawn(1000, 7, 64))
    assert (found.precision.value, found.recall.value) == (1, 0)


def test_coverage_of_the_same_distribution_is_its_closed_form() -> None:
    assert expected_coverage(2000, 2000, 5) == pytest.approx(1 - 2**-5, abs=1e-3)
    n, m, k = 60, 90, 3
    drawn_coverage = [
        prdc(drawn(n, seed), drawn(m, seed + 999), k).coverage.value for seed in range(150)
    ]
    error = np.std(drawn_coverage) / np.sqrt(150)
    assert np.mean(drawn_coverage) == pytest.approx(expected_coverage(n, m, k), abs=4 * error)


def test_a_closed_ball_holds_its_border() -> None:
    # on a line, k = 1: each ball reaches exactly to the next point
    real, generated = np.arange(6.0)[:, None], np.arange(1.0, 5)[:, None] * 1.0
    assert prdc(real, generated, 1).density.value == 1
    assert prdc(real, generated, 1, inclusive=True).density.value == 3


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 6 rows"):
        prdc(drawn(5, 1), drawn(20, 2))
    with pytest.raises(ValueError, match="too few for k = 5"):
        prdc(drawn(20, 1), drawn(12, 2), folds=folds(12, 1))
    with pytest.raises(ValueError, match="label all 12"):
        prdc(drawn(20, 1), drawn(12, 2), folds=np.zeros(3, int))
    with pytest.raises(ValueError, match="16 and 8 dimensions"):
        prdc(drawn(20, 1), drawn(20, 2, 8))


def near_one(seed: int, real: np.ndarray, share: float) -> np.ndarray:
    """Images of the real kind, but for a share that lies far off; a plane, so real balls leave no gaps."""
    rng = np.random.default_rng(seed)
    drawn_like = real[rng.integers(0, len(real), 250)] + 0.02 * rng.normal(size=(250, 2))
    return np.where(rng.random((250, 1)) < share, drawn_like, drawn_like + 100)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.98, 0.03])
def test_a_precision_near_its_ends_is_covered_nineteen_times_in_twenty(share: float) -> None:
    real, own = np.random.default_rng(1).normal(size=(120, 2)), folds(250, 20)
    found = [prdc(real, near_one(seed, real, share), 5, folds=own).precision for seed in range(500)]
    assert np.mean([one.value for one in found]) == pytest.approx(share, abs=0.005)
    told = [one.estimate() for one in found]
    covered = np.mean([one.low <= share <= one.high for one in told])
    assert 0.92 <= covered <= 0.98
    jackknifed = [replace(one, share=None).estimate() for one in found]
    assert np.mean([one.low <= share <= one.high for one in jackknifed]) < covered


@pytest.mark.slow
def test_recall_and_coverage_near_one_are_covered() -> None:
    real, own = drawn(200, 2, 4), folds(200, 20)
    found = [prdc(real, drawn(200, seed + 5, 4), 5, folds=own) for seed in range(200)]
    for name in ("recall", "coverage"):
        truth = np.mean([getattr(one, name).value for one in found])
        told = [getattr(one, name).estimate() for one in found]
        assert truth > 0.96
        covered = np.mean([one.low <= truth <= one.high for one in told])
        assert 0.92 <= covered <= 0.995
        assert all(0 <= one.low <= one.value <= one.high <= 1 for one in told)


def test_a_precision_is_wilsons_of_its_images_and_clustered_by_prompt() -> None:
    real, generated = drawn(120, 1), drawn(100, 2, scale=1.1)
    found = prdc(real, generated, 5, folds=folds(100, 20))
    told, peer = found.precision.estimate(), mean(found.real_like.astype(float))
    assert (told.low, told.high, told.method) == (peer.low, peer.high, "wilson")
    prompts = np.repeat(np.arange(25), 4)
    found = prdc(real, generated, 5, folds=folds(100, 20, prompts), clusters=prompts)
    told, peer = found.precision.estimate(0.9), mean(found.real_like.astype(float), prompts, 0.9)
    assert (told.low, told.high) == pytest.approx((peer.low, peer.high))
    assert (told.method, told.n_clusters) == ("wilson (clustered)", 25)


def test_all_of_everything_has_a_lower_bound_below_one() -> None:
    real = drawn(80, 5, 2)
    found = prdc(real, np.repeat(real, 3, axis=0), 5, folds=folds(240, 20))
    for name in ("precision", "recall", "coverage"):
        told = getattr(found, name).estimate()
        assert told.high == 1 and 0.9 < told.low < told.value == 1
