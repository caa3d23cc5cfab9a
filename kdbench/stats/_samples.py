"""Checked sample columns and the clusters they fall into."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which of ``count`` clusters each sample belongs to, as codes 0 .. count-1."""

    codes: NDArray[np.intp]
    count: int

    @property
    def singletons(self) -> bool:
        """Every sample is its own cluster, so clustering changes nothing."""
        return self.count == self.codes.size

    @property
    def lone(self) -> bool:
        """All samples, and more than one, share a single cluster: nothing to compare it with."""
        return self.count == 1 and not self.singletons

    def named(self, method: str) -> str:
        """``method`` as an estimate from these clusters names it."""
        return method if self.singletons else f"{method} (clustered)"

    def sizes(self) -> Floats:
        """Number of samples in each cluster, shape (count,)."""
        return np.bincount(self.codes, minlength=self.count).astype(np.float64)

    def sums(self, values: Floats) -> Floats:
        """Sum of ``values``, shape (n,), within each cluster, shape (count,)."""
        if self.singletons:
            return values
        return np.bincount(self.codes, values, self.count).astype(np.float64, copy=False)


def column(values: ArrayLike, name: str) -> Floats:
    """``values`` as a non-empty, finite vector; ValueError otherwise."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite: settle failed samples before estimating")
    return array


def paired_columns(
    first: ArrayLike, second: ArrayLike, first_name: str, second_name: str
) -> tuple[Floats, Floats]:
    """Two columns over the same samples; ValueError when their lengths differ."""
    one, two = column(first, first_name), column(second, second_name)
    if one.size != two.size:
        raise ValueError(
            f"{first_name} and {second_name} must cover the same samples, "
            f"got {one.size} and {two.size}"
        )
    return one, two


def is_binary(values: Floats) -> bool:
    """Every value is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def clusters_of(labels: Labels | None, n: int) -> Clusters:
    """Clusters named by ``labels`` (any hashable labels), or one per sample without labels.

    ValueError when there is not one label per sample, TypeError for labels that do not hash.
    """
    if labels is None:
        return Clusters(np.arange(n), n)
    if len(labels) != n:
        raise ValueError(f"clusters must label all {n} samples, got {len(labels)} labels")
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype != object:
        _, codes = np.unique(labels, return_inverse=True)
        return Clusters(codes, int(codes.max()) + 1)
    seen: dict[Any, int] = {}
    codes = np.fromiter((seen.setdefault(label, len(seen)) for label in labels), np.intp, n)
    return Clusters(codes, len(seen))
