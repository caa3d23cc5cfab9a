"""Clustered bootstrap for statistics no closed form covers."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._distributions import normal_cdf, normal_quantile, two_sided_t
from kdbench.stats._samples import Floats, Labels, clusters_of, column
from kdbench.stats.estimate import Estimate

_CHUNK = 1 << 21  # cluster draws held at once


def clustered_bootstrap(
    statistic: Callable[..., Floats],
    columns: Sequence[ArrayLike],
    clusters: Labels | None = None,
    seed: int = 0,
    replicates: int = 2000,
    confidence: float = 0.95,
    interval: Literal["bca", "percentile"] = "bca",
) -> Estimate:
    """Interval for any smooth function of sums over the samples.

    ``columns`` are vectors of shape (n,). ``statistic`` takes one array of shape (r,) per column,
    the column's sum in each of r resamples, and returns r values: a mean is
    ``clustered_bootstrap(lambda total, size: total / size, [values, np.ones(n)])``. Whole clusters
    are drawn with replacement, as many as there are; without labels each sample is one. The same
    seed gives the same interval.

    One cluster, or a replicate in which the statistic is nan, leaves the bounds nan. Where a
    closed form fits (``mean``, ``ratio_of_sums``) it covers better with few clusters: with two or
    three the interval ends at the most extreme resamples. Where BCa has no acceleration (its
    correction passes its pole) the interval is the bias-corrected one, where it has no bias either
    the percentile one; ``method`` then says so. Raises ValueError for unusable columns, fewer than
    2 replicates, an unknown interval, or a statistic of the wrong shape.

    Source: Davison & Hinkley (1997), Bootstrap Methods and their Application, 3.8, for resampling
    clusters; Efron (1987), "Better bootstrap confidence intervals", JASA 82, for BCa; Hesterberg
    (2015), "What teachers should know about the bootstrap", The American Statistician 69, for
    the wider percentiles that make up for too little spread among few clusters.
    """
    if interval not in ("bca", "percentile"):
        raise ValueError(f"interval must be 'bca' or 'percentile', got {interval!r}")
    if not columns:
        raise ValueError("columns must hold at least one vector")
    if replicates < 2:
        raise ValueError(f"replicates must be at least 2, got {replicates}")
    data = [column(values, f"columns[{index}]") for index, values in enumerate(columns)]
    n = data[0].size
    if any(values.size != n for values in data):
        raise ValueError(f"columns must cover the same {n} samples")
    groups = clusters_of(clusters, n)
    sums = np.stack([groups.sums(values) for values in data])
    total = sums.sum(axis=1, keepdims=True)

    value = float(_apply(statistic, total)[0])
    method = f"clustered bootstrap ({replicates}, seed {seed})"
    if groups.count == 1:
        method = "undefined (one cluster)" if groups.lone else "undefined (one sample)"
        return Estimate(value, math.nan, math.nan, method, n, groups.count)

    reach = _expanded_reach(confidence, groups.count)
    values = _apply(statistic, _resampled_sums(sums, seed, replicates))
    if np.isnan(values).any():
        return Estimate(value, math.nan, math.nan, method, n, groups.count)
    levels = (normal_cdf(-reach), normal_cdf(reach))
    if interval == "bca":
        levels, kind = _bca_levels(value, values, _apply(statistic, total - sums), reach)
        method = f"{method}, {kind}" if kind else method
    low, high = (float(bound) for bound in np.quantile(values, levels))
    return Estimate(value, low, high, method, n, groups.count)


def _apply(statistic: Callable[..., Floats], sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic(*sums), dtype=np.float64)
    if values.shape != sums.shape[1:]:
        raise ValueError(f"statistic must return shape {sums.shape[1:]}, got {values.shape}")
    return values


def _resampled_sums(sums: Floats, seed: int, replicates: int) -> Floats:
    """Column sums, shape (columns, replicates), over clusters drawn with replacement."""
    rng = np.random.default_rng(seed)
    count = sums.shape[1]
    rows = max(1, _CHUNK // count)
    chunks = []
    for start in range(0, replicates, rows):
        height = min(rows, replicates - start)
        drawn = rng.integers(0, count, (height, count))
        drawn += count * np.arange(height)[:, None]
        times = np.bincount(drawn.ravel(), minlength=height * count).reshape(height, count)
        chunks.append(sums @ times.T)
    return np.concatenate(chunks, axis=1)


def _expanded_reach(confidence: float, count: int) -> float:
    """Standard deviations at which normal quantiles reach as far as t on ``count`` clusters."""
    return two_sided_t(confidence, count - 1) * math.sqrt(count / (count - 1))


def _bca_levels(
    value: float, values: Floats, without_one: Floats, reach: float
) -> tuple[tuple[float, float], str]:
    """Quantile levels corrected for bias and acceleration, and the kind of interval where one of the
    corrections degenerates and is left out.

    ``reach`` is in standard deviations: as a probability, what few clusters ask for rounds to 1.
    """
    below = float((values < value).mean() + (values == value).mean() / 2)
    if not 0 < below < 1:
        return (normal_cdf(-reach), normal_cdf(reach)), "percentile"
    bias = normal_quantile(below)
    ends = (bias - reach, bias + reach)
    pull = without_one.mean() - without_one
    spread = float(pull @ pull)
    known = 0 < spread < math.inf
    acceleration = float((pull**3).sum()) / (6 * spread**1.5) if known else 0.0
    if not known or min(1 - acceleration * end for end in ends) <= 0:
        return (normal_cdf(bias + ends[0]), normal_cdf(bias + ends[1])), "bias-corrected"
    low, high = (normal_cdf(bias + end / (1 - acceleration * end)) for end in ends)
    return (low, high), ""
