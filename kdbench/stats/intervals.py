"""Confidence intervals of one mean, one proportion, and one ratio of sums.

Samples that share a cluster (the questions about one text, the translations of one sentence)
are not independent. Every function here takes the cluster labels and estimates the variance
between clusters instead of between samples.
"""

import math

from numpy.typing import ArrayLike

from kdbench.stats._distributions import two_sided_t, two_sided_z
from kdbench.stats._samples import (
    Clusters,
    Floats,
    Labels,
    clusters_of,
    column,
    is_binary,
    paired_columns,
)
from kdbench.stats.estimate import Estimate


def proportion(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Proportion of independent binary samples, with Wilson's score interval.

    Raises ValueError unless 0 <= ``successes`` <= ``n`` and ``n`` >= 1.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical
    inference", JASA 22; recommended by Brown, Cai & DasGupta (2001), Statistical Science 16.
    Averaged over the rate its coverage is the nominal one, but it oscillates: at 95 % and n >= 50
    it lies in 93-98 % where more than 3 samples of each kind are expected, and dips to 84 % for a
    rate just below 0.18/n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    value = successes / n
    low, high = _wilson(value, n, two_sided_z(confidence))
    return Estimate(value, low, high, "wilson", n, n)


def mean(values: ArrayLike, clusters: Labels | None = None, confidence: float = 0.95) -> Estimate:
    """Mean of ``values``, shape (n,), in their unit.

    * Continuous values: Student's t. With clusters, the mean is a ratio of cluster sums to
      cluster sizes, with its linearised variance between the G clusters. For clusters of equal
      size this is t on the cluster means, with G-1 degrees of freedom; unequal sizes lower them.
    * Values that are all 0 or 1: Wilson's score interval, at the effective sample size when
      there are clusters (see ``effective_size``).

    One cluster, or one continuous sample, has no interval: the bounds are nan. A nominal 95 %
    covers less for few samples of a long tail (85 % for 15 lognormal ones) and for a few rare
    failures in large, strongly dependent clusters (89 % for 5 % failures in 12 clusters of 25).
    Raises ValueError for values that are empty, not a vector or not finite, and for labels that
    do not match them.

    Source: Miller (2024), "Adding error bars to evals", arXiv:2411.00640, clustered standard
    error; Bell & McCaffrey (2002), Survey Methodology 28, for clusters that are few or unequal.
    """
    data = column(values, "values")
    groups = clusters_of(clusters, data.size)
    if is_binary(data):
        return _binary_mean(data, groups, confidence)
    return t_interval(data, groups, confidence)


def ratio_of_sums(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Sum of ``numerators`` over sum of ``denominators``, both shape (n,), with Fieller's interval.

    The pairs (or the clusters' sums of them) are the independent units; t has one degree of
    freedom less than there are units. Where the denominator's own interval contains 0 the set of
    ratios the data allow is unbounded: the bounds are -inf and inf. A denominator that sums to 0
    leaves value and bounds nan. Raises ValueError as ``mean`` does, and for unequal lengths.

    Source: Fieller (1954), "Some problems in interval estimation", JRSS B 16; here solved around
    the estimate, (value - ratio), which keeps digits when the residuals are small.
    """
    top, bottom = paired_columns(numerators, denominators, "numerators", "denominators")
    groups = clusters_of(clusters, top.size)
    total = float(bottom.sum())
    if total == 0:
        return _without_interval(math.nan, "undefined (denominator sums to 0)", groups)
    value = float(top.sum()) / total
    if groups.count == 1:
        return _without_interval(value, _one_unit(groups), groups)

    base = groups.sums(bottom)
    residual = groups.sums(top - value * bottom)
    base = base - base.mean()
    residual = residual - residual.mean()
    scale = two_sided_t(confidence, groups.count - 1) ** 2 * groups.count / (groups.count - 1)
    spread = scale * float(residual @ residual)
    cross = scale * float(residual @ base)
    curvature = total**2 - scale * float(base @ base)
    if curvature <= 0:
        method = "fieller (unbounded: denominator near 0)"
        return Estimate(value, -math.inf, math.inf, method, top.size, groups.count)
    root = math.sqrt(cross**2 + curvature * spread)
    low = value - (cross + root) / curvature
    high = value + (root - cross) / curvature
    return Estimate(value, low, high, groups.named("fieller"), top.size, groups.count)


def effective_size(residuals: Floats, groups: Clusters, confidence: float) -> float:
    """Number of independent samples that would tell as much as these clustered ones.

    ``residuals``, shape (n,), are the samples' contributions to an estimate, centred on 0. n is
    divided by the design effect (variance between clusters over the variance as if samples were
    independent), and by the squared ratio of the t quantiles, which pays for learning the design
    effect from few clusters. Residuals that tell nothing about clustering, as when every answer
    is right, count as the geometric mean of n and the number of clusters.

    Source: Korn & Graubard (1998), "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24; Dean & Pagano
    (2015), "Evaluating confidence interval methods for binomial proportions in clustered
    surveys", J. Survey Statistics and Methodology 3.
    """
    if groups.singletons:
        return float(residuals.size)
    return _paid(*design_size(residuals, groups), residuals.size, confidence)


def design_size(residuals: Floats, groups: Clusters) -> tuple[float, float]:
    """``effective_size`` before it pays for the t quantiles, and the degrees of freedom that it has.

    Both are free of the confidence, so an interval can be made of them later.
    """
    n = residuals.size
    if groups.singletons:
        return float(n), n - 1
    between, degrees = variance_of_sum(residuals, groups)
    independent = float(residuals @ residuals) * n / (n - 1)
    told_apart = between > 1e-12 * independent
    return (n * independent / between if told_apart else math.sqrt(n * groups.count)), degrees


def proportion_of_size(
    value: float,
    size: float,
    degrees: float,
    n: int,
    clusters: int,
    confidence: float = 0.95,
    method: str = "wilson",
) -> Estimate:
    """Wilson's interval of a proportion ``value`` that is known as well as from ``size`` samples.

    ``size`` and its ``degrees`` of freedom are ``design_size``'s, or p (1 - p) / variance where another
    estimate of the variance is at hand; ``n`` and ``clusters`` count what there is.
    """
    low, high = _wilson(value, _paid(size, degrees, n, confidence), two_sided_z(confidence))
    return Estimate(value, low, high, method, n, clusters)


def _paid(size: float, degrees: float, n: int, confidence: float) -> float:
    if degrees >= n - 1:
        return size
    return size * (two_sided_t(confidence, n - 1) / two_sided_t(confidence, degrees)) ** 2


def t_interval(data: Floats, groups: Clusters, confidence: float) -> Estimate:
    """Student t interval of a mean, clustered or not; nan bounds for a single unit."""
    value = float(data.mean())
    if groups.count == 1:
        return _without_interval(value, _one_unit(groups), groups)
    variance, degrees = variance_of_sum(data - value, groups)
    half = two_sided_t(confidence, degrees) * math.sqrt(variance) / data.size
    return Estimate(value, value - half, value + half, groups.named("t"), data.size, groups.count)


def variance_of_sum(residuals: Floats, groups: Clusters) -> tuple[float, float]:
    """Variance of a sum from its centred terms, and the degrees of freedom it is known with.

    Each cluster's squared sum is divided by the share of samples outside it, which undoes the
    pull of a large cluster on the mean; Satterthwaite's degrees of freedom assume independent
    samples. Equal sizes give the factor G/(G-1) and G-1 degrees; unequal ones give less.

    Source: Bell & McCaffrey (2002), "Bias reduction in standard errors for linear regression
    with multi-stage samples", Survey Methodology 28, worked out for a mean.
    """
    n = residuals.size
    if groups.singletons:
        return float(residuals @ residuals) * n / (n - 1), n - 1
    share = groups.sizes() / n
    inflation = 1 / (1 - share)
    sums = groups.sums(residuals)
    squares = share**2
    off_diagonal = float(inflation @ squares) ** 2 - float(inflation**2 @ squares**2)
    degrees = 1 / (float(squares.sum()) + off_diagonal)
    return float(inflation @ sums**2), degrees


def _binary_mean(data: Floats, groups: Clusters, confidence: float) -> Estimate:
    value = float(data.mean())
    if groups.lone:
        return _without_interval(value, _one_unit(groups), groups)
    size = effective_size(data - value, groups, confidence)
    low, high = _wilson(value, size, two_sided_z(confidence))
    return Estimate(value, low, high, groups.named("wilson"), data.size, groups.count)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Roots of (p - x)^2 = z^2 x (1 - x) / n; ``n`` may be fractional."""
    shrink = n / (n + z * z)
    centre = shrink * p + (1 - shrink) / 2
    half = shrink * z / n * math.sqrt(n * p * (1 - p) + z * z / 4)
    low = 0.0 if p == 0 else min(p, centre - half)
    high = 1.0 if p == 1 else max(p, centre + half)
    return low, high


def _one_unit(groups: Clusters) -> str:
    return "undefined (one cluster)" if groups.lone else "undefined (one sample)"


def _without_interval(value: float, method: str, groups: Clusters) -> Estimate:
    return Estimate(value, math.nan, math.nan, method, groups.codes.size, groups.count)
