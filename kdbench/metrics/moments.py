"""Mean and covariance of features that stream by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.metrics.blocks import in_chunks

Floats = NDArray[np.float64]


class Moments:
    """Count, mean (d,) and scatter (d, d) of rows, in float64; never the rows themselves.

    The scatter is the sum of (x - mean)(x - mean)^T. Batches of any size, in any order, give the same
    moments but for rounding.

    Source: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
    """

    __slots__ = ("count", "mean", "scatter")

    def __init__(self, dimension: int) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(dimension)
        self.scatter: Floats = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, features: ArrayLike) -> Moments:
        """The moments of rows, shape (N, d)."""
        rows = np.asarray(features)
        moments = cls(rows.shape[-1])
        moments.add(rows)
        return moments

    @classmethod
    def merged(cls, parts: Sequence[Moments]) -> Moments:
        """The moments of all rows of ``parts`` together."""
        whole = cls(parts[0].dimension)
        for part in parts:
            whole._combine(part.count, part.mean, part.scatter)
        return whole

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Moments:
        """What ``arrays`` gave."""
        mean = np.asarray(arrays["mean"], dtype=np.float64)
        moments = cls(mean.size)
        moments.count = int(np.asarray(arrays["count"]))
        moments.mean = mean
        moments.scatter = np.asarray(arrays["scatter"], dtype=np.float64)
        return moments

    @property
    def dimension(self) -> int:
        return self.mean.size

    @property
    def covariance(self) -> Floats:
        """The unbiased covariance (d, d), as ``numpy.cov``; ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two rows, got {self.count}")
        return self.scatter / (self.count - 1)

    @property
    def second_moment(self) -> Floats:
        """E[x x^T] over the rows, (d, d)."""
        if self.count < 1:
            raise ValueError("moments of no rows")
        return self.scatter / self.count + np.outer(self.mean, self.mean)

    def add(self, features: ArrayLike) -> None:
        """Take in rows, shape (N, d), widened a few at a time: they may lie on the disk.

        Raises ValueError for another width or values not finite, which leave the moments spoilt.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise ValueError(f"features are (N, {self.dimension}), got shape {rows.shape}")
        for _, part in in_chunks(rows):
            self._take(part.astype(np.float64, copy=False))

    def without(self, part: Moments) -> Moments:
        """The moments of the rows that are not in ``part``, which must be among these."""
        rest = Moments(self.dimension)
        rest.count = self.count - part.count
        if rest.count < 0:
            raise ValueError(f"{part.count} rows can't be taken out of {self.count}")
        if rest.count == 0:
            return rest
        rest.mean = (self.count * self.mean - part.count * part.mean) / rest.count
        apart = part.mean - rest.mean
        shift = rest.count * part.count / self.count
        rest.scatter = self.scatter - part.scatter - shift * np.outer(apart, apart)
        return rest

    def arrays(self) -> dict[str, NDArray[np.float64] | int]:
        """Everything, to be stored; ``from_arrays`` reads it."""
        return {"count": self.count, "mean": self.mean, "scatter": self.scatter}

    def _take(self, rows: Floats) -> None:
        mean = rows.mean(axis=0)
        if not np.isfinite(mean).all():
            raise ValueError("features are finite")
        # the shift between old and new mean counts as one row more, so one product does it all
        total, apart = self.count + len(rows), mean - self.mean
        shift = apart * np.sqrt(self.count * len(rows) / total)
        spread = np.vstack([rows - mean, shift])
        self.scatter += spread.T @ spread
        self.mean = self.mean + apart * (len(rows) / total)
        self.count = total

    def _combine(self, count: int, mean: Floats, scatter: Floats) -> None:
        if count == 0:
            return
        total = self.count + count
        apart = mean - self.mean
        self.scatter += scatter
        if self.count:
            self.scatter += np.outer(apart, apart * (self.count * count / total))
        self.mean = self.mean + apart * (count / total)
        self.count = total
