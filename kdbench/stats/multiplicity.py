"""Adjusted p-values for many comparisons reported side by side."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.stats._samples import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values, shape (m,), in the order given.

    Rejecting where they are at most alpha keeps the chance of any false rejection at alpha,
    whatever the dependence. Raises ValueError for p-values outside [0, 1] or nan.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J.
    Statistics 6.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return _restored(stepped, order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p-values, shape (m,), in the order given.

    Rejecting where they are at most alpha keeps the expected share of false rejections at alpha
    for independent or positively dependent tests. Raises ValueError as ``holm`` does.

    Source: Benjamini & Hochberg (1995), JRSS B 57.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    return _restored(stepped, order)


def _checked(p_values: ArrayLike) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p_values must be a vector of numbers between 0 and 1")
    return p


def _restored(stepped: Floats, order: NDArray[np.intp]) -> Floats:
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
