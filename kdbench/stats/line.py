"""A straight line against 1/N: what a biased statistic would be of infinitely many samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Line:
    """Least squares through ``values`` (P,) of a statistic at ``sizes`` (P,) samples, against 1/size.

    ``height`` is what it has at 1/N = 0, with its standard ``error`` from the points' scatter around the
    line and that scatter's ``degrees`` of freedom. Raises ValueError for fewer than 3 points.
    """

    sizes: NDArray[np.intp]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.sizes.size < 3 or self.sizes.shape != self.values.shape:
            raise ValueError(
                f"a line with an error needs at least 3 points, got {self.sizes.size} sizes and "
                f"{self.values.size} values"
            )

    def minus(self, other: Line) -> Line:
        """The line of the differences; ValueError where sizes differ."""
        if not np.array_equal(self.sizes, other.sizes):
            raise ValueError("lines through other sizes have no difference")
        return Line(self.sizes, self.values - other.values)

    @property
    def slope(self) -> float:
        return float(self._spread @ self.values) / self._squares

    @property
    def height(self) -> float:
        return float(self.values.mean()) - self.slope * float(self._inverse.mean())

    @property
    def error(self) -> float:
        residuals = self.values - self.height - self.slope * self._inverse
        noise = float(residuals @ residuals) / self.degrees
        lever = 1 / self.sizes.size + float(self._inverse.mean()) ** 2 / self._squares
        return float(np.sqrt(noise * lever))

    @property
    def degrees(self) -> int:
        return self.sizes.size - 2

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        return np.asarray(1 / self.sizes, dtype=np.float64)

    @property
    def _spread(self) -> NDArray[np.float64]:
        return np.asarray(self._inverse - self._inverse.mean())

    @property
    def _squares(self) -> float:
        return float(self._spread @ self._spread)
