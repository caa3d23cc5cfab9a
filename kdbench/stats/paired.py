"""A student against its teacher on the same samples.

Pairing removes the difficulty both models share, so the interval of a difference is narrower
than the two models' own intervals suggest. Binary outcomes reduce to four counts (``Flips``) and
take score intervals, which stay inside the possible range and still say something when no
sample flipped. Other scores take t and Fieller intervals on the paired values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._distributions import binomial_cdf, two_sided_z
from kdbench.stats._samples import Labels, clusters_of, column, is_binary, paired_columns
from kdbench.stats.estimate import Estimate
from kdbench.stats.intervals import effective_size, ratio_of_sums, t_interval

_EXACT_CLUSTERS = 14
_CHUNK = 1 << 22  # signs held at once


@dataclass(frozen=True, slots=True)
class Flips:
    """How samples moved between teacher and student: the paired 2 x 2 table.

    ``lost`` samples only the teacher gets right, ``gained`` ones only the student.
    """

    both_right: int
    lost: int
    gained: int
    both_wrong: int

    @property
    def n(self) -> int:
        return self.both_right + self.lost + self.gained + self.both_wrong


def flips(student: ArrayLike, teacher: ArrayLike) -> Flips:
    """Paired table of two binary columns, each of shape (n,), 1 for right.

    Raises ValueError for values other than 0 and 1 and for unequal lengths.
    """
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    if not (is_binary(ours) and is_binary(theirs)):
        raise ValueError("flips need binary outcomes: every value 0 or 1")
    both = int(ours @ theirs)
    gained, lost = int(ours.sum()) - both, int(theirs.sum()) - both
    return Flips(both, lost, gained, ours.size - both - gained - lost)


def mcnemar(lost: int, gained: int, mid_p: bool = False) -> float:
    """Two-sided p-value of "flips go either way equally often", from independent samples.

    Exact: under the null ``lost`` is binomial with probability 1/2 among ``lost + gained``.
    ``mid_p`` counts the observed outcome half, which undoes most of the exact test's
    conservatism at the price of its guarantee. No flips: p = 1. Raises ValueError for negative
    counts.

    Source: McNemar (1947), Psychometrika 12; Fagerland, Lydersen & Laake (2013), "The McNemar
    test for binary matched-pairs data", BMC Medical Research Methodology 13, for mid-p.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"counts must not be negative, got {lost} and {gained}")
    fewer, flipped = min(lost, gained), lost + gained
    p_value = 2 * binomial_cdf(fewer, flipped, 0.5)
    if mid_p:
        p_value -= math.comb(flipped, fewer) / 2**flipped
    return min(1.0, p_value)


def difference(
    student: ArrayLike,
    teacher: ArrayLike,
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """mean(student) - mean(teacher), both of shape (n,), in their unit.

    * Binary columns: Tango's score interval from the flips; clusters shrink the four counts to
      their effective sample size (see ``intervals.effective_size``).
    * Other columns: t on the paired differences, clustered as in ``intervals.mean``.

    A single cluster, or one continuous pair, leaves the bounds nan. With fewer than about 5
    expected flips the binary intervals cover more than their nominal confidence. Raises
    ValueError for columns that are empty, not vectors, not finite or of unequal lengths.

    Source: Tango (1998), "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17; Miller (2024),
    arXiv:2411.00640, paired differences.
    """
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    groups = clusters_of(clusters, ours.size)
    change = ours - theirs
    if not (is_binary(ours) and is_binary(theirs)) or groups.lone:
        return t_interval(change, groups, confidence)

    value = float(change.mean())
    size = effective_size(change - value, groups, confidence)
    gained, lost = float((change > 0).mean()) * size, float((change < 0).mean()) * size
    z = two_sided_z(confidence)
    high = max(value, _tango_upper(gained, lost, size, z))
    low = min(value, -_tango_upper(lost, gained, size, z))
    return Estimate(value, low, high, groups.named("tango"), ours.size, groups.count)


def difference_of_ratios(
    student: tuple[ArrayLike, ArrayLike],
    other: tuple[ArrayLike, ArrayLike],
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Difference of two ratios of sums on the same samples, student - other, in the ratios' unit.

    Each side is (numerators, denominators), all of shape (n,). The interval is Student's t on the
    samples' linearised contributions, clustered as in ``intervals.mean``. A denominator that sums to
    0 leaves value and bounds nan; so do the bounds for a single sample or cluster. Raises ValueError
    for columns that are empty, not vectors, not finite or of unequal lengths.

    Source: Cochran (1977), Sampling Techniques, 6.9, for the comparison of two ratios in one sample.
    """
    ours, base = paired_columns(*student, "student's numerators", "student's denominators")
    theirs, other_base = paired_columns(*other, "other's numerators", "other's denominators")
    paired_columns(ours, theirs, "student", "other")
    groups = clusters_of(clusters, ours.size)
    totals = float(base.sum()), float(other_base.sum())
    if 0 in totals:
        method = "undefined (denominator sums to 0)"
        return Estimate(math.nan, math.nan, math.nan, method, ours.size, groups.count)
    one, two = float(ours.sum()) / totals[0], float(theirs.sum()) / totals[1]
    pull = (ours - one * base) / totals[0] - (theirs - two * other_base) / totals[1]
    return t_interval(one - two + pull * ours.size, groups, confidence)


def retention(
    student: ArrayLike,
    teacher: ArrayLike,
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """mean(student) / mean(teacher), both of shape (n,): the share of the score that is kept.

    * Binary columns: the score interval of a ratio of paired proportions; clusters shrink the
      counts to their effective sample size.
    * Other columns: Fieller's interval (``intervals.ratio_of_sums``), unbounded where the
      teacher's mean cannot be told from 0.

    A teacher mean of 0 leaves value and bounds nan, method "undefined (teacher mean is 0)".
    Raises ValueError as ``difference`` does.

    Source: Nam & Blackwelder (2002), "Analysis of the ratio of marginal probabilities in a
    matched-pair setting", Statistics in Medicine 21; Tang, Tang & Chan (2003), Statistics in
    Medicine 22; Fieller (1954), JRSS B 16.
    """
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    groups = clusters_of(clusters, ours.size)
    total = float(theirs.sum())
    if total == 0:
        method = "undefined (teacher mean is 0)"
        return Estimate(math.nan, math.nan, math.nan, method, ours.size, groups.count)
    if not (is_binary(ours) and is_binary(theirs)) or groups.lone:
        return ratio_of_sums(ours, theirs, clusters, confidence)

    value = float(ours.sum()) / total
    size = effective_size(ours - value * theirs, groups, confidence)
    both = float((ours * theirs).mean()) * size
    gained, lost = float((ours > theirs).mean()) * size, float((ours < theirs).mean()) * size
    z = two_sided_z(confidence)
    high = max(value, _ratio_upper(both, gained, lost, z))
    low = 0.0 if value == 0 else min(value, 1 / _ratio_upper(both, lost, gained, z))
    return Estimate(value, low, high, groups.named("score"), ours.size, groups.count)


def permutation_test(
    differences: ArrayLike,
    clusters: Labels | None = None,
    seed: int = 0,
    permutations: int = 10_000,
) -> float:
    """Two-sided p-value of "the paired differences are symmetric about 0".

    Flips the sign of each cluster's summed differences, shape (n,), as a whole. All sign patterns
    are counted when at most 2^14 exist, which is exact; otherwise ``permutations`` random ones,
    plus the observed one. Clusters that sum to 0 do not matter and are dropped. Raises ValueError
    for unusable columns and for ``permutations`` < 1.

    Source: Fisher (1935), The Design of Experiments, 21; Phipson & Smyth (2010), "Permutation
    p-values should never be zero", SAGMB 9, for the added one.
    """
    values = column(differences, "differences")
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, got {permutations}")
    sums = clusters_of(clusters, values.size).sums(values)
    sums = sums[np.abs(sums) > 1e-12 * np.abs(values).sum()]
    if sums.size == 0:
        return 1.0
    threshold = abs(float(sums.sum())) - 1e-9 * float(np.abs(sums).sum())
    if sums.size <= _EXACT_CLUSTERS:
        totals = np.zeros(1)
        for value in sums:
            totals = np.concatenate((totals - value, totals + value))
        return float((np.abs(totals) >= threshold).mean())

    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // sums.size)
    extreme = 0
    for start in range(0, permutations, rows):
        shape = (min(rows, permutations - start), sums.size)
        flipped = rng.integers(0, 2, shape, dtype=np.int8) @ sums
        extreme += int((np.abs(sums.sum() - 2 * flipped) >= threshold).sum())
    return (extreme + 1) / (permutations + 1)


def _tango_upper(gained: float, lost: float, n: float, z: float) -> float:
    """Largest difference that Tango's score test does not reject; counts may be fractional."""

    def excess(delta: float) -> float:
        b = (2 * n - gained + lost) * delta - gained - lost
        root = math.sqrt(max(0.0, b * b + 8 * n * lost * delta * (1 - delta)))
        lost_under_null = (root - b) / (4 * n)
        variance = n * (2 * lost_under_null + delta * (1 - delta))
        return n * delta - (gained - lost) - z * math.sqrt(max(0.0, variance))

    return _root(excess, (gained - lost) / n, 1.0)


def _ratio_upper(both: float, gained: float, lost: float, z: float) -> float:
    """Largest ratio of paired proportions that the score test does not reject.

    Under a ratio r the likelihood leaves the both-wrong pairs alone; with k = both + gained +
    lost, the expected number lost solves (1+r) x^2 - ((1-r^2)(both+lost) + gained + lost) x
    + lost (1-r) k = 0. Searched on r / (1 + r), which maps ratios to (0, 1).
    """
    student, teacher, k = both + gained, both + lost, both + gained + lost

    def excess(share: float) -> float:
        r = share / (1 - share)
        b = (1 - r * r) * teacher + gained + lost
        c = lost * (1 - r) * k
        root = math.sqrt(max(0.0, b * b - 4 * (1 + r) * c))
        lost_under_null = (b + root) / (2 * (1 + r)) if b >= 0 else 2 * c / (b - root)
        variance = (1 + r) * lost_under_null - (1 - r) * k
        return r * teacher - student - z * math.sqrt(max(0.0, variance))

    share = _root(excess, student / (student + teacher), 1.0)
    return share / (1 - share)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    """Where ``excess`` turns positive between ``low`` and ``high``, to the last bit or two."""
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return low
        if excess(middle) > 0:
            high = middle
        else:
            low = middle
