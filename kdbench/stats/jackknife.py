"""Intervals of statistics that resampling with replacement would bias.

Repeating a point shrinks the rank of a covariance and puts pairs of equal points into a kernel mean, so
Frechet distances, kernel distances and neighbourhood counts take their intervals from leaving out.
"""

import math
from collections.abc import Sequence

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
    parts = [(jackknife_error(left), count - 1)]
    return interval_of_parts(value, parts, f"grouped jackknife ({count})", n, clusters, confidence)


def interval_of_parts(
    value: float,
    parts: Sequence[tuple[float, float]],
    method: str,
    n: int,
    clusters: int,
    confidence: float = 0.95,
) -> Estimate:
    """t interval from independent sources of error, each a (standard error, degrees of freedom).

    Variances add, and Satterthwaite's degrees of freedom are those of their sum. For a statistic of two
    samples the parts are the ``jackknife_error`` of leaving out groups of the one and of the other: Arvesen
    (1969), "Jackknifing U-statistics", Annals of Mathematical Statistics 40.
    """
    variances = [error**2 for error, _ in parts]
    total = sum(variances)
    if total == 0:
        return Estimate(value, value, value, method, n, clusters)
    degrees = total**2 / sum(v**2 / d for v, (_, d) in zip(variances, parts, strict=True))
    half = two_sided_t(confidence, degrees) * math.sqrt(total)
    return Estimate(value, value - half, value + half, method, n, clusters)


def jackknife_error(without: ArrayLike) -> float:
    """Standard error from the statistic ``without`` each of G groups: sqrt((G-1)/G sum (t_g - mean)^2)."""
    left = column(without, "without")
    apart = left - left.mean()
    return math.sqrt((left.size - 1) / left.size * float(apart @ apart))


def folds(
    n: int,
    count: int,
    clusters: Labels | None = None,
    seed: int = 0,
    strata: Labels | None = None,
) -> np.ndarray:
    """Which of ``count`` disjoint groups each of ``n`` samples falls into, shape (n,), 0 .. count-1.

    Samples of a cluster stay together; clusters are dealt out after a seeded shuffle, so groups differ by
    at most one cluster. The same seed gives the same groups. There are never more groups than clusters.

    ``strata`` labels samples of kinds whose shares are fixed by design (the classes that images are asked
    of). Clusters are then dealt out kind by kind, so groups hold each kind in the same share, to within one
    cluster; what is left out has the design's shares, and the spread between kinds, which is no
    uncertainty, stays out of the interval. Source: Kott (2001), "The delete-a-group jackknife", Journal of
    Official Statistics 17. Raises ValueError for a cluster in two strata.
    """
    groups = clusters_of(clusters, n)
    turn = np.random.default_rng(seed).permutation(groups.count)
    if strata is not None:
        kinds = clusters_of(strata, n)
        of_group = np.full(groups.count, -1, dtype=np.intp)
        of_group[groups.codes] = kinds.codes
        if (of_group[groups.codes] != kinds.codes).any():
            raise ValueError("a cluster lies in one stratum, and one of these lies in several")
        # one long row, kinds one after another in shuffled order, each shuffled inside; dealt out in turn
        order = np.random.default_rng([seed, 1]).permutation(kinds.count)[of_group]
        turn = np.argsort(np.lexsort((turn, order)))
    dealt = turn % min(count, groups.count)
    return np.asarray(dealt[groups.codes], dtype=np.intp)
