"""Verdicts from intervals, and what they promise when many are given at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from kdbench import stats
from kdbench.check.verdicts import Bounds, holm
from kdbench.stats import Estimate


def normal(value: float, error: float, n: int = 100) -> Callable[[float], Estimate]:
    """An estimate whose interval is exactly normal."""

    def estimate(confidence: float) -> Estimate:
        z = norm.ppf((1 + confidence) / 2)
        return Estimate(value, value - z * error, value + z * error, "normal", n, n)

    return estimate


@pytest.mark.parametrize(
    ("low", "high", "bounds", "verdict"),
    [
        (0.97, 0.99, Bounds(0.97, None), "PASS"),
        (0.96, 0.99, Bounds(0.97, None), "INCONCLUSIVE"),
        (0.90, 0.969, Bounds(0.97, None), "FAIL"),
        (0.90, 0.97, Bounds(0.97, None), "INCONCLUSIVE"),
        (-0.02, 0.01, Bounds(None, 0.01), "PASS"),
        (0.011, 0.02, Bounds(None, 0.01), "FAIL"),
        (0.4, 0.6, Bounds(0.3, 0.7), "PASS"),
        (0.4, 0.8, Bounds(0.3, 0.7), "INCONCLUSIVE"),
        (0.71, 0.8, Bounds(0.3, 0.7), "FAIL"),
        (0.1, 0.2, Bounds(0.3, 0.7), "FAIL"),
        (0.0, 0.0, Bounds(0.0, None), "PASS"),
        (0.0, 0.0, Bounds(0.0, None, beyond=True), "FAIL"),
        (0.0, 0.1, Bounds(0.0, None, beyond=True), "INCONCLUSIVE"),
        (0.01, math.inf, Bounds(0.0, None, beyond=True), "PASS"),
        (-0.2, 0.0, Bounds(None, 0.0, beyond=True), "INCONCLUSIVE"),
        (-0.2, -0.1, Bounds(None, 0.0, beyond=True), "PASS"),
        (math.nan, math.nan, Bounds(0.3, None), "INCONCLUSIVE"),
        (-math.inf, math.inf, Bounds(0.3, None), "INCONCLUSIVE"),
    ],
)
def test_only_a_whole_interval_passes_or_fails(
    low: float, high: float, bounds: Bounds, verdict: str
) -> None:
    assert bounds.judge(Estimate((low + high) / 2, low, high, "", 9, 9)) == verdict


@settings(max_examples=25)  # a second each
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.sampled_from([0.9, 0.95, 0.99]))
def test_what_is_decided_is_what_holm_rejects(distances: list[float], confidence: float) -> None:
    p_values = [2 * norm.sf(abs(z)) for z in distances]
    rejected = multipletests(p_values, alpha=1 - confidence, method="holm")[0]
    found = holm([(normal(z, 1.0), Bounds(0.0, None), confidence) for z in distances])
    close = [
        abs(p * (len(p_values) - i) - (1 - confidence)) < 1e-9
        for i, p in enumerate(sorted(p_values))
    ]
    if not any(close):
        assert [d.verdict != "INCONCLUSIVE" for d in found] == list(rejected)
    for z, decided in zip(distances, found, strict=True):
        if decided.verdict != "INCONCLUSIVE":
            assert decided.verdict == ("PASS" if z > 0 else "FAIL")


def test_one_gate_is_judged_at_its_own_confidence_and_the_first_of_two_at_half_the_risk() -> None:
    assert holm([(normal(0, 1), Bounds(-9, None), 0.9)])[0].confidence == pytest.approx(0.9)
    clear, close = holm(
        [(normal(9, 1), Bounds(0, None), 0.9), (normal(0, 1), Bounds(0, None), 0.9)]
    )
    assert clear.confidence == pytest.approx(0.95)
    assert close.confidence == pytest.approx(0.9), "alone once the other has left"


def test_further_samples_are_counted_for_the_side_that_is_open() -> None:
    estimate = normal(0.98, 0.01)(0.95)
    more = Bounds(0.97, None).samples_to_settle(estimate, 0.95)
    assert more == stats.samples_to_settle(estimate, 0.0, "higher", 0.97)
    assert more is not None and more > 0
    assert Bounds(0.98, None).samples_to_settle(estimate, 0.95) is None, "it stands on its bound"


def drawn(
    rng: np.random.Generator, truth: tuple[float, float], n: int, cluster: int
) -> tuple[np.ndarray, ...]:
    """Right and wrong of teacher and student, correlated, and alike within clusters."""
    groups = n // cluster
    hard = np.repeat(rng.normal(size=groups), cluster)
    teacher, student = (
        (0.8 * hard + 0.6 * rng.normal(size=n) < norm.ppf(p)).astype(float) for p in truth
    )
    return teacher, student, np.repeat(np.arange(groups), cluster)


def verdicts(
    truth: tuple[float, float], margin: float, n: int, cluster: int, trials: int
) -> list[str]:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(trials):
        teacher, student, clusters = drawn(rng, truth, n, cluster)
        labels = None if cluster == 1 else clusters
        estimate = partial(stats.difference, student, teacher, labels)
        found.append(holm([(estimate, Bounds(-margin, None), 0.95)])[0].verdict)
    return found


@pytest.mark.parametrize("cluster", [1, 4])
def test_a_model_against_its_equal_fails_at_most_as_often_as_it_may(cluster: int) -> None:
    found = verdicts((0.7, 0.7), margin=0.0, n=240, cluster=cluster, trials=2000)
    assert found.count("FAIL") / 2000 <= 0.05
    assert found.count("PASS") / 2000 <= 0.05, "a margin of nothing passes as rarely"


@pytest.mark.parametrize("cluster", [1, 4])
def test_a_drop_on_the_margin_passes_at_most_as_often_as_it_may(cluster: int) -> None:
    found = verdicts((0.75, 0.70), margin=0.05, n=240, cluster=cluster, trials=2000)
    assert found.count("PASS") / 2000 <= 0.05


def test_a_drop_of_twice_the_margin_is_found_at_the_planned_power() -> None:
    pilot = drawn(np.random.default_rng(0), (0.75, 0.65), 20_000, 1)
    change = pilot[1] - pilot[0]
    # two-sided 95 %, power 0.8: the distance from the margin is 0.05
    planned = math.ceil(((norm.ppf(0.975) + norm.ppf(0.8)) * change.std() / 0.05) ** 2)
    found = verdicts((0.75, 0.65), margin=0.05, n=planned, cluster=1, trials=1000)
    assert found.count("FAIL") / 1000 == pytest.approx(0.8, abs=0.05)


def test_pairing_sees_what_two_intervals_side_by_side_miss() -> None:
    # 1000 documents; the student loses 40 and gains 19
    teacher = np.array([1.0] * 640 + [0.0] * 360)
    student = teacher.copy()
    student[:40], student[640:659] = 0.0, 1.0
    p_paired = stats.mcnemar(40, 19)
    difference = student.mean() - teacher.mean()
    error = math.sqrt(sum(x.mean() * (1 - x.mean()) / 1000 for x in (teacher, student)))
    p_unpaired = 2 * norm.sf(abs(difference) / error)
    assert p_paired == pytest.approx(0.0086, abs=0.001)
    assert p_unpaired > 0.08

    estimate = partial(stats.difference, student, teacher, None)
    assert holm([(estimate, Bounds(0.0, None), 0.95)])[0].verdict == "FAIL"
    assert holm([(normal(difference, error), Bounds(0.0, None), 0.95)])[0].verdict == "INCONCLUSIVE"
