"""Does the student draw what the teacher draws from the same noise?

Columns with one number an image, teacher first. A student trained by distribution matching may be as good as
its teacher and follow it nowhere; one trained by regression follows it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.metrics.blocks import Floats, feature_rows, same_width
from kdbench.metrics.cmmd import normalised


def psnr(teacher: NDArray[np.uint8], student: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two images of 8 bits and one shape; inf where they are equal.

    10 log10(255^2 / mean squared difference), over all pixels and channels. Raises ValueError for images
    of other shapes or dtypes.
    """
    if teacher.shape != student.shape or teacher.size == 0:
        raise ValueError(f"images of {teacher.shape} and {student.shape} can't be compared")
    if teacher.dtype != np.uint8 or student.dtype != np.uint8:
        raise ValueError(f"images have 8 bits, got {teacher.dtype} and {student.dtype}")
    error = float(np.square(teacher.astype(np.float64) - student).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def feature_cosine(teacher: ArrayLike, student: ArrayLike) -> Floats:
    """Cosine between the features of the same row, (N, d) each, from -1 to 1, shape (N,)."""
    ours = feature_rows(teacher, "teacher features")
    theirs = feature_rows(student, "student features")
    same_width(ours, theirs)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} images can't be paired")
    return np.asarray(np.einsum("ij,ij->i", normalised(ours), normalised(theirs)))
