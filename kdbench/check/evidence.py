"""Evidence for a gate: an interval at any confidence, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from kdbench.check.published import Answers
from kdbench.errors import SettingsConflictError
from kdbench.results.sample import Sample
from kdbench.tasks.compare import TIMED
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdbench.stats import Estimate

LEAST_OVERLAP = 0.9
"""Of the samples that either side has, so many must be shared, else a pair is no pair."""


@dataclass(frozen=True)
class Evidence:
    """`estimate(confidence)` is the number with its interval, in `unit`; flips are None where scores
    are not right or wrong."""

    estimate: Callable[[float], Estimate]
    unit: str
    better: str
    matched: int = 0
    unmatched: tuple[str, ...] = ()
    lost: int | None = None
    gained: int | None = None


@dataclass(frozen=True)
class Missing:
    """There is no evidence, and why."""

    reason: str


@dataclass(frozen=True)
class Joined:
    """Two models' scores of one metric on the samples that both have, in one order."""

    ids: npt.NDArray[Any]
    clusters: npt.NDArray[Any] | None
    first: npt.NDArray[Any]
    second: npt.NDArray[Any]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    places: npt.NDArray[Any] | None = None
    """Where samples stand in the random order in which they came, in runs that stop early."""
    largest: int = 1

    @property
    def alike(self) -> bool:
        """Every score is the same, and none is on one side only."""
        return not (self.only_first or self.only_second) and bool((self.first == self.second).all())

    @property
    def overlap(self) -> float:
        total = len(self.ids) + len(self.only_first) + len(self.only_second)
        return len(self.ids) / total if total else 0.0


def join(first: Answers, second: Answers) -> Joined:
    """Match by the hash of what was asked, as far as both went in random order; clusters are None where
    every sample is its own."""
    import numpy as np

    share = min(first.share, second.share)
    first, second = first.within(share), second.within(share)
    ids, mine, theirs = np.intersect1d(first.ids, second.ids, return_indices=True)
    names, codes = np.unique(first.clusters[mine], return_inverse=True)
    return Joined(
        ids,
        None if len(names) == len(ids) else codes,
        first.scores[mine],
        second.scores[theirs],
        tuple(i.decode() for i in np.setdiff1d(first.ids, second.ids)),
        tuple(i.decode() for i in np.setdiff1d(second.ids, first.ids)),
        None if second.places is None else second.places[theirs],
        max(first.largest, second.largest),
    )


def paired(metric: Metric, kind: str, names: tuple[str, str], joined: Joined) -> Evidence | Missing:
    """Second against first (student against teacher, or now against before).

    `kind` is "retention", "gap", "lost", "gained" or "ratio". Raises `SettingsConflictError` for scores
    that carry no interval: nan, infinite, or a single sample.
    """
    first, second = names
    if joined.overlap < LEAST_OVERLAP:
        apart = [*joined.only_first, *joined.only_second]
        return Missing(
            f"{first} and {second} share {len(joined.ids)} of "
            f"{len(joined.ids) + len(apart)} samples, less than {LEAST_OVERLAP:.0%}: "
            f"{len(joined.only_first)} only of {first}, {len(joined.only_second)} only of {second} "
            f"({', '.join(apart[:3])}{', ...' if len(apart) > 3 else ''})"
        )
    if metric.aggregation in TIMED:
        return Missing(
            f"{metric.name} of {first} and {second} was not timed in the same rounds, so it has no {kind}; "
            "bound an interleaved ratio instead (speedup)"
        )
    _check(metric, joined)
    if not len(joined.ids):
        return Missing(f"{first} and {second} share no sample yet")
    unmatched = (*joined.only_first, *joined.only_second)
    if metric.aggregation == "weighted_mean" and kind == "gap":
        return _of_ratios(metric, joined, unmatched)
    if metric.aggregation != "mean":
        return _by_likelihood(metric, kind, joined, unmatched)
    return _of_means(metric, kind, joined, unmatched)


def unchanged(metric: Metric, kind: str, n: int) -> Evidence:
    """A cell against itself: everything that could change an answer is the same, and so is every score."""
    from kdbench.stats import Estimate

    value = 1.0 if kind in ("ratio", "retention") else 0.0
    same = Estimate(value, value, value, "the same cell", n, n)
    unit = "ratio" if value else metric.unit
    return Evidence(lambda confidence: same, unit, metric.better, n)


def _check(metric: Metric, joined: Joined) -> None:
    bad = _not_finite(joined.first) + _not_finite(joined.second)
    if bad:
        raise SettingsConflictError(
            f"{bad} scores of {metric.name} are nan or infinite; a gate on them says nothing"
        )
    if len(joined.ids) < 2 and joined.places is None and metric.aggregation != "exact":
        raise SettingsConflictError(
            f"{metric.name} has {len(joined.ids)} sample(s) on both sides, which carries no "
            "interval; measure more documents"
        )


_UNBOUNDED = (
    "{metric} calls itself a fraction, but has scores outside of 0 to 1; without bounds no interval "
    "holds at any time"
)


def bounded(metric: Metric) -> bool:
    """Whether a metric's scores lie within 0 and 1, so that gates on it can be decided at any time."""
    return metric.unit == "fraction" and metric.aggregation == "mean"


def _within_bounds(*columns: npt.NDArray[Any]) -> bool:
    return all(bool(((scores >= 0) & (scores <= 1)).all()) for scores in columns)


def _not_finite(scores: npt.NDArray[Any]) -> int:
    import numpy as np

    if scores.dtype != object:
        return int((~np.isfinite(scores)).sum())
    return sum(not math.isfinite(x) for score in scores for x in _numbers(score))


def _numbers(score: Any) -> list[float]:
    parts = score if isinstance(score, list) else [score]
    return [float(part) for part in parts if isinstance(part, (int, float))]


def _of_means(
    metric: Metric, kind: str, joined: Joined, unmatched: tuple[str, ...]
) -> Evidence | Missing:
    import numpy as np

    from kdbench import stats
    from kdbench.stats import sequential

    one, other = joined.first.astype(float), joined.second.astype(float)
    binary = bool(np.isin(one, (0, 1)).all() and np.isin(other, (0, 1)).all())
    lost, gained = (
        (one > other, other > one) if metric.better == "higher" else (other > one, one > other)
    )
    clusters = joined.clusters
    flipped = (lost if kind == "lost" else gained).astype(float)

    def fixed(confidence: float) -> Estimate:
        if kind == "gap":
            return stats.difference(other, one, clusters, confidence=confidence)
        if kind == "retention":
            return stats.retention(other, one, clusters, confidence=confidence)
        return stats.mean(flipped, clusters, confidence=confidence)

    places, largest = joined.places, joined.largest

    def anytime(confidence: float) -> Estimate:
        assert places is not None
        if kind == "gap":
            return sequential.difference(other, one, places, clusters, largest, confidence)
        if kind == "retention":
            return sequential.retention(other, one, places, clusters, largest, confidence)
        return sequential.mean(flipped, places, clusters, largest, confidence)

    if kind not in ("gap", "retention", "lost", "gained") or (
        kind in ("lost", "gained") and not binary
    ):
        return Missing(f"{metric.name} has no {kind}")
    early = places is not None and bounded(metric)
    if early and not _within_bounds(one, other):
        return Missing(_UNBOUNDED.format(metric=metric.name))
    unit, better = {
        "retention": ("ratio", "higher"),
        "lost": ("fraction", "lower"),
        "gained": ("fraction", "higher"),
    }.get(kind, (metric.unit, metric.better))
    return Evidence(
        lru_cache(maxsize=None)(anytime if early else fixed), unit, better, len(joined.ids), unmatched,
        int(lost.sum()) if binary else None, int(gained.sum()) if binary else None,
    )  # fmt: skip


def _of_ratios(metric: Metric, joined: Joined, unmatched: tuple[str, ...]) -> Evidence:
    """The difference of two ratios of sums, of [numerator, denominator]."""
    from kdbench import stats

    def columns(scores: npt.NDArray[Any]) -> tuple[list[float], list[float]]:
        tops, bottoms = zip(*scores.tolist(), strict=True)
        return list(tops), list(bottoms)

    first, second = columns(joined.first), columns(joined.second)

    @cache
    def estimate(confidence: float) -> Estimate:
        return stats.difference_of_ratios(second, first, joined.clusters, confidence)

    return Evidence(estimate, metric.unit, metric.better, len(joined.ids), unmatched)


def _by_likelihood(
    metric: Metric, kind: str, joined: Joined, unmatched: tuple[str, ...]
) -> Evidence | Missing:
    """Perplexities and bits per byte, through the pair rows' own formulas."""
    from kdbench.tasks.compare import Joined as Samples
    from kdbench.tasks.compare import against_teacher

    clusters = range(len(joined.ids)) if joined.clusters is None else joined.clusters.tolist()

    def samples(scores: npt.NDArray[Any]) -> list[Sample]:
        return [
            Sample(str(i), i, str(cluster), {metric.name: score})
            for i, (cluster, score) in enumerate(zip(clusters, scores.tolist(), strict=True))
        ]

    both = Samples(samples(joined.first), samples(joined.second), 0, 0)

    def measured(confidence: float) -> Any:
        found = {m.metric: m for m in against_teacher(metric, both, confidence)}
        return found.get(f"{metric.name}.{kind}")

    first = measured(0.95)
    if first is None or first.estimate is None:
        return Missing(f"{metric.name} has no {kind}" + (f": {first.reason}" if first else ""))

    @cache
    def estimate(confidence: float) -> Estimate:
        found: Estimate = measured(confidence).estimate
        return found

    return Evidence(estimate, first.unit, first.better, len(joined.ids), unmatched)


def alone(metric: Metric, answers: Answers) -> Evidence | Missing:
    """A model's, or a pair's, own number."""
    import numpy as np

    from kdbench.stats import sequential
    from kdbench.tasks.aggregate import aggregate

    names, codes = np.unique(answers.clusters, return_inverse=True)
    clusters = None if len(names) == len(codes) else codes.tolist()
    if metric.aggregation == "mean" and len(answers.scores) < 2 and answers.places is None:
        raise SettingsConflictError(
            f"{metric.name} has {len(answers.scores)} sample(s), which carries no interval; "
            "measure more documents"
        )
    if _not_finite(answers.scores):
        raise SettingsConflictError(
            f"scores of {metric.name} are nan or infinite; a gate on them says nothing"
        )

    places, early = answers.places, answers.places is not None and bounded(metric)
    if early and not _within_bounds(answers.scores):
        return Missing(_UNBOUNDED.format(metric=metric.name))
    scores = answers.scores.tolist()

    @cache
    def estimate(confidence: float) -> Estimate:
        if early and places is not None:
            return sequential.mean(scores, places, clusters, answers.largest, confidence)
        return aggregate(metric.aggregation, scores, clusters, confidence)

    return Evidence(estimate, metric.unit, metric.better, len(answers.scores))


def stated(
    value: float, low: float, high: float, n: int, at: float, unit: str, better: str
) -> Evidence:
    """A number that the table holds with its interval at confidence `at` and no samples behind it.

    Other confidences stretch the interval as if it were normal.
    """
    from statistics import NormalDist

    from kdbench.stats import Estimate

    own = NormalDist().inv_cdf((1 + at) / 2)

    def estimate(confidence: float) -> Estimate:
        stretch = NormalDist().inv_cdf((1 + confidence) / 2) / own
        return Estimate(
            value, value - (value - low) * stretch, value + (high - value) * stretch, "as stored",
            n, n,
        )  # fmt: skip

    return Evidence(estimate, unit, better, n)
