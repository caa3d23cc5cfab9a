"""Percentiles with distribution-free intervals, and how many observations they need.

The number of observations below the true quantile is binomial whatever the distribution, so two
order statistics bound the quantile with known confidence. Source: David & Nagaraja (2003), Order
Statistics, 7.1; Hahn & Meeker (1991), Statistical Intervals. Ranks are whole numbers, so
the interval covers at least ``confidence``, often a little more.
"""

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._distributions import binomial_cdf, tails
from kdbench.stats._samples import column
from kdbench.stats.estimate import Estimate


def observations_needed(q: float, confidence: float = 0.95) -> int:
    """Fewest independent observations whose extremes bound the q-th quantile.

    ``q`` is a fraction: 0.99 for p99, which needs 368 at 95 % confidence (p50 needs 6, p95 72).
    Raises ValueError for ``q`` outside (0, 1).
    """
    if not 0 < q < 1:
        raise ValueError(f"q must be a fraction strictly between 0 and 1, got {q}")
    return max(1, math.ceil(math.log(tails(confidence)) / math.log(max(q, 1 - q))))


def supported(n: int, q: float, confidence: float = 0.95) -> bool:
    """Whether ``n`` observations carry the q-th quantile (see ``observations_needed``)."""
    return n >= observations_needed(q, confidence)


def quantile(values: ArrayLike, q: float, confidence: float = 0.95) -> Estimate:
    """The q-th quantile of independent ``values``, shape (n,), in their unit; q in (0, 1).

    The value interpolates between order statistics as ``numpy.quantile`` does; the bounds are
    order statistics, and nan where ``supported`` says no, with a method that says so. Raises
    ValueError for unusable values and for ``q`` outside (0, 1).
    """
    data = np.sort(column(values, "values"))
    n = data.size
    needed = observations_needed(q, confidence)
    value = float(np.quantile(data, q))
    if n < needed:
        return Estimate(value, math.nan, math.nan, f"undefined (needs {needed} samples)", n, n)
    tail = tails(confidence)
    low = float(data[_lower_rank(n, q, tail) - 1])
    high = float(data[n - _lower_rank(n, 1 - q, tail)])
    return Estimate(value, low, high, "order statistics", n, n)


def _lower_rank(n: int, q: float, tail: float) -> int:
    """Largest rank whose order statistic exceeds the quantile with probability <= ``tail``."""
    return bisect_right(range(1, n + 1), tail, key=lambda rank: binomial_cdf(rank - 1, n, q))
