"""How many different images a set amounts to, and how far apart they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kdbench.metrics.blocks import feature_rows
from kdbench.metrics.cmmd import normalised


def vendi_score(features: ArrayLike, q: float = 1.0) -> float:
    """Effective number of different rows, from 1 (all alike) to N, under the cosine kernel.

    The exponential of the Renyi entropy of order ``q`` of the eigenvalues of K / N; q = 1 is Shannon's,
    q = inf looks at the largest alone. The eigenvalues are taken from the smaller of the N x N kernel and
    the d x d second moment. Raises ValueError for a negative q and for a row of length 0.

    Sources: Friedman & Dieng (2023), "The Vendi score", TMLR, definition 3.1; Pasarkar & Dieng (2024),
    "Cousins of the Vendi score", for q.
    """
    rows = normalised(feature_rows(features, "features"))
    count, width = rows.shape
    return vendi_of_moment((rows @ rows.T if count <= width else rows.T @ rows) / count, count, q)


def vendi_of_moment(second: ArrayLike, count: int, q: float = 1.0) -> float:
    """``vendi_score`` of ``count`` rows from the second moment E[x x^T] of their directions alone, (d, d).

    So images may stream by. The kernel of all pairs over N has the same eigenvalues and does as well.
    """
    if q < 0:
        raise ValueError(f"the order of an entropy is not negative, got {q}")
    matrix = np.asarray(second, dtype=np.float64)
    shares = np.linalg.eigvalsh(matrix).clip(min=0)
    shares = shares[shares > np.finfo(np.float64).eps * max(count, len(matrix))]
    shares /= shares.sum()
    if q == 1:
        return float(np.exp(-(shares * np.log(shares)).sum()))
    if math.isinf(q):
        return float(1 / shares.max())
    return float(np.power(shares, q).sum() ** (1 / (1 - q)))


def mean_pairwise_distance(embeddings: ArrayLike, squared: bool = False) -> float:
    """Mean Euclidean distance (or its square) over the pairs of rows; nan for fewer than two rows."""
    rows = feature_rows(embeddings, "embeddings").astype(np.float64, copy=False)
    if len(rows) < 2:
        return math.nan
    # differences, not products: two nearly equal images are a small number apart
    distances = [
        float(np.sqrt(square) if not squared else square)
        for first in range(len(rows) - 1)
        for square in np.square(rows[first + 1 :] - rows[first]).sum(axis=1)
    ]
    return math.fsum(distances) / len(distances)
