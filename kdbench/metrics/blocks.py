"""Products and distances of many rows with many rows, a strip at a time: never an N x N matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.floating]
S = TypeVar("S", bound=np.generic)

_STRIP = 1 << 24  # numbers held at once, 128 MiB
_COLUMNS = 2048


def feature_rows(features: ArrayLike, name: str, fewest: int = 1) -> Rows:
    """``features`` as they are stored, (N, d); ValueError for another shape or too few rows."""
    rows = np.asarray(features)
    if rows.ndim != 2 or len(rows) < fewest:
        raise ValueError(f"{name} are (N, d) with at least {fewest} rows, got shape {rows.shape}")
    if not np.issubdtype(rows.dtype, np.floating):
        rows = rows.astype(np.float64)
    return rows


def in_chunks(rows: NDArray[S], at_once: int = 4096) -> Iterator[tuple[slice, NDArray[S]]]:
    """Slices of ``rows`` with what they hold, so that a mapped array never lies in memory whole."""
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        yield part, rows[part]


def same_width(first: Rows, second: Rows) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"features of {first.shape[1]} and {second.shape[1]} dimensions can't be compared"
        )


def strips(count: int, width: int) -> Iterator[slice]:
    """Slices of ``count`` rows, each so long that it times ``width`` numbers fit in memory."""
    size = max(1, min(_COLUMNS, _STRIP // max(1, width)))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def products(left: Rows, right: Rows) -> Floats:
    """left @ right^T in float64, (n, m); rows that are stored in less are widened block by block."""
    found = np.empty((len(left), len(right)))
    ours = left.astype(np.float64, copy=False)
    for start in range(0, len(right), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        np.matmul(ours, right[part].astype(np.float64, copy=False).T, out=found[:, part])
    return found


def squared_lengths(rows: Rows) -> Floats:
    """Squared Euclidean length of each row, (N,), in float64."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), _COLUMNS):
        part = rows[start : start + _COLUMNS].astype(np.float64, copy=False)
        found[start : start + _COLUMNS] = np.einsum("ij,ij->i", part, part)
    return found


def squared_distances(
    left: Rows, right: Rows, left_lengths: Floats, right_lengths: Floats
) -> Floats:
    """Squared Euclidean distances (n, m), from ``squared_lengths`` of both; never negative."""
    found = products(left, right)
    found *= -2
    found += left_lengths[:, None]
    found += right_lengths
    return np.maximum(found, 0, out=found)
