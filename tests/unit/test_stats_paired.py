"""Closed forms, published values and reference implementations for kdbench.stats.paired."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats as reference
from scipy.optimize import minimize
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from kdbench.stats import (
    Flips,
    difference,
    flips,
    mcnemar,
    mean,
    permutation_test,
    ratio_of_sums,
    retention,
)


def columns(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Student and teacher outcomes that make up the given table."""
    counts = (both, lost, gained, neither)
    return np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)


def test_flips_count_how_samples_moved() -> None:
    table = flips(*columns(5, 3, 2, 7))
    assert table == Flips(both_right=5, lost=3, gained=2, both_wrong=7)
    assert table.n == 17


def test_flips_of_graded_outcomes_are_refused() -> None:
    with pytest.raises(ValueError, match="binary"):
        flips([0.5, 1.0], [1.0, 1.0])


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (7, 1), (3, 3), (12, 25), (400, 460)])
def test_mcnemar_agrees_with_statsmodels(lost: int, gained: int) -> None:
    table = [[10, lost], [gained, 10]]
    assert mcnemar(lost, gained) == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert mcnemar(lost, gained) == pytest.approx(mcnemar(gained, lost))


def test_the_mid_p_mcnemar_counts_the_observed_outcome_half() -> None:
    exact, chance = mcnemar(7, 1), reference.binom.pmf(1, 8, 0.5)
    assert mcnemar(7, 1, mid_p=True) == pytest.approx(exact - chance)
    assert mcnemar(4, 4, mid_p=True) == pytest.approx(1)
    assert 0 < mcnemar(2000, 3000, mid_p=True) < mcnemar(2000, 3000)


def test_without_flips_mcnemar_sees_no_difference() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 0, mid_p=True) == 1


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def test_the_difference_has_the_published_tango_interval() -> None:
    # Bentur et al. (2009) in Fagerland, Lydersen & Laake (2014), Statistics in Medicine 33.
    student, teacher = columns(1, 7, 1, 12)
    estimate = difference(student, teacher)
    assert estimate.value == pytest.approx(-6 / 21)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (-0.517, -0.026)
    assert estimate.method == "tango"


def test_the_retention_has_the_published_score_interval() -> None:
    student, teacher = columns(1, 7, 1, 12)
    estimate = retention(student, teacher)
    assert estimate.value == pytest.approx(2 / 8)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.065, 0.907)
    assert estimate.method == "score"


TABLES = [(40, 9, 4, 12), (3, 5, 1, 6), (20, 4, 0, 1), (6, 0, 3, 11), (0, 5, 4, 6)]


def fitted(table: tuple[int, ...], constraint: np.ndarray) -> np.ndarray:
    """Cell probabilities of the highest likelihood under ``constraint @ cells == 0``, numerically.

    ``constraint`` holds the contrast's weights; the last entry is the value it must equal.
    """
    counts = np.array(table, float)
    result = minimize(
        lambda p: -float(counts @ np.log(np.maximum(p, 1e-12))),
        np.full(4, 0.25),
        method="SLSQP",
        bounds=[(1e-10, 1)] * 4,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: constraint[:4] @ p - constraint[4]},
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return result.x


@pytest.mark.parametrize("table", TABLES)
def test_tango_bounds_sit_where_the_numerically_fitted_score_test_just_rejects(
    table: tuple[int, ...],
) -> None:
    n, (_, lost, gained, _) = sum(table), table
    estimate = difference(*columns(*table))
    for bound in (estimate.low, estimate.high):
        cells = fitted(table, np.array([0, -1, 1, 0, bound]))
        variance = n * (cells[1] + cells[2] - bound**2)
        assert abs(gained - lost - n * bound) / math.sqrt(variance) == pytest.approx(1.96, abs=2e-3)


@pytest.mark.parametrize("table", TABLES)
def test_retention_bounds_sit_where_the_numerically_fitted_score_test_just_rejects(
    table: tuple[int, ...],
) -> None:
    n, (both, lost, gained, _) = sum(table), table
    estimate = retention(*columns(*table))
    for bound in (estimate.low, estimate.high):
        if bound == 0:
            continue
        cells = fitted(table, np.array([1 - bound, -bound, 1, 0, 0]))
        variance = n * bound * (cells[1] + cells[2])
        distance = both + gained - bound * (both + lost)
        assert abs(distance) / math.sqrt(variance) == pytest.approx(1.96, abs=2e-3)


def test_models_that_agree_everywhere_keep_an_interval_around_no_change() -> None:
    answers = np.repeat([1, 0], [30, 10])
    z2 = reference.norm.ppf(0.975) ** 2
    same = difference(answers, answers)
    assert same.value == 0
    assert same.high == pytest.approx(z2 / (40 + z2))
    kept = retention(answers, answers)
    assert kept.value == 1
    assert (kept.low, kept.high) == pytest.approx((1 / (1 + z2 / 30), 1 + z2 / 30))


def test_a_student_with_nothing_right_retains_nothing() -> None:
    estimate = retention(np.zeros(12), np.repeat([1, 0], [3, 9]))
    z2 = reference.norm.ppf(0.975) ** 2
    assert (estimate.value, estimate.low) == (0, 0)
    assert estimate.high == pytest.approx(z2 / 3)


@pytest.mark.parametrize("clusters", [None, ["a", "a", "b", "c"]])
@pytest.mark.parametrize("student", [[0, 1, 0, 1], [0.2, 0.1, 0.0, 0.4]])
def test_a_teacher_with_nothing_right_leaves_the_retention_undefined(
    student: list[float], clusters: list[str] | None
) -> None:
    estimate = retention(student, [0, 0, 0, 0], clusters)
    assert all(math.isnan(x) for x in (estimate.value, estimate.low, estimate.high))
    assert estimate.method == "undefined (teacher mean is 0)"


@pytest.mark.parametrize("clusters", [None, np.arange(30) // 3])
def test_graded_pairs_take_t_on_the_differences_and_fieller_on_the_ratio(
    clusters: np.ndarray | None,
) -> None:
    rng = np.random.default_rng(3)
    teacher = rng.uniform(0.3, 1, 30)
    student = 0.9 * teacher + rng.normal(0, 0.05, 30)
    assert difference(student, teacher, clusters) == mean(student - teacher, clusters)
    assert retention(student, teacher, clusters) == ratio_of_sums(student, teacher, clusters)


def test_clustered_flips_widen_the_binary_intervals() -> None:
    student, teacher = columns(60, 20, 10, 10)
    clusters = np.arange(100) // 5
    for of in (difference, retention):
        alone, together = of(student, teacher), of(student, teacher, clusters)
        assert together.low < alone.low < alone.high < together.high
        assert together.value == alone.value
        assert together.method == f"{alone.method} (clustered)"
        assert together.n_clusters == 20


def test_one_cluster_of_pairs_has_no_interval() -> None:
    for of in (difference, retention):
        estimate = of([1, 0, 1], [1, 1, 1], ["a", "a", "a"])
        assert math.isnan(estimate.low)
        assert estimate.method == "undefined (one cluster)"


def test_columns_of_different_samples_are_refused() -> None:
    for of in (difference, retention, flips):
        with pytest.raises(ValueError, match="same samples"):
            of([1, 0], [1, 0, 1])


def test_few_clusters_are_permuted_in_full() -> None:
    sums = [0.3, -0.1, 0.5, 0.2, 0.4]
    totals = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=5)]
    expected = np.mean([total >= sum(sums) - 1e-12 for total in totals])
    assert permutation_test(sums) == pytest.approx(expected)
    pairs = np.repeat(sums, 2) / 2
    assert permutation_test(pairs, np.repeat(np.arange(5), 2)) == pytest.approx(expected)


def test_binary_flips_permuted_in_full_give_the_exact_mcnemar_test() -> None:
    student, teacher = columns(30, 9, 2, 20)
    assert permutation_test(student - teacher) == pytest.approx(mcnemar(9, 2))


def test_random_permutations_approach_the_exact_test() -> None:
    student, teacher = columns(300, 60, 40, 20)
    p_value = permutation_test(student - teacher, seed=1, permutations=20_000)
    assert p_value == pytest.approx(mcnemar(60, 40), abs=0.01)
    assert p_value == permutation_test(student - teacher, seed=1, permutations=20_000)


def test_random_permutations_never_give_a_p_value_of_zero() -> None:
    assert permutation_test(np.ones(100), permutations=99) == pytest.approx(0.01)


def test_no_difference_gives_a_p_value_of_one() -> None:
    assert permutation_test([0, 0, 0]) == 1
    assert permutation_test([0.3, -0.1, -0.2, 0.7, -0.6, -0.1], list("aaabbb")) == 1


def test_a_permutation_test_without_permutations_is_refused() -> None:
    with pytest.raises(ValueError, match="permutations"):
        permutation_test([0.1, 0.2], permutations=0)
