"""Order-statistic intervals and the observations they need."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from kdbench.stats import observations_needed, quantile, supported


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_the_observations_a_percentile_needs(q: float, needed: int) -> None:
    assert observations_needed(q) == observations_needed(1 - q) == needed
    assert supported(needed, q)
    assert not supported(needed - 1, q)
    assert max(q, 1 - q) ** needed <= 0.025 < max(q, 1 - q) ** (needed - 1)


def test_twenty_observations_bound_their_median_by_the_sixth_and_the_fifteenth() -> None:
    estimate = quantile(np.random.default_rng(1).permutation(np.arange(1.0, 21.0)), 0.5)
    assert (estimate.low, estimate.value, estimate.high) == (6, 10.5, 15)
    assert (estimate.method, estimate.n) == ("order statistics", 20)


@pytest.mark.parametrize("n", [6, 7, 33, 100, 368, 1000, 20_000])
@pytest.mark.parametrize("q", [0.01, 0.3, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bounds_are_the_innermost_ranks_that_hold_each_tail(
    n: int, q: float, confidence: float
) -> None:
    estimate = quantile(np.arange(1.0, n + 1), q, confidence)
    if not supported(n, q, confidence):
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert estimate.method == f"undefined (needs {observations_needed(q, confidence)} samples)"
        return
    tail = (1 - confidence) / 2
    low, high = int(estimate.low), int(estimate.high)
    assert binom.cdf(low - 1, n, q) <= tail * (1 + 1e-9) < binom.cdf(low, n, q)
    assert binom.sf(high - 1, n, q) <= tail * (1 + 1e-9) < binom.sf(high - 2, n, q)
    assert estimate.low <= estimate.value <= estimate.high


def test_too_few_observations_still_give_the_value() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99).value == pytest.approx(np.quantile([1, 2, 3], 0.99))


@pytest.mark.parametrize("q", [0, 1, 99])
def test_a_percentile_is_a_fraction(q: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        quantile([1.0, 2.0], q)
    with pytest.raises(ValueError, match="fraction"):
        supported(10, q)
