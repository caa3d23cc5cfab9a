"""A statistic with what it would be without each of several folds of its samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdbench.stats import Estimate
from kdbench.stats.jackknife import jackknife


@dataclass(frozen=True, slots=True)
class Folded:
    """``value`` from all ``n`` samples, and ``without`` each of the G folds in turn, shape (G,).

    Statistics of teacher and student over the same folds (same prompts, same noise) are paired by
    ``minus``. ``clusters`` counts what the folds were made of, where samples share a prompt.
    """

    value: float
    without: NDArray[np.float64]
    n: int
    clusters: int | None = None

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """The value with its delete-a-group jackknife interval."""
        return jackknife(self.value, self.without, self.n, self.clusters, confidence)

    def minus(self, other: Folded) -> Folded:
        """The difference over the same folds; ValueError where samples or folds differ in number."""
        if self.without.size != other.without.size or self.n != other.n:
            raise ValueError(
                f"{self.n} samples in {self.without.size} folds can't be paired with {other.n} "
                f"samples in {other.without.size}"
            )
        apart = self.without - other.without
        return Folded(self.value - other.value, apart, self.n, self.clusters)
