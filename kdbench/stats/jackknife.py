"""Intervals of statistics that resampling with replacement would bias.

Repeating a point shrinks the rank of a covariance and puts pairs of equal points into a kernel mean, so
Frechet distances, kernel distances and neighbourhood counts take their intervals from leaving out.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._distributions import two_sided_t
from kdbench.stats._samples import Labels, clusters_of, column
from kdbench.stats.estimate import Estimate


def jackknife(
    value: float, without: ArrayLike, n: int, clusters: int | None = None, confidence: float = 0.95
) -> Estimate:
    """t interval around ``value`` from the statistic ``without`` each of G groups, shape (G,).

    Groups are disjoint, of about equal size, and drawn without looking at the data; all of them are
    left out in turn. The statistics left over share one sample size, so a bias that depends on it cancels
    from their spread. The interval lies around ``value`` as it is, its bias included. A difference or any
    other function of several statistics over the same groups is given as its own ``value`` and
    ``without``, which pairs them. ``n`` counts samples, ``clusters`` what the groups were made of (``n``
    where left out). Fewer than two groups leave the bounds nan. Raises ValueError for an unusable
    ``without``.

    Source: Shao & Tu (1995), The Jackknife and Bootstrap, 2.3 and 5.1 (delete-a-group).
    """
    left = column(without, "without")
    count = left.size
    clusters = n if clusters is None else clusters
    if count < 2:
        return Estimate(value, math.nan, math.nan, "undefined (one group)", n, clusters)
    half = two_sided_t(confidence, count - 1) * jackknife_error(left)
    method = f"grouped jackknife ({count})"
    return Estimate(value, value - half, value + half, method, n, clusters)


def jackknife_error(without: ArrayLike) -> float:
    """Standard error from the statistic ``without`` each of G groups: sqrt((G-1)/G sum (t_g - mean)^2)."""
    left = column(without, "without")
    apart = left - left.mean()
    return math.sqrt((left.size - 1) / left.size * float(apart @ apart))


def folds(n: int, count: int, clusters: Labels | None = None, seed: int = 0) -> np.ndarray:
    """Which of ``count`` disjoint groups each of ``n`` samples falls into, shape (n,), 0 .. count-1.

    Samples of a cluster stay together; clusters are dealt out after a seeded shuffle, so groups differ by
    at most one cluster. The same seed gives the same groups. There are never more groups than clusters.
    """
    groups = clusters_of(clusters, n)
    dealt = np.random.default_rng(seed).permutation(groups.count) % min(count, groups.count)
    return np.asarray(dealt[groups.codes], dtype=np.intp)
