"""Kernel Inception Distance: the squared maximum mean discrepancy under k(x, y) = (x.y / d + 1)^3.

Binkowski et al. (2018), "Demystifying MMD GANs", section 4. Values are as in the code of the field; papers
often print them times 1000. Unbiased, so a value may be negative.
"""

from __future__ import annotations

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
from kdbench.metrics.folded import Folded
from kdbench.stats._samples import Clusters, Labels, clusters_of

FEWEST = 50
"""Fewest samples, on either side, of which a kernel distance is told."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one set of features (N, d) gives to the all-pairs statistic.

    `pairs` (N,) are each row's kernel sums with the others of its own side, `across` (N,) with the other
    side; `inside` (G,) sums the pairs within each of the groups that are left out in turn.
    """

    pairs: Floats
    across: Floats
    groups: Clusters
    inside: Floats

    def within(self) -> float:
        """Mean over the pairs of different rows."""
        return float(self.pairs.sum()) / (self.pairs.size * (self.pairs.size - 1))

    def without(self) -> tuple[Floats, Floats]:
        """`within`, and the mean of `across` over this side's rows, without each group, (G,) each."""
        left = self.pairs.size - self.groups.sizes()
        pairs = self.pairs.sum() - 2 * self.groups.sums(self.pairs) + self.inside
        across = self.across.sum() - self.groups.sums(self.across)
        return pairs / (left * (left - 1)), across / left


@dataclass(frozen=True, slots=True)
class KernelSums:
    """Everything that the all-pairs statistic and its interval need of generated and real images."""

    generated: Side
    reference: Side

    @property
    def value(self) -> float:
        """The U-statistic: mean over pairs of each side, minus twice the mean across."""
        m, n = self.generated.pairs.size, self.reference.pairs.size
        across = float(self.generated.across.sum()) / (m * n)
        return self.generated.within() + self.reference.within() - 2 * across

    def without_generated(self) -> Floats:
        """The statistic without each group of generated images, (G,)."""
        pairs, across = self.generated.without()
        return np.asarray(pairs + self.reference.within() - 2 * across / self.reference.pairs.size)

    def without_reference(self) -> Floats:
        """The statistic without each group of real images, (R,)."""
        pairs, across = self.reference.without()
        return np.asarray(pairs + self.generated.within() - 2 * across / self.generated.pairs.size)

    def folded(self, clusters: int | None = None) -> Folded:
        """The statistic with a jackknife over both sides: how it varies with other images of either.

        Student's minus teacher's (``Folded.minus``) is paired on both where prompts and reference are the
        same. Leaving out a group has a closed form in the kernel's row sums. Where the two distributions are
        nearly equal the jackknife errs to the wide side (Efron & Stein 1981, "The jackknife estimate of
        variance"). ``clusters`` counts the prompts, where groups are of several.
        """
        counted = self.generated.groups.count if clusters is None else clusters
        count = self.generated.pairs.size
        return Folded(
            self.value, self.without_generated(), count, counted, self.without_reference()
        )


def kernel_sums(
    generated: ArrayLike,
    reference: ArrayLike,
    groups: Labels | None = None,
    reference_groups: Labels | None = None,
) -> KernelSums:
    """One walk over all pairs of features (m, d) and (n, d), in strips, float64.

    ``groups`` and ``reference_groups`` label the rows that are left out together (images that share a
    prompt, or folds); without them each row is one. Raises ValueError for fewer than ``FEWEST`` rows or two
    groups, and for other widths.

    Source: Gretton et al. (2012), "A kernel two-sample test", JMLR 13, eq. 3.
    """
    x = feature_rows(generated, "generated features", FEWEST)
    y = feature_rows(reference, "reference features", FEWEST)
    same_width(x, y)
    ours, theirs = clusters_of(groups, len(x)), clusters_of(reference_groups, len(y))
    if min(ours.count, theirs.count) < 2:
        raise ValueError("an interval needs samples of at least two prompts")
    across_x, across_y = np.zeros(len(x)), np.zeros(len(y))
    for part in strips(len(x), len(y)):
        kernel = _kernel(x[part], y)
        across_x[part] = kernel.sum(axis=1)
        across_y += kernel.sum(axis=0)
    return KernelSums(
        Side(_pairs(x), across_x, ours, _inside(x, ours)),
        Side(_pairs(y), across_y, theirs, _inside(y, theirs)),
    )


@dataclass(frozen=True, slots=True)
class Subsets:
    """The field's KID: `folded` has the mean over subsets, `deviation` their population deviation.

    The deviation is that of subsets, which overlap; it is not a standard error.
    """

    folded: Folded
    deviation: float


def kid_subsets(
    generated: ArrayLike,
    reference: ArrayLike,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
    groups: Labels | None = None,
    reference_groups: Labels | None = None,
    clusters: int | None = None,
) -> Subsets:
    """Mean over random subsets, the dialect of the field's tools, with a jackknife over both sides.

    Each subset draws ``size`` rows of both sides without replacement from numpy's legacy generator, as
    torch-fidelity (seed 2020) and, after ``numpy.random.seed``, clean-fid do. Given the draws, the mean is a
    U-statistic whose pairs weigh what the subsets make of them, and is told without each of ``groups`` and
    ``reference_groups`` (a few folds; without labels there is no interval): the interval covers the draws'
    noise, too. Two sets of one size have the same draws and are paired. Raises ValueError where a side is
    smaller than a subset (clean-fid shrinks the subset instead, without saying so).
    """
    x = feature_rows(generated, "generated features", 2)
    y = feature_rows(reference, "reference features", 2)
    same_width(x, y)
    if not 2 <= size <= min(len(x), len(y)):
        raise ValueError(
            f"subsets of {size} can't be drawn from {len(x)} generated and {len(y)} reference images"
        )
    ours, theirs = _one_hot(groups, len(x)), _one_hot(reference_groups, len(y))
    rng = np.random.RandomState(seed)
    values = np.empty((subsets, 1 + ours.shape[1] + theirs.shape[1]))
    for index in range(subsets):
        mine = rng.choice(len(x), size, replace=False)
        other = rng.choice(len(y), size, replace=False)
        values[index] = _subset(x[mine], y[other], ours[mine], theirs[other])
    means, split = values.mean(axis=0), 1 + ours.shape[1]
    folded = Folded(float(means[0]), means[1:split], len(x), clusters, means[split:])
    return Subsets(folded, float(values[:, 0].std()))


def _one_hot(groups: Labels | None, count: int) -> Floats:
    """Membership (N, G) of rows in groups; (N, 0) without labels."""
    if groups is None:
        return np.empty((count, 0))
    codes = clusters_of(groups, count)
    return np.asarray(np.eye(codes.count)[codes.codes])


def _subset(first: Rows, second: Rows, ours: Floats, theirs: Floats) -> Floats:
    """The statistic of one subset, then without each group of either side, (1 + G + R,)."""
    sums = []
    for rows, member in ((first, ours), (second, theirs)):
        kernel = _kernel(rows, rows)
        np.fill_diagonal(kernel, 0)
        own = kernel.sum(axis=1)
        left = np.array([len(rows), *(len(rows) - member.sum(axis=0))])
        inside = np.einsum("ig,ig->g", member, kernel @ member)
        total = np.array([own.sum(), *(own.sum() - 2 * own @ member + inside)])
        sums.append((total / (left * (left - 1)), left))
    across = _kernel(first, second)
    (x, left_x), (y, left_y) = sums
    cross = float(across.sum())
    without_x = (cross - across.sum(axis=1) @ ours) / (left_x[1:] * len(second))
    without_y = (cross - across.sum(axis=0) @ theirs) / (left_y[1:] * len(first))
    value = x[0] + y[0] - 2 * cross / across.size
    return np.concatenate([[value], x[1:] + y[0] - 2 * without_x, x[0] + y[1:] - 2 * without_y])


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
