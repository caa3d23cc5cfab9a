"""Places that the data leaves open: ranges of ranks from paired differences.

A student's range is a marginal confidence set for its rank: it is placed behind the students that are
better beyond the interval of their paired difference, before those that are worse, and among the others
anywhere. The comparisons of one student share its error rate (Bonferroni). Source: Mogstad, Romano,
Shaikh & Wilhelm (2024), "Inference for ranks with applications to mobility across neighbourhoods and
academic achievement across countries", Review of Economic Studies 91, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Per-sample scores of S students on the N samples that all of them share.

    `values` has shape (S, N); `clusters` N codes from 0, one per group of samples that share a prompt.
    """

    values: Array
    clusters: npt.NDArray[Any]


def mean_covariance(scores: Scores) -> tuple[Array, Array]:
    """Means (S,) and their cluster-robust covariance (S, S): CR0 with the factor G / (G - 1)."""
    import numpy as np

    values = scores.values
    means = values.mean(axis=1)
    residuals = values - means[:, None]
    n_clusters = int(scores.clusters.max()) + 1
    if n_clusters == values.shape[1]:
        sums = residuals
    else:
        sums = np.stack(
            [np.bincount(scores.clusters, weights=row, minlength=n_clusters) for row in residuals]
        )
    if n_clusters < 2:
        return means, np.full((len(means), len(means)), np.nan)
    factor = n_clusters / (n_clusters - 1) / values.shape[1] ** 2
    return means, factor * (sums @ sums.T)


def macro_average(tasks: Sequence[Scores]) -> tuple[Array, Array]:
    """Mean over tasks of the students' means, and its covariance; tasks are independent."""
    import numpy as np

    parts = [mean_covariance(task) for task in tasks]
    return (
        np.mean([mean for mean, _ in parts], axis=0),
        np.sum([covariance for _, covariance in parts], axis=0) / len(parts) ** 2,
    )


def rank_ranges(
    means: Array, covariance: Array, confidence: float, better: str = "higher"
) -> list[tuple[int, int]]:
    """First and last rank of each student that the data leaves open, 1 being best.

    Each range holds the student's true rank with probability `confidence` or more. A covariance of nan
    leaves every place open.
    """
    import numpy as np
    from scipy.special import ndtri

    count = len(means)
    if count == 1:
        return [(1, 1)]
    sign = 1.0 if better == "higher" else -1.0
    difference = sign * (means[:, None] - means[None, :])
    variance = np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance
    z = float(ndtri(1 - (1 - confidence) / (count - 1) / 2))
    width = z * np.sqrt(np.maximum(variance, 0.0))
    # equal answers on every sample have no spread and no difference: neither is better
    ahead = np.where(np.isnan(width), False, (difference > width) & (difference > 1e-12))
    behind = ahead.T
    return [(1 + int(behind[i].sum()), count - int(ahead[i].sum())) for i in range(count)]
