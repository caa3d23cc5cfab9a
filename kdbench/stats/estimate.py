"""The one shape in which every interval of this package is returned."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its confidence interval.

    ``value``, ``low`` and ``high`` share the unit of the data. The bounds are nan when the data
    carry no interval (one sample, one cluster, too few samples for a percentile) and infinite
    when a ratio's denominator cannot be told from zero; ``method`` then says so. ``n`` counts
    samples, ``n_clusters`` the independent groups they fall into (``n`` when there are none).
    """

    value: float
    low: float
    high: float
    method: str
    n: int
    n_clusters: int
