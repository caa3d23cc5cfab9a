"""CMMD: maximum mean discrepancy of CLIP embeddings under a Gaussian kernel of width 10, times 1000.

Jayasumana et al. (2024), "Rethinking FID: towards a better evaluation metric for image generation", eq. 4;
the V-statistic of its reference implementation, which keeps the diagonal. Embeddings have length 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.metrics.blocks import (
    Floats,
    Rows,
    feature_rows,
    same_width,
    squared_distances,
    squared_lengths,
    strips,
)
from kdbench.metrics.folded import Folded
from kdbench.metrics.moments import Moments

SIGMA = 10.0
SCALE = 1000.0
FEWEST = 50
"""Fewest samples of which CMMD is told."""


def cmmd(generated: ArrayLike, reference: ArrayLike) -> float:
    """All pairs of embeddings, (m, d) and (n, d), in strips and float64.

    The reference implementations add up in float32 and are off by some 0.2 % of a small score. Raises
    ValueError for fewer than ``FEWEST`` rows and for other widths.
    """
    x = feature_rows(generated, "generated embeddings", FEWEST)
    y = feature_rows(reference, "reference embeddings", FEWEST)
    same_width(x, y)
    return SCALE * (_kernel_mean(x, x) + _kernel_mean(y, y) - 2 * _kernel_mean(x, y))


def cmmd_from_moments(
    mean: Floats, second: Floats, reference_mean: Floats, reference_second: Floats
) -> float:
    """The same from means (d,) and second moments E[x x^T] (d, d) alone, in O(d^2).

    For vectors of length 1 the kernel is exp(-c) exp(c x.y) with c = 1 / sigma^2 = 0.01, and its series
    ends, for all that matters, at the square: e^-c (c |m1 - m2|^2 + c^2/2 |M1 - M2|_F^2). What is left out
    is c^3/6 of the distance of third moments, measured at less than 1e-4 of the score. So images may
    stream by, and a reference is a file of two arrays.
    """
    c = 1 / SIGMA**2
    apart = mean - reference_mean
    square = float(np.square(second - reference_second).sum())
    return SCALE * math.exp(-c) * (c * float(apart @ apart) + c * c / 2 * square)


def cmmd_of_folds(
    parts: Sequence[Moments], reference: Moments, clusters: int | None = None
) -> Folded:
    """``cmmd_from_moments`` of all folds together and without each, for its interval and its pairing.

    Raises ValueError for fewer than ``FEWEST`` samples in all.
    """
    whole = Moments.merged(parts)
    if whole.count < FEWEST:
        raise ValueError(f"CMMD needs at least {FEWEST} samples, got {whole.count}")
    mean, second = reference.mean, reference.second_moment

    def distance(moments: Moments) -> float:
        return cmmd_from_moments(moments.mean, moments.second_moment, mean, second)

    without = [distance(whole.without(part)) for part in parts] if len(parts) > 1 else []
    return Folded(distance(whole), np.array(without), whole.count, clusters)


def normalised(embeddings: ArrayLike) -> NDArray[np.float64]:
    """Rows of length 1; ValueError for a row of length 0."""
    rows = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (lengths > 0).all():
        raise ValueError("an embedding of length 0 has no direction")
    return np.asarray(rows / lengths)


def _kernel_mean(left: Rows, right: Rows) -> float:
    lengths, others = squared_lengths(left), squared_lengths(right)
    total = 0.0
    for part in strips(len(left), len(right)):
        exponents = squared_distances(left[part], right, lengths[part], others)
        exponents *= -1 / (2 * SIGMA**2)
        total += float(np.exp(exponents, out=exponents).sum())
    return total / (len(left) * len(right))
