"""Intervals that hold however often one looks: for samples that arrive in random order.

A gambler bets, sample by sample, that the number is larger than a supposed value; if the supposition
holds, the capital is a nonnegative martingale and reaches 1/a with probability a at most, at any time
(Ville's inequality). What has ever made the gambler so rich is excluded for good. The same bet against
smaller values gives the other bound, each at half of the error. The intervals are the running
intersection over all moments, so a decision that they once carried is never taken back, and stopping by
what they show does not touch the error rate.

The bets are the average of gamblers who each stake a fixed share of their capital ("diversified Kelly"),
so capital depends on the samples alone and needs no tuning.

Clusters are what is independent: a cluster's contribution is its sum, divided by the size of the
largest cluster that there is (`largest`, known beforehand), so that the number stays the ratio of sums
of `kdbench.stats.mean` and the contribution stays bounded.

Source: Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS B
86, theorem 3 and appendix B (dKelly); Ville (1939).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._samples import Floats, Labels, clusters_of, column, paired_columns
from kdbench.stats.estimate import Estimate

STAKES = np.geomspace(1 / 128, 0.96, 12)
"""Shares of the capital that the gamblers stake. The smallest suits a mean 1/128 of the variance off."""

METHOD = "betting, anytime-valid"

_STEPS = 36
"""Halvings of the range in which a bound is sought: 1e-11 of it."""
_BEYOND = 1e6
"""A ratio larger than this is not told from infinity."""


def log_capital(payoffs: ArrayLike) -> Floats:
    """Log of the gamblers' mean capital after each of ``payoffs``, shape (..., n), each at least -1.

    Where the payoffs' conditional means are not positive, the probability that it ever reaches
    log(1/a) is a at most. Raises ValueError for a payoff below -1: the score was out of its range.
    """
    bets = np.asarray(payoffs, dtype=np.float64)
    if bets.size and bets.min() < -1 - 1e-9:
        raise ValueError(f"a payoff of {bets.min():.6g} loses more than was staked")
    top = np.full(bets.shape, -np.inf)
    paths = []
    for stake in STAKES:
        path = np.cumsum(np.log1p(stake * np.maximum(bets, -1.0)), axis=-1)
        np.maximum(top, path, out=top)
        paths.append(path)
    total = sum(np.exp(path - top) for path in paths)
    return np.asarray(top + np.log(total / len(STAKES)))


def mean(
    values: ArrayLike,
    order: ArrayLike,
    clusters: Labels | None = None,
    largest: int = 1,
    confidence: float = 0.95,
) -> Estimate:
    """Mean of ``values``, shape (n,), each within [0, 1], at any time.

    ``order``, shape (n,), says which came first; samples of a cluster come together. Raises ValueError
    for values outside [0, 1], columns that do not fit each other, or a cluster larger than ``largest``.
    """
    scores = column(values, "values")
    arrivals = _arrivals(order, clusters, largest, scores.size)
    sums, sizes = arrivals.sums(scores), arrivals.sizes
    _check_range(scores)
    low = _lower(lambda m: (sums - sizes * m) / m, 0.0, 1.0, confidence)
    high = _upper(lambda m: (sizes * m - sums) / (1 - m), 0.0, 1.0, confidence)
    return arrivals.estimate(float(scores.mean()), low, high)


def difference(
    student: ArrayLike,
    teacher: ArrayLike,
    order: ArrayLike,
    clusters: Labels | None = None,
    largest: int = 1,
    confidence: float = 0.95,
) -> Estimate:
    """mean(student) - mean(teacher) at any time; columns and errors as in ``mean``."""
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    arrivals = _arrivals(order, clusters, largest, ours.size)
    _check_range(ours, theirs)
    sums, sizes = arrivals.sums(ours - theirs), arrivals.sizes
    low = _lower(lambda d: (sums - sizes * d) / (1 + d), -1.0, 1.0, confidence)
    high = _upper(lambda d: (sizes * d - sums) / (1 - d), -1.0, 1.0, confidence)
    return arrivals.estimate(float((ours - theirs).mean()), low, high)


def retention(
    student: ArrayLike,
    teacher: ArrayLike,
    order: ArrayLike,
    clusters: Labels | None = None,
    largest: int = 1,
    confidence: float = 0.95,
) -> Estimate:
    """mean(student) / mean(teacher) at any time; columns and errors as in ``mean``.

    The bet is on student - r * teacher, which lies in [-r, 1] and whose mean is 0 at the true r. The
    upper bound is infinite until the teacher's mean can be told from 0.
    """
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    arrivals = _arrivals(order, clusters, largest, ours.size)
    _check_range(ours, theirs)
    kept, total = arrivals.sums(ours), arrivals.sums(theirs)
    low = _lower(lambda r: (kept - r * total) / r, 0.0, _BEYOND, confidence)
    high = _upper(lambda r: r * total - kept, 0.0, _BEYOND, confidence)
    value = float(ours.sum() / theirs.sum()) if theirs.sum() else math.nan
    return arrivals.estimate(value, low, math.inf if high >= _BEYOND else high)


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """Clusters in the order in which they came; sums and sizes are shares of the largest cluster."""

    ranks: np.ndarray
    count: int
    largest: int
    sizes: Floats
    n: int

    def sums(self, values: Floats) -> Floats:
        return np.bincount(self.ranks, values, self.count) / self.largest

    def estimate(self, value: float, low: float, high: float) -> Estimate:
        clustered = "" if self.count == self.n else " (clustered)"
        return Estimate(value, low, max(low, high), METHOD + clustered, self.n, self.count)


def _arrivals(order: ArrayLike, labels: Labels | None, largest: int, n: int) -> _Arrivals:
    keys = np.asarray(order)
    if keys.shape != (n,):
        raise ValueError(f"order must say when each of {n} samples came, got shape {keys.shape}")
    clusters = clusters_of(labels, n)
    first = np.empty(clusters.count, dtype=keys.dtype)
    first[clusters.codes] = keys
    if (first[clusters.codes] != keys).any():
        raise ValueError("samples of a cluster must come together: one order for all of them")
    places = np.empty(clusters.count, dtype=np.intp)
    places[np.argsort(first, kind="stable")] = np.arange(clusters.count)
    ranks = places[clusters.codes]
    sizes = np.bincount(ranks, minlength=clusters.count)
    if sizes.max() > largest:
        raise ValueError(f"a cluster has {sizes.max()} samples, more than the largest ({largest})")
    return _Arrivals(ranks, clusters.count, largest, sizes / largest, n)


def _check_range(*columns: Floats) -> None:
    for values in columns:
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"scores must lie within [0, 1], got {values.min():.6g} to {values.max():.6g}: "
                "without bounds nothing holds at any time"
            )


def _lower(
    payoffs: Callable[[float], Floats], least: float, most: float, confidence: float
) -> float:
    """The largest value that betting on more has excluded; ``least`` where none was.

    Payoffs fall as the supposed value rises, so what is excluded lies below one point.
    """
    threshold = math.log(2 / (1 - confidence))
    low, high = least, most
    for _ in range(_STEPS if most < _BEYOND else 2 * _STEPS):
        middle = (low + high) / 2
        if float(log_capital(payoffs(middle)).max()) >= threshold:
            low = middle
        else:
            high = middle
    return low


def _upper(
    payoffs: Callable[[float], Floats], least: float, most: float, confidence: float
) -> float:
    """The smallest value that betting on less has excluded; ``most`` where none was."""
    return -_lower(lambda value: payoffs(-value), -most, -least, confidence)
