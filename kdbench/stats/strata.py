"""Mean of the means of groups that are fixed by design: every group counts alike, whatever its size."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdbench.stats._distributions import two_sided_t
from kdbench.stats._samples import Labels, clusters_of, column, paired_columns
from kdbench.stats.estimate import Estimate
from kdbench.stats.intervals import variance_of_sum


def mean_of_strata(
    values: ArrayLike,
    strata: Sequence[Any],
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Unweighted mean over strata of their means of ``values``, shape (n,), in their unit.

    A stratum is fixed by design (a kind of question), a cluster is a random unit inside one stratum
    (a question asked several times). The variance is the sum of the strata's own variances between
    clusters, over the squared number of strata; Satterthwaite's degrees of freedom. A stratum whose
    values are all equal adds no variance; where all are, or where a stratum has a single cluster, the
    bounds are nan. Raises ValueError as ``mean`` does, and for a cluster that reaches over strata.

    Source: Cochran (1977), Sampling Techniques, 5.3-5.4, with equal weights; within strata Bell &
    McCaffrey (2002), Survey Methodology 28.
    """
    data = column(values, "values")
    if len(strata) != data.size:
        raise ValueError(f"strata must label {data.size} samples, got {len(strata)}")
    labels: list[Any] = list(range(data.size)) if clusters is None else list(clusters)
    members: dict[Any, list[int]] = {}
    homes: dict[Any, Any] = {}
    for index, (stratum, label) in enumerate(zip(strata, labels, strict=True)):
        members.setdefault(stratum, []).append(index)
        if homes.setdefault(label, stratum) != stratum:
            raise ValueError(f"cluster {label!r} lies in two strata")

    total = variance = spread = 0.0
    lone = False
    for own in members.values():
        part = data[np.array(own)]
        groups = clusters_of([labels[index] for index in own], part.size)
        total += float(part.mean())
        if groups.count == 1:
            lone = True
            continue
        of_sum, degrees = variance_of_sum(part - part.mean(), groups)
        own_variance = of_sum / part.size**2
        variance += own_variance
        spread += own_variance**2 / degrees
    count = len(members)
    value, n_clusters = total / count, len(homes)
    if lone or variance == 0:
        reason = "a stratum of one cluster" if lone else "no variance"
        return Estimate(value, math.nan, math.nan, f"undefined ({reason})", data.size, n_clusters)
    half = two_sided_t(confidence, variance**2 / spread) * math.sqrt(variance) / count
    kind = "t, clustered and stratified" if n_clusters < data.size else "t, stratified"
    return Estimate(value, value - half, value + half, kind, data.size, n_clusters)


def retention_of_strata(
    student: ArrayLike,
    teacher: ArrayLike,
    strata: Sequence[Any],
    clusters: Labels | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Ratio of two means of strata, student over teacher, on the same samples, both shape (n,).

    The interval is that of the linearised ratio: the samples' (student - value * teacher), averaged as
    `mean_of_strata` does, over the teacher's mean. A teacher's mean of 0 leaves everything nan.

    Source: Cochran (1977), Sampling Techniques, 6.10 (combined ratio estimator).
    """
    ours, theirs = paired_columns(student, teacher, "student", "teacher")
    below = mean_of_strata(theirs, strata, clusters, confidence).value
    if below == 0:
        n_clusters = theirs.size if clusters is None else len(set(clusters))
        reason = "undefined (the teacher's mean is 0)"
        return Estimate(math.nan, math.nan, math.nan, reason, theirs.size, n_clusters)
    value = mean_of_strata(ours, strata, clusters, confidence).value / below
    rest = mean_of_strata((ours - value * theirs) / below, strata, clusters, confidence)
    return replace(
        rest,
        value=value,
        low=value + rest.low,
        high=value + rest.high,
        method=rest.method if math.isnan(rest.low) else f"linearised ratio, {rest.method}",
    )
