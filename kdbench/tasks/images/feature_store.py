"""Features of images on disk, one row each: too many for memory, and there again after a crash.

    <cell>/artifacts/<encoder>.f32      rows of float32, by the image's place in the task
    <cell>/artifacts/<encoder>.rows     one byte an image: is its row whole?

Rows reach the disk before the samples that they belong to, so a committed sample always has its features,
and a block that was cut off is written again in the same places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import TaskError
from kdbench.results.files import writing

Features = NDArray[np.float32]


class FeatureStore:
    """The rows of one encoder in one cell."""

    def __init__(self, folder: Path, encoder: str, dimension: int) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", encoder)
        self.dimension = dimension
        self._rows = folder / f"{name}.f32"
        self._marks = folder / f"{name}.rows"

    def write(self, places: Sequence[int], features: Features) -> None:
        """Rows (N, dimension) at `places`, on the disk when this returns; `StoreError` where it is full."""
        width = 4 * self.dimension
        rows = np.ascontiguousarray(features, dtype="<f4")
        if rows.shape != (len(places), self.dimension):
            raise ValueError(f"{len(places)} rows of {self.dimension}, got {rows.shape}")
        with writing(self._rows):
            self._rows.parent.mkdir(parents=True, exist_ok=True)
            with _open(self._rows) as file:
                for place, row in zip(places, rows, strict=True):
                    os.pwrite(file.fileno(), row.tobytes(), place * width)
                os.fsync(file.fileno())
            with _open(self._marks) as file:
                for place in places:
                    os.pwrite(file.fileno(), b"\x01", place)
                os.fsync(file.fileno())

    def read(self, places: Sequence[int]) -> Features:
        """Rows of `places` (N, dimension), mapped from disk where they are the first N.

        Raises `TaskError` where one is missing, which takes someone who deleted files.
        """
        count = max(places, default=-1) + 1
        marks = np.fromfile(self._marks, dtype=np.uint8) if self._marks.is_file() else np.empty(0)
        whole = len(marks) >= count and bool(marks[np.asarray(places, dtype=np.intp)].all())
        size = 4 * self.dimension * count
        if not whole or not self._rows.is_file() or self._rows.stat().st_size < size:
            raise TaskError(
                f"{self._rows}: features of measured images are missing; delete {self._rows.parent.parent} "
                "and run again: only this cell is measured anew"
            )
        mapped = np.memmap(self._rows, dtype="<f4", mode="r", shape=(count, self.dimension))
        contiguous = len(places) == count and list(places) == list(range(count))
        return mapped if contiguous else mapped[np.asarray(places, dtype=np.intp)]

    def stored(self) -> list[int]:
        """Places whose rows are whole."""
        if not self._marks.is_file():
            return []
        return np.flatnonzero(np.fromfile(self._marks, dtype=np.uint8)).tolist()


def _open(path: Path):  # type: ignore[no-untyped-def]
    """For writing in the middle, made where it is not there."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
