"""Timings: ratios of paired rounds, how noisy a machine is, and calls that stand out.

Timings have long right tails and jumps (another process, a lower clock), so the estimates here are
medians, with intervals that hold whatever the distribution is.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._samples import column, paired_columns
from kdbench.stats.estimate import Estimate
from kdbench.stats.percentiles import quantile

_NORMAL_MAD = (
    1.4826  # standard deviation of a normal distribution over its median absolute deviation
)


def median_ratio(
    numerators: ArrayLike, denominators: ArrayLike, confidence: float = 0.95
) -> Estimate:
    """Median over rounds of numerator / denominator, both of shape (n,) and positive.

    Taken on logarithms, so that swapping the two columns inverts the value and its bounds. The interval
    is that of a median from order statistics: it covers at least ``confidence`` whatever the noise, as
    long as rounds are independent given what a round's two sides share. Fewer than 6 rounds at 95 %
    carry no interval, and the bounds are nan. Raises ValueError for values that are not positive.

    Source: David & Nagaraja (2003), Order Statistics, 7.1, on the log-ratios.
    """
    top, bottom = paired_columns(numerators, denominators, "numerators", "denominators")
    if (top <= 0).any() or (bottom <= 0).any():
        raise ValueError("a ratio of durations needs durations above 0")
    found = quantile(np.log(top) - np.log(bottom), 0.5, confidence)
    method = f"median of rounds, {found.method}"
    value, low, high = (math.exp(x) for x in (found.value, found.low, found.high))
    return Estimate(value, low, high, method, found.n, found.n_clusters)


def noise(values: ArrayLike) -> float:
    """Spread of repeated timings as a fraction of their median: 1.4826 MAD / median.

    For normal noise it is the coefficient of variation; a few outliers don't move it. Shape (n,), values
    positive; 0 for a single one.
    """
    data = column(values, "values")
    middle = float(np.median(data))
    if middle <= 0:
        raise ValueError("noise is told of durations above 0")
    return _NORMAL_MAD * float(np.median(np.abs(data - middle))) / middle


def outliers(values: ArrayLike) -> int:
    """How many ``values``, shape (n,), lie above the upper quartile by more than 3 interquartile ranges.

    They are counted and stay in the data: a call that took ten times as long did happen.

    Source: Tukey (1977), Exploratory Data Analysis, 2 ("far out").
    """
    data = column(values, "values")
    low, high = np.quantile(data, [0.25, 0.75])
    return int((data > high + 3 * (high - low)).sum())
