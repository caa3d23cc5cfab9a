"""What holds for every input of the interval functions."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kdbench.stats import (
    Estimate,
    difference,
    mean,
    permutation_test,
    proportion,
    ratio_of_sums,
    retention,
)

some = settings(max_examples=40, deadline=None, derandomize=True)

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]  # student, teacher, clusters
Interval = Callable[[np.ndarray, np.ndarray, np.ndarray | None, float], Estimate]

OF: dict[str, Interval] = {
    "mean": lambda student, _, clusters, confidence: mean(student, clusters, confidence),
    "difference": difference,
    "retention": retention,
    "ratio of sums": ratio_of_sums,
}
every_interval = pytest.mark.parametrize("of", OF.values(), ids=OF.keys())


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """A student, a teacher and clusters: binary or graded, from all wrong to all right."""
    n, labels = draw(st.integers(3, 30)), draw(st.integers(1, 7))
    binary = draw(st.booleans())
    rates = [draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])) for _ in range(2)]
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    grades = [1.0] if binary else np.arange(1, 21) / 20
    student, teacher = ((rng.random(n) < rate) * rng.choice(grades, n) for rate in rates)
    return student, teacher, rng.integers(0, labels, n)


def same(one: Estimate, other: Estimate) -> bool:
    return one.method == other.method and np.allclose(
        [one.value, one.low, one.high],
        [other.value, other.low, other.high],
        rtol=1e-6,
        atol=1e-9,
        equal_nan=True,
    )


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


@every_interval
@some
@given(sample=samples())
def test_the_interval_holds_the_value_and_raises_no_warning(of: Interval, sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for clusters in (None, sample[2]):
            estimate = of(*sample[:2], clusters, 0.95)
            if estimate.method.startswith("undefined"):
                assert math.isnan(estimate.low)
                assert math.isnan(estimate.high)
            else:
                assert estimate.low <= estimate.value <= estimate.high


@every_interval
@some
@given(sample=samples(), seed=st.integers(0, 99))
def test_the_order_of_the_samples_does_not_matter(of: Interval, sample: Sample, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(sample[0].size)
    shuffled = [column[order] for column in sample]
    assert same(of(*shuffled, 0.95), of(*sample, 0.95))


@every_interval
@some
@given(sample=samples())
def test_the_names_of_the_clusters_do_not_matter(of: Interval, sample: Sample) -> None:
    student, teacher, clusters = sample
    renamed = [f"text {9 - label}" for label in clusters]
    assert same(of(student, teacher, renamed, 0.95), of(*sample, 0.95))


@every_interval
@some
@given(sample=samples())
def test_clusters_of_one_sample_are_no_clusters(of: Interval, sample: Sample) -> None:
    student, teacher, _ = sample
    alone = np.arange(student.size)[::-1]
    assert of(student, teacher, alone, 0.95) == of(student, teacher, None, 0.95)


@every_interval
@some
@given(sample=samples())
def test_more_confidence_widens_the_interval(of: Interval, sample: Sample) -> None:
    narrow, wide = (of(*sample, confidence) for confidence in (0.9, 0.99))
    assume(not math.isnan(narrow.low))
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@every_interval
@some
@given(sample=samples())
def test_repeating_every_sample_in_its_cluster_does_not_narrow_the_interval(
    of: Interval, sample: Sample
) -> None:
    student, teacher, clusters = sample
    once = of(*sample, 0.95)
    twice = of(*(np.repeat(column, 2) for column in sample), 0.95)
    assume(not math.isnan(once.low) and math.isfinite(width(once)))
    assume(some_cluster_stands_out(student, teacher, clusters))
    assert width(twice) >= width(once) - 1e-9


def some_cluster_stands_out(student: np.ndarray, teacher: np.ndarray, clusters: np.ndarray) -> bool:
    """Whether the data say anything about clustering, in every statistic under test."""
    total = teacher.sum() or 1.0
    for values in (student, student - teacher, student - student.sum() / total * teacher):
        sums = np.bincount(clusters, values - values.mean())
        if not (np.abs(sums) > 1e-6).any():
            return False
    return True


@some
@given(sample=samples())
def test_swapping_student_and_teacher_negates_the_difference(sample: Sample) -> None:
    student, teacher, clusters = sample
    for groups in (None, clusters):
        there, back = difference(student, teacher, groups), difference(teacher, student, groups)
        mirrored = Estimate(
            -back.value, -back.high, -back.low, back.method, back.n, back.n_clusters
        )
        assert same(there, mirrored)


@some
@given(sample=samples())
def test_swapping_student_and_teacher_inverts_the_retention(sample: Sample) -> None:
    student, teacher, clusters = sample
    assume(student.any() and teacher.any())
    for groups in (None, clusters):
        there, back = retention(student, teacher, groups), retention(teacher, student, groups)
        assert there.value == pytest.approx(1 / back.value)
        if there.low > 0 and there.high < math.inf and back.low > 0 and back.high < math.inf:
            assert there.low == pytest.approx(1 / back.high, rel=1e-6)
            assert there.high == pytest.approx(1 / back.low, rel=1e-6)


@some
@given(sample=samples())
def test_binary_intervals_stay_within_the_possible(sample: Sample) -> None:
    student, teacher, clusters = (np.round(column) for column in sample)
    for groups in (None, clusters):
        for estimate, least in (
            (mean(student, groups), 0),
            (difference(student, teacher, groups), -1),
        ):
            if not math.isnan(estimate.low):
                assert least <= estimate.low <= estimate.high <= 1
        kept = retention(student, teacher, groups)
        assert math.isnan(kept.low) or kept.low >= 0


@some
@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_failures_mirror_successes(n: int, share: float) -> None:
    successes = round(n * share)
    right, wrong = proportion(successes, n), proportion(n - successes, n)
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low), abs=1e-12)


@some
@given(sample=samples(), seed=st.integers(0, 99))
def test_a_permutation_p_value_ignores_order_and_direction(sample: Sample, seed: int) -> None:
    student, teacher, clusters = sample
    change = student - teacher
    order = np.random.default_rng(seed).permutation(change.size)
    p_value = permutation_test(change, clusters)
    assert 0 < p_value <= 1
    assert permutation_test(-change, clusters) == p_value
    assert permutation_test(change[order], clusters[order]) == p_value
