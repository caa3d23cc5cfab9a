"""Intervals that hold at any time: closed forms, a slow reference, and error rates over many looks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench import stats
from kdbench.stats import sequential
from kdbench.stats.sequential import STAKES, log_capital

TRIALS = 2000
LEVEL = 0.05
THRESHOLD = math.log(2 / LEVEL)  # each side of an interval has half of the error
DOCUMENTS = 1319


def slow_capital(payoffs: list[float]) -> list[float]:
    """The gamblers one by one, as the paper tells it."""
    purses = [1.0 for _ in STAKES]
    path = []
    for payoff in payoffs:
        purses = [purse * (1 + stake * payoff) for purse, stake in zip(purses, STAKES, strict=True)]
        path.append(sum(purses) / len(purses))
    return path


@given(st.lists(st.floats(-1, 3), min_size=1, max_size=30))
def test_the_capital_is_that_of_gamblers_taken_one_by_one(payoffs):
    assert np.exp(log_capital(payoffs)) == pytest.approx(slow_capital(payoffs), rel=1e-9)


def test_a_sure_gain_grows_like_its_stakes():
    assert np.exp(log_capital(np.ones(5))[-1]) == pytest.approx(np.mean((1 + STAKES) ** 5))


def test_a_payoff_that_loses_more_than_was_staked_is_refused():
    with pytest.raises(ValueError, match="more than was staked"):
        log_capital([-1.01])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_bound_is_where_the_capital_against_it_once_reached_the_threshold(data):
    n = data.draw(st.integers(1, 40))
    scores = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n)))
    interval = sequential.mean(scores, np.arange(n))
    for supposed in (0.1, 0.35, 0.6, 0.85):
        more = log_capital((scores - supposed) / supposed).max() >= THRESHOLD
        less = log_capital((supposed - scores) / (1 - supposed)).max() >= THRESHOLD
        assert (interval.low >= supposed) == more
        assert (interval.high <= supposed) == less


def test_the_order_of_the_columns_does_not_matter_but_that_of_arrival_does():
    rng = np.random.default_rng(1)
    teacher, student = rng.integers(0, 2, (2, 200)).astype(float)
    came = rng.permutation(200)
    there = np.argsort(came)
    mixed = sequential.difference(student, teacher, came)
    sorted_ = sequential.difference(student[there], teacher[there], np.arange(200))
    assert mixed == sorted_


def test_more_samples_never_widen_an_interval():
    rng = np.random.default_rng(2)
    teacher, student = rng.integers(0, 2, (2, 300)).astype(float)
    before = (-math.inf, math.inf)
    for n in range(10, 300, 30):
        now = sequential.retention(student[:n], teacher[:n], np.arange(n))
        assert now.low >= before[0] and now.high <= before[1]
        before = (now.low, now.high)


def test_the_kinds_agree_with_each_other():
    rng = np.random.default_rng(3)
    teacher = rng.integers(0, 2, 400).astype(float)
    student = np.where(rng.random(400) < 0.2, 1 - teacher, teacher)
    order = np.arange(400)
    gap = sequential.difference(student, teacher, order)
    kept = sequential.retention(student, teacher, order)
    assert gap.value == pytest.approx(stats.difference(student, teacher).value)
    assert kept.value == pytest.approx(stats.retention(student, teacher).value)
    against_all_right = sequential.difference(student, np.ones(400), order)
    alone = sequential.mean(student, order)
    assert alone.low - 1 <= against_all_right.high
    assert (kept.low >= 1) == (gap.low >= 0) and (kept.high <= 1) == (gap.high <= 0)


def test_a_teacher_that_is_never_right_leaves_the_ratio_open():
    kept = sequential.retention(np.zeros(50), np.zeros(50), np.arange(50))
    assert math.isnan(kept.value) and kept.high == math.inf and kept.low == 0


def test_scores_without_bounds_are_refused():
    with pytest.raises(ValueError, match="within"):
        sequential.mean([0.2, 1.7], [0, 1])


def test_a_cluster_that_comes_in_two_parts_is_refused():
    with pytest.raises(ValueError, match="come together"):
        sequential.mean([0.0, 1.0], [0, 1], clusters=["a", "a"], largest=2)


def test_a_cluster_larger_than_the_largest_is_refused():
    with pytest.raises(ValueError, match="more than the largest"):
        sequential.mean([0.0, 1.0], [3, 3], clusters=["a", "a"], largest=1)


# ------------------------------------------------------------- error rates over many looks


def flipped(rng: np.random.Generator, lost: float, gained: float, n: int) -> np.ndarray:
    """Paired differences of `TRIALS` runs, shape (trials, n)."""
    draw = rng.random((TRIALS, n))
    return np.where(draw < lost, -1.0, np.where(draw < lost + gained, 1.0, 0.0))


def clustered(
    rng: np.random.Generator, lost: float, gained: float, clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes of clusters of 1 to 5 documents that mostly flip together, shapes (trials, k)."""
    sizes = rng.integers(1, 6, (TRIALS, clusters))
    sums = np.zeros((TRIALS, clusters))
    shared = flipped(rng, lost, gained, clusters)
    for document in range(5):
        own = flipped(rng, lost, gained, clusters)
        together = rng.random((TRIALS, clusters)) < 0.7
        sums += np.where(document < sizes, np.where(together, shared, own), 0.0)
    return sums / 5, sizes / 5


def below(margin: float, sums: np.ndarray, sizes: np.ndarray | float = 1.0) -> np.ndarray:
    """First look (every document is one) at which the difference is wholly below -margin; n where none."""
    return first_look((-margin * sizes - sums) / (1 + margin))


def above(margin: float, sums: np.ndarray, sizes: np.ndarray | float = 1.0) -> np.ndarray:
    return first_look((sums + margin * sizes) / (1 - margin))


def first_look(payoffs: np.ndarray) -> np.ndarray:
    rich = log_capital(payoffs) >= THRESHOLD
    return np.where(rich.any(axis=1), rich.argmax(axis=1) + 1, payoffs.shape[1] + 1)


def test_identical_models_fail_a_gate_in_at_most_one_run_of_twenty_however_often_one_looks():
    sums = flipped(np.random.default_rng(4), 0.1, 0.1, DOCUMENTS)
    assert (below(0.0, sums) <= DOCUMENTS).mean() <= LEVEL


def test_clustered_documents_keep_the_error_rate():
    sums, sizes = clustered(np.random.default_rng(5), 0.1, 0.1, 500)
    assert (below(0.0, sums, sizes) <= 500).mean() <= LEVEL


def test_the_test_would_notice_intervals_that_do_not_hold_at_any_time():
    sums = flipped(np.random.default_rng(4), 0.1, 0.1, DOCUMENTS)
    counts = np.arange(1, DOCUMENTS + 1)
    means = np.cumsum(sums, axis=1) / counts
    error = np.sqrt(np.cumsum(sums**2, axis=1)) / counts
    looked = (counts >= 32) & (means + 1.96 * error < 0)
    assert looked.any(axis=1).mean() > 2 * LEVEL


def test_a_student_on_the_bound_passes_in_at_most_one_run_of_twenty():
    sums = flipped(np.random.default_rng(6), 0.125, 0.075, DOCUMENTS)
    assert (above(0.05, sums) <= DOCUMENTS).mean() <= LEVEL


def test_intervals_hold_the_truth_at_all_looks_together():
    rng = np.random.default_rng(7)
    sums = flipped(rng, 0.2, 0.1, DOCUMENTS)
    low, high = above(0.1, sums), below(0.1, sums)
    assert ((low <= DOCUMENTS) | (high <= DOCUMENTS)).mean() <= LEVEL


def test_a_drop_of_twice_the_margin_is_found_at_the_price_of_twice_the_planned_documents():
    """Of a sample of fixed size, 590 documents find it with power 0.9: (1.96 + 1.28)^2 * 0.14 / 0.05^2."""
    sums = flipped(
        np.random.default_rng(8), 0.125, 0.025, 2 * 590
    )  # a drop of 0.1, a margin of 0.05
    assert (below(0.05, sums) <= 2 * 590).mean() >= 0.9


@pytest.mark.parametrize(
    ("lost", "gained", "margin", "found"),
    [(0.25, 0.05, 0.05, below), (0.01, 0.01, 0.05, above), (0.1, 0.1, 0.1, above)],
    ids=["a student much worse", "a student much alike", "a wide margin"],
)
def test_far_from_the_margin_two_documents_of_five_suffice(lost, gained, margin, found):
    sums = flipped(np.random.default_rng(9), lost, gained, DOCUMENTS)
    assert np.median(found(margin, sums)) <= 0.4 * DOCUMENTS
