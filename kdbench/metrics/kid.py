"""Kernel Inception Distance: the squared maximum mean discrepancy under k(x, y) = (x.y / d + 1)^3.

Binkowski et al. (2018), "Demystifying MMD GANs", section 4. Values are as in the code of the field; papers
often print them times 1000. Unbiased, so a value may be negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.metrics.blocks import (
    Floats,
    Rows,
    feature_rows,
    products,
    same_width,
    squared_lengths,
    strips,
)
from kdbench.stats import Estimate
from kdbench.stats._distributions import two_sided_t
from kdbench.stats._samples import Clusters, Labels, clusters_of
from kdbench.stats.jackknife import jackknife_error

FEWEST = 50
"""Fewest samples, on either side, of which a kernel distance is told."""


@dataclass(frozen=True, slots=True)
class KernelSums:
    """Everything that the all-pairs statistic and its interval need of generated x and reference y.

    `pairs_x` (m,) and `pairs_y` (n,) are each sample's kernel sums with the others of its own side,
    `across_x` (m,) and `across_y` (n,) with the other side; `inside` (C,) sums the pairs within each of
    the clusters that `groups` puts the x into.
    """

    pairs_x: Floats
    pairs_y: Floats
    across_x: Floats
    across_y: Floats
    groups: Clusters
    inside: Floats

    @property
    def value(self) -> float:
        """The U-statistic: mean over pairs of x, plus over pairs of y, minus twice the mean across."""
        m, n = self.across_x.size, self.across_y.size
        own = float(self.pairs_x.sum()) / (m * (m - 1)) + float(self.pairs_y.sum()) / (n * (n - 1))
        return own - 2 * float(self.across_x.sum()) / (m * n)

    def without_generated(self) -> Floats:
        """The statistic without each cluster of x, (C,)."""
        n = self.across_y.size
        left = self.across_x.size - self.groups.sizes()
        pairs = self.pairs_x.sum() - 2 * self.groups.sums(self.pairs_x) + self.inside
        across = self.across_x.sum() - self.groups.sums(self.across_x)
        own = pairs / (left * (left - 1)) + self.pairs_y.sum() / (n * (n - 1))
        return np.asarray(own - 2 * across / (left * n))

    def without_reference(self) -> Floats:
        """The statistic without each y, (n,)."""
        m, left = self.across_x.size, self.across_y.size - 1
        pairs = self.pairs_y.sum() - 2 * self.pairs_y
        across = self.across_x.sum() - self.across_y
        own = self.pairs_x.sum() / (m * (m - 1)) + pairs / (left * (left - 1))
        return np.asarray(own - 2 * across / (m * left))


def kernel_sums(
    generated: ArrayLike, reference: ArrayLike, clusters: Labels | None = None
) -> KernelSums:
    """One walk over all pairs of features (m, d) and (n, d), in strips, float64.

    ``clusters`` labels generated samples that share a prompt. Raises ValueError for fewer than ``FEWEST``
    rows or two clusters, and for other widths.
    """
    x = feature_rows(generated, "generated features", FEWEST)
    y = feature_rows(reference, "reference features", FEWEST)
    same_width(x, y)
    groups = clusters_of(clusters, len(x))
    if groups.count < 2:
        raise ValueError("an interval needs samples of at least two prompts")
    across_x, across_y = np.zeros(len(x)), np.zeros(len(y))
    for part in strips(len(x), len(y)):
        kernel = _kernel(x[part], y)
        across_x[part] = kernel.sum(axis=1)
        across_y += kernel.sum(axis=0)
    return KernelSums(_pairs(x), _pairs(y), across_x, across_y, groups, _inside(x, groups))


def kid(sums: KernelSums, confidence: float = 0.95) -> Estimate:
    """The all-pairs U-statistic with a jackknife interval over both sides.

    Free of the subsets' noise. Leaving out each prompt and each reference image has a closed form in the
    kernel's row sums. Where the two distributions are nearly equal the jackknife errs to the wide side
    (Efron & Stein 1981, "The jackknife estimate of variance").

    Source: Gretton et al. (2012), "A kernel two-sample test", JMLR 13, eq. 3.
    """
    return _interval(
        sums.value, sums.without_generated(), sums.without_reference(), sums, confidence
    )


def kid_difference(student: KernelSums, teacher: KernelSums, confidence: float = 0.95) -> Estimate:
    """Student's minus teacher's, on the same prompts and against the same reference, paired on both.

    Raises ValueError where samples, clusters or reference differ.
    """
    same = np.array_equal(student.groups.codes, teacher.groups.codes)
    if not same or not np.array_equal(student.pairs_y, teacher.pairs_y):
        raise ValueError("a paired difference needs the same prompts and the same reference")
    return _interval(
        student.value - teacher.value,
        student.without_generated() - teacher.without_generated(),
        student.without_reference() - teacher.without_reference(),
        student,
        confidence,
    )


def kid_subsets(
    generated: ArrayLike,
    reference: ArrayLike,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Mean and population standard deviation over random subsets: the dialect of the field's tools.

    Each subset draws ``size`` rows of both sides without replacement from numpy's legacy generator, as
    torch-fidelity (seed 2020) and, after ``numpy.random.seed``, clean-fid do. The deviation is that of
    subsets, which overlap; it is not a standard error. Raises ValueError where a side is smaller than a
    subset (clean-fid shrinks the subset instead, without saying so).
    """
    x = feature_rows(generated, "generated features", 2)
    y = feature_rows(reference, "reference features", 2)
    same_width(x, y)
    if not 2 <= size <= min(len(x), len(y)):
        raise ValueError(
            f"subsets of {size} can't be drawn from {len(x)} generated and {len(y)} reference images"
        )
    rng = np.random.RandomState(seed)
    values = np.empty(subsets)
    for index in range(subsets):
        first = x[rng.choice(len(x), size, replace=False)]
        second = y[rng.choice(len(y), size, replace=False)]
        own = _pairs(first).sum() + _pairs(second).sum()
        across = _kernel(first, second).sum()
        values[index] = own / (size * (size - 1)) - 2 * across / size**2
    return float(values.mean()), float(values.std())


def _interval(
    value: float,
    without_generated: Floats,
    without_reference: Floats,
    sums: KernelSums,
    confidence: float,
) -> Estimate:
    error = math.hypot(jackknife_error(without_generated), jackknife_error(without_reference))
    degrees = min(without_generated.size, without_reference.size) - 1
    half = two_sided_t(confidence, degrees) * error
    method = sums.groups.named("jackknife")
    count = sums.across_x.size
    return Estimate(value, value - half, value + half, method, count, sums.groups.count)


def _kernel(left: Rows, right: Rows) -> Floats:
    kernel: Floats = products(left, right)
    kernel /= left.shape[1]
    kernel += 1
    kernel *= np.square(kernel)
    return kernel


def _pairs(rows: Rows) -> Floats:
    """Each row's kernel sum with all other rows, (N,); each pair of strips is computed once."""
    count = len(rows)
    sums: Floats = -(
        (squared_lengths(rows) / rows.shape[1] + 1) ** 3
    )  # a row with itself is no pair
    for part in strips(count, count):
        kernel = _kernel(rows[part], rows[part.start :])
        sums[part] += kernel.sum(axis=1)
        sums[part.stop :] += kernel[:, part.stop - part.start :].sum(axis=0)
    return sums


def _inside(rows: Rows, groups: Clusters) -> Floats:
    """Kernel sums over the pairs within each cluster, (C,)."""
    found = np.zeros(groups.count)
    if groups.singletons:
        return found
    order = np.argsort(groups.codes, kind="stable")
    borders = np.cumsum(groups.sizes()).astype(np.intp)[:-1]
    members: list[NDArray[np.intp]] = np.split(order, borders)
    for code, own in enumerate(members):
        found[code] = _pairs(rows[own]).sum()
    return found
