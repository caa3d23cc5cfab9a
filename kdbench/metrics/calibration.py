"""Is a choice right as often as its probability says?

Functions on columns of shape (n,): `confidence`, the probability of the choice that was taken, and
`right`, 1 where it was the right one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their size.

    Biased upwards: a perfectly calibrated model has a positive value, the more so the fewer documents.
    Raises ValueError for columns that are empty, unequal, or outside [0, 1].

    Source: Guo et al. (2017), "On calibration of modern neural networks", eq. 3.
    """
    counts, gaps, _ = _binned(confidence, right, bins)
    return float((counts * np.abs(gaps)).sum() / counts.sum())


def debiased_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Root of the mean squared distance in bins of equally many documents, without the bias of binning.

    Each bin's squared distance loses what chance alone would add, accuracy * (1 - accuracy) / (n - 1);
    what is left is cut at 0. Errors as in ``expected_calibration_error``.

    Source: Kumar, Liang & Ma (2019), "Verified uncertainty calibration", NeurIPS, definition 5.1.
    """
    scores, outcomes = _columns(confidence, right)
    order = np.argsort(scores, kind="stable")
    bins = max(1, min(bins, scores.size // 2))
    squares = 0.0
    for members in np.array_split(order, bins):
        accuracy = float(outcomes[members].mean())
        gap = float(scores[members].mean()) - accuracy
        chance = accuracy * (1 - accuracy) / max(1, members.size - 1)
        squares += members.size * (gap * gap - chance)
    return math.sqrt(max(0.0, squares / scores.size))


def brier_score(probabilities: ArrayLike, gold: int) -> float:
    """Squared distance between the probabilities of all choices and the truth, from 0 to 2.

    Source: Brier (1950), "Verification of forecasts expressed in terms of probability".
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    truth = np.zeros_like(shares)
    truth[gold] = 1.0
    return float(((shares - truth) ** 2).sum())


def _binned(confidence: ArrayLike, right: ArrayLike, bins: int) -> tuple[Floats, Floats, Floats]:
    scores, outcomes = _columns(confidence, right)
    # a confidence on a border belongs to the bin below it, as (low, high]
    edges = np.linspace(0, 1, bins + 1)
    codes = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, bins - 1)
    counts = np.bincount(codes, minlength=bins).astype(np.float64)
    gaps = np.bincount(codes, scores - outcomes, bins) / np.maximum(counts, 1)
    return counts, gaps, edges


def _columns(confidence: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    scores = np.asarray(confidence, dtype=np.float64)
    outcomes = np.asarray(right, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or scores.shape != outcomes.shape:
        raise ValueError(
            f"two equal, non-empty columns are needed, got {scores.shape}, {outcomes.shape}"
        )
    for values in (scores, outcomes):
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError("confidences and outcomes lie within [0, 1]")
    return scores, outcomes
