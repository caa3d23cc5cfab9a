"""kdbench.stats.bootstrap against scipy and against intervals in closed form."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from kdbench.stats import bootstrap as module
from kdbench.stats import clustered_bootstrap, mean, ratio_of_sums


def average(total: np.ndarray, size: np.ndarray) -> np.ndarray:
    return total / size


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return top / bottom


@pytest.mark.parametrize("interval", ["bca", "percentile"])
def test_the_interval_is_that_of_scipy_at_the_expanded_percentiles(interval: str) -> None:
    values = np.random.default_rng(2).exponential(size=40)
    ours = clustered_bootstrap(average, [values, np.ones(40)], replicates=20_000, interval=interval)
    reach = reference.t.ppf(0.975, 39) * math.sqrt(40 / 39)
    theirs = reference.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=2 * reference.norm.cdf(reach) - 1,
        method=interval,
        rng=np.random.default_rng(3),
    ).confidence_interval
    spread = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03 * spread)


def test_many_clusters_agree_with_the_closed_forms() -> None:
    rng = np.random.default_rng(4)
    clusters = rng.integers(0, 150, 900)
    bottom = rng.uniform(1, 3, 900)
    top = bottom * (0.8 + rng.normal(0, 0.2, 150)[clusters]) + rng.normal(0, 0.3, 900)
    for columns, of, expected in (
        ([top, np.ones(900)], average, mean(top, clusters)),
        ([top, bottom], ratio, ratio_of_sums(top, bottom, clusters)),
    ):
        estimate = clustered_bootstrap(of, columns, clusters, replicates=8000)
        width = expected.high - expected.low
        assert estimate.value == pytest.approx(expected.value)
        assert estimate.low == pytest.approx(expected.low, abs=0.06 * width)
        assert estimate.high == pytest.approx(expected.high, abs=0.06 * width)
        assert estimate.n_clusters == expected.n_clusters


def test_the_seed_decides_the_interval_and_is_named() -> None:
    values = [np.random.default_rng(5).normal(size=30), np.ones(30)]
    first, again, other = (clustered_bootstrap(average, values, seed=s) for s in (7, 7, 8))
    assert first == again
    assert first.low != other.low
    assert first.method == "clustered bootstrap (2000, seed 7)"


def test_drawing_in_small_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [np.random.default_rng(6).normal(size=50), np.ones(50)]
    whole = clustered_bootstrap(average, values)
    monkeypatch.setattr(module, "_CHUNK", 333)
    chunked = clustered_bootstrap(average, values)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_a_statistic_without_spread_has_an_interval_of_no_width() -> None:
    estimate = clustered_bootstrap(average, [np.ones(12), np.ones(12)])
    assert (estimate.low, estimate.value, estimate.high) == (1, 1, 1)


def test_one_cluster_or_an_undefined_replicate_leaves_no_interval() -> None:
    alone = clustered_bootstrap(average, [[1.0, 2.0], [1, 1]], ["a", "a"])
    assert math.isnan(alone.low)
    assert alone.method == "undefined (one cluster)"
    sometimes = clustered_bootstrap(ratio, [[1.0, 0, 0], [2.0, 0, 0]])
    assert sometimes.value == 0.5
    assert math.isnan(sometimes.low)


def test_two_clusters_reach_from_one_to_the_other() -> None:
    values, clusters = [1.0, 2.0, 5.0, 6.0], ["a", "a", "b", "b"]
    for interval in ("bca", "percentile"):
        found = clustered_bootstrap(average, [values, np.ones(4)], clusters, interval=interval)
        assert (found.low, found.value, found.high) == (1.5, 3.5, 5.5)
        assert found.method == "clustered bootstrap (2000, seed 0)"


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_few_clusters_have_an_interval_around_their_value(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    found = clustered_bootstrap(average, [values, np.ones(count)], confidence=confidence)
    assert values.min() <= found.low < found.value < found.high <= values.max()


def test_corrections_that_degenerate_are_left_out_and_the_method_says_which() -> None:
    skewed = [0.0, 0.0, 9.0]
    beyond = clustered_bootstrap(average, [skewed, np.ones(3)], confidence=0.999)
    assert beyond.method == "clustered bootstrap (2000, seed 0), bias-corrected"
    assert (beyond.low, beyond.high) == (0, 9)

    weights = np.random.default_rng(8).uniform(1, 3, 15)

    def nearness(size: np.ndarray) -> np.ndarray:
        return -((size - weights.sum()) ** 2)  # the sample itself is nearer than any resample

    below = clustered_bootstrap(nearness, [weights])
    assert below.method == "clustered bootstrap (2000, seed 0), percentile"
    assert below.low < below.high < below.value


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        clustered_bootstrap(average, [])
    with pytest.raises(ValueError, match="same 2 samples"):
        clustered_bootstrap(average, [[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match="replicates"):
        clustered_bootstrap(average, [[1.0, 2.0], [1.0, 1.0]], replicates=1)
    with pytest.raises(ValueError, match="interval"):
        clustered_bootstrap(average, [[1.0, 2.0], [1.0, 1.0]], interval="normal")
    with pytest.raises(ValueError, match="shape"):
        clustered_bootstrap(lambda total: total.sum(), [[1.0, 2.0]])
