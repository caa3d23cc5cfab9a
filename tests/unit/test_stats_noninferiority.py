"""Verdicts on intervals drawn by hand, and what the sample sizes promise."""

import math

import numpy as np
import pytest

from kdbench.stats import Estimate, detectable_difference, judge, mean, samples_to_settle


def interval(low: float, high: float, value: float | None = None, n: int = 100) -> Estimate:
    return Estimate((low + high) / 2 if value is None else value, low, high, "t", n, n)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.03, "PASS"),  # better than the teacher
        (-0.01, 0.03, "PASS"),
        (-0.018, -0.004, "PASS"),  # worse for certain, but within the margin
        (-0.02, 0.01, "PASS"),  # touches the margin from inside
        (-0.03, 0.01, "INCONCLUSIVE"),
        (-0.03, -0.02, "INCONCLUSIVE"),  # touches the margin from outside
        (-0.05, -0.021, "FAIL"),
        (-math.inf, math.inf, "INCONCLUSIVE"),
        (math.nan, math.nan, "INCONCLUSIVE"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, verdict: str) -> None:
    assert judge(interval(low, high, value=0.0), 0.02) == verdict


def test_where_lower_is_better_the_upper_bound_decides() -> None:
    assert judge(interval(-0.5, 0.02), 0.02, "lower") == "PASS"
    assert judge(interval(0.03, 0.5), 0.02, "lower") == "FAIL"
    assert judge(interval(-0.5, 0.5), 0.02, "lower") == "INCONCLUSIVE"


def test_a_ratio_is_judged_around_one() -> None:
    assert judge(interval(0.96, 1.01), 0.05, reference=1) == "PASS"
    assert judge(interval(0.90, 0.94), 0.05, reference=1) == "FAIL"
    assert judge(interval(1.02, 1.04), 0.05, "lower", reference=1) == "PASS"


def test_identical_outcomes_pass_a_margin_of_zero() -> None:
    assert judge(interval(0.0, 0.0), 0.0) == "PASS"


def test_turning_the_scale_around_keeps_the_verdict() -> None:
    for low, high in ((-0.01, 0.03), (-0.03, 0.01), (-0.05, -0.03)):
        assert judge(interval(low, high), 0.02) == judge(interval(-high, -low), 0.02, "lower")


@pytest.mark.parametrize("margin", [-0.01, math.nan, math.inf])
def test_a_margin_that_is_no_tolerated_loss_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        judge(interval(0, 1), margin)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="better"):
        judge(interval(0, 1), 0.1, "bigger")  # type: ignore[arg-type]


def test_a_settled_verdict_needs_no_further_samples() -> None:
    assert samples_to_settle(interval(-0.01, 0.01), 0.02) == 0
    assert samples_to_settle(interval(-0.1, -0.05), 0.02) == 0


def test_halving_the_distance_to_the_margin_takes_four_times_the_samples() -> None:
    # Value 0, bounds 0.04 away, margin 0.02: 4 x 100 samples bring the bound to the margin.
    four_times = pytest.approx(300, abs=1)
    assert samples_to_settle(interval(-0.04, 0.04), 0.02, power=0.5) == four_times
    # The same towards FAIL: value -0.04, margin at -0.02, bounds 0.04 away.
    assert samples_to_settle(interval(-0.08, 0.0), 0.02, power=0.5) == four_times
    assert samples_to_settle(interval(0.96, 1.04), 0.02, reference=1, power=0.5) == four_times


def test_no_number_of_samples_settles_a_value_on_the_margin_or_a_missing_interval() -> None:
    assert samples_to_settle(interval(-0.0625, 0.0, value=-0.03125), 0.03125) is None
    assert samples_to_settle(interval(math.nan, math.nan, value=0.0), 0.02) is None
    assert samples_to_settle(interval(-math.inf, math.inf, value=0.0), 0.02) is None


def test_a_run_grown_as_told_settles_about_as_often_as_told() -> None:
    rng = np.random.default_rng(11)
    pilot = Estimate(0.0, -1.96 * 0.1, 1.96 * 0.1, "t", 100, 100)  # standard deviation 1
    grown = 100 + (samples_to_settle(pilot, 0.1) or 0)
    settled = [judge(mean(rng.normal(size=grown)), 0.1) == "PASS" for _ in range(1000)]
    assert np.mean(settled) == pytest.approx(0.8, abs=0.04)


def test_the_detectable_difference_is_the_classical_one() -> None:
    pilot = Estimate(0.3, 0.3 - 1.96 * 0.1, 0.3 + 1.96 * 0.1, "t", 100, 100)
    assert detectable_difference(pilot) == pytest.approx(0.1 * (1.96 + 0.8416), rel=1e-3)
    assert detectable_difference(pilot, power=0.5) == pytest.approx(1.96 * 0.1)


def test_without_an_interval_no_difference_is_detectable() -> None:
    assert detectable_difference(interval(math.nan, math.nan, value=0.0)) == math.inf
    assert detectable_difference(interval(-math.inf, math.inf, value=0.0)) == math.inf


@pytest.mark.parametrize("power", [0.2, 1.0])
def test_a_power_that_plans_nothing_is_refused(power: float) -> None:
    with pytest.raises(ValueError, match="power"):
        samples_to_settle(interval(-1, 1), 0.1, power=power)
    with pytest.raises(ValueError, match="power"):
        detectable_difference(interval(-1, 1), power=power)
