"""Closed forms and reference implementations for kdbench.stats.intervals."""

import math
import subprocess
import sys

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as reference
from statsmodels.stats.proportion import proportion_confint

from kdbench.stats import mean, proportion, ratio_of_sums


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 20), (3, 17), (50, 50), (481, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_a_proportion_has_the_wilson_interval_of_statsmodels(
    successes: int, n: int, confidence: float
) -> None:
    estimate = proportion(successes, n, confidence)
    expected = proportion_confint(successes, n, 1 - confidence, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-12)
    assert (estimate.value, estimate.method, estimate.n) == (successes / n, "wilson", n)


def test_binary_values_without_clusters_take_the_wilson_interval() -> None:
    assert mean([1, 0, 1, 1, 0, 1, 1]) == proportion(5, 7)
    assert mean(np.array([True, False, True])) == proportion(2, 3)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_continuous_values_take_student_t(confidence: float) -> None:
    values = [0.31, 0.5, 0.12, 0.9, 0.77, 0.4]
    estimate = mean(values, confidence=confidence)
    expected = reference.t.interval(confidence, 5, loc=np.mean(values), scale=reference.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert estimate.method == "t"


def test_equal_clusters_take_student_t_on_their_means() -> None:
    values = np.random.default_rng(4).normal(size=(9, 5)) + np.arange(9)[:, None]
    estimate = mean(values.ravel(), np.repeat(np.arange(9), 5))
    means = values.mean(axis=1)
    expected = reference.t.interval(0.95, 8, loc=means.mean(), scale=reference.sem(means))
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert (estimate.method, estimate.n, estimate.n_clusters) == ("t (clustered)", 45, 9)


def test_the_clustered_standard_error_is_that_of_statsmodels() -> None:
    values = np.random.default_rng(5).normal(size=60)
    clusters = np.repeat(np.arange(15), 4)
    fit = sm.OLS(values, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": True}
    )
    estimate = mean(values, clusters)
    half = fit.bse[0] * reference.t.ppf(0.975, 14)
    assert estimate.high - estimate.value == pytest.approx(half)
    assert estimate.value == pytest.approx(fit.params[0])


def test_unequal_clusters_take_the_bell_mccaffrey_interval_in_matrix_form() -> None:
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(6), [1, 3, 9, 4, 2, 14])
    values = rng.normal(size=clusters.size)
    n = values.size
    design = np.ones((n, 1))
    residual_maker = np.eye(n) - design @ design.T / n
    rows, variance = [], 0.0
    for label in range(6):
        members = clusters == label
        block = residual_maker[np.ix_(members, members)]
        eigenvalues, vectors = np.linalg.eigh(block)
        root = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T
        weights = design[members].T @ root / n
        variance += float((weights @ (residual_maker @ values)[members]).item()) ** 2
        rows.append((weights @ residual_maker[members]).ravel())
    gram = np.array(rows) @ np.array(rows).T
    degrees = np.trace(gram) ** 2 / np.trace(gram @ gram)
    estimate = mean(values, clusters)
    half = reference.t.ppf(0.975, degrees) * math.sqrt(variance)
    assert estimate.high - estimate.value == pytest.approx(half)


def test_clustered_binary_values_take_wilson_at_the_effective_sample_size() -> None:
    values, clusters = np.repeat([1, 1, 1, 0, 1, 0, 1, 1], 5), np.repeat(np.arange(8), 5)
    estimate = mean(values, clusters)
    # Identical answers within a cluster: 40 samples tell as much as 8, known with 7 degrees.
    between = 0.1875 * 8 / 7 * 40**2 / 8
    independent = 0.1875 * 40 * 40 / 39
    quantiles = reference.t.ppf(0.975, [39, 7])
    size = 40 * independent / between * (quantiles[0] / quantiles[1]) ** 2
    expected = proportion_confint(0.75 * size, size, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert estimate.method == "wilson (clustered)"


def test_all_right_in_clusters_still_leaves_room_below() -> None:
    clusters = np.repeat(np.arange(20), 10)
    estimate = mean(np.ones(200), clusters)
    assert proportion(20, 20).low < estimate.low < proportion(200, 200).low
    assert estimate.high == 1


def test_one_sample_or_one_cluster_has_no_interval() -> None:
    alone = mean([0.4])
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    assert alone.value == 0.4
    assert alone.method == "undefined (one sample)"
    for values in ([0.4, 0.6], [1, 0]):
        together = mean(values, ["text", "text"])
        assert math.isnan(together.low)
        assert together.method == "undefined (one cluster)"
        assert (together.n, together.n_clusters) == (2, 1)


def test_labels_may_be_anything_hashable() -> None:
    values = [0.2, 0.4, 0.9, 0.1]
    codes = mean(values, np.array([0, 0, 1, 2]))
    for labels in (
        ["a", "a", "b", "c"],
        np.array(["a", "a", "b", "c"]),
        [(1, "x"), (1, "x"), 2, None],
    ):
        assert mean(values, labels) == codes


def test_a_ratio_of_sums_has_the_classical_fieller_interval() -> None:
    rng = np.random.default_rng(7)
    bottom = rng.uniform(1, 3, 25)
    top = 0.7 * bottom + rng.normal(0, 0.4, 25)
    n, t = 25, reference.t.ppf(0.975, 24)
    (vt, cov), (_, vb) = np.cov(top, bottom) / n
    a, b = top.mean(), bottom.mean()
    roots = np.roots([b**2 - t**2 * vb, -2 * (a * b - t**2 * cov), a**2 - t**2 * vt])
    estimate = ratio_of_sums(top, bottom)
    assert (estimate.low, estimate.high) == pytest.approx(sorted(roots))
    assert estimate.value == pytest.approx(top.sum() / bottom.sum())


def test_every_ratio_on_the_fieller_bound_is_just_rejected_by_a_t_test_on_cluster_totals() -> None:
    rng = np.random.default_rng(8)
    clusters = rng.integers(0, 12, 80)
    bottom = rng.uniform(1, 3, 80)
    top = 0.7 * bottom + rng.normal(0, 0.4, 80)
    estimate = ratio_of_sums(top, bottom, clusters)
    for ratio in (estimate.low, estimate.high):
        totals = np.bincount(clusters, top - ratio * bottom)
        assert reference.ttest_1samp(totals, 0).pvalue == pytest.approx(0.05)
    assert estimate.method == "fieller (clustered)"


def test_a_denominator_that_may_be_zero_leaves_the_ratio_unbounded() -> None:
    estimate = ratio_of_sums([1.0, 2.0, 1.5], [0.1, -0.2, 0.15])
    assert (estimate.low, estimate.high) == (-math.inf, math.inf)
    assert estimate.value == pytest.approx(90)
    assert estimate.method == "fieller (unbounded: denominator near 0)"


def test_a_denominator_that_is_zero_leaves_the_ratio_undefined() -> None:
    estimate = ratio_of_sums([1.0, 2.0], [0.0, 0.0])
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert estimate.method == "undefined (denominator sums to 0)"


def test_an_exact_ratio_has_an_interval_of_no_width() -> None:
    bottom = np.random.default_rng(9).uniform(0.1, 5, 40)
    estimate = ratio_of_sums(0.3 * bottom, bottom)
    assert estimate.high - estimate.low < 1e-12


@pytest.mark.parametrize(
    ("values", "clusters"),
    [([], None), ([[0.1, 0.2]], None), ([0.1, math.nan], None), ([0.1, 0.2], ["a"])],
)
def test_unusable_samples_are_refused(values: list[float], clusters: list[str] | None) -> None:
    with pytest.raises(ValueError):
        mean(values, clusters)


def test_impossible_counts_lengths_and_confidences_are_refused() -> None:
    for successes, n in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="successes"):
            proportion(successes, n)
    with pytest.raises(ValueError, match="same samples"):
        ratio_of_sums([1.0], [1.0, 2.0])
    for confidence in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="confidence"):
            mean([0.1, 0.7], confidence=confidence)


def test_importing_the_package_leaves_scipy_alone() -> None:
    code = "import sys, kdbench.stats; sys.exit(any(m.startswith('scipy') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
