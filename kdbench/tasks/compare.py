"""Student against teacher on the same samples: what a pair's rows say about one metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from kdbench.results.sample import Sample
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    from kdbench.stats import Estimate

PAIR_METRICS = {
    "retention": "student / teacher on the same samples (ratio)",
    "gap": "student - teacher on the same samples (unit of METRIC)",
    "ratio": "student / teacher of a perplexity or of a count (ratio)",
    "p": "two-sided paired test: exact McNemar, or sign flips over clusters (p-value)",
    "lost": "samples that the teacher gets right and the student wrong (fraction)",
    "gained": "samples that the teacher gets wrong and the student right (fraction)",
    "gain_over_baseline": "student - the baseline trained without distillation (unit of METRIC)",
    "gain_over[STUDENT]": "student - another of the same teacher, in tasks on pairs (unit of METRIC)",
}
"""What pairs add to a metric of their models, for listing."""

TIMED = (
    "p50", "p90", "p95", "p99", "pooled_p90", "pooled_p95", "pooled_p99", "median_ratio", "noise",
    "outliers",
)  # fmt: skip
"""Aggregations of timings, which are compared within rounds or not at all."""

LOG_LIKELIHOODS = ("perplexity", "weighted_perplexity", "bits_per_byte")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its name, unit and direction; without an estimate it carries the reason."""

    metric: str
    unit: str
    better: Literal["higher", "lower"]
    estimate: Estimate | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """Samples of two models that answer the same questions, in one order."""

    first: list[Sample]
    second: list[Sample]
    only_first: int
    only_second: int

    @property
    def clusters(self) -> list[str]:
        return [sample.cluster for sample in self.first]

    @property
    def unmatched(self) -> str:
        """Empty where everything matched, else what did not, in words."""
        if not (self.only_first or self.only_second):
            return ""
        return (
            f"unmatched samples: {self.only_first} of the first, {self.only_second} of the second"
        )

    def scored(self, metric: str) -> Joined:
        """Only samples that have a score of `metric` on both sides; some are not scored at all."""
        both = [
            (one, other)
            for one, other in zip(self.first, self.second, strict=True)
            if metric in one.scores and metric in other.scores
        ]
        return replace(self, first=[one for one, _ in both], second=[other for _, other in both])


def join(first: Sequence[Sample], second: Sequence[Sample]) -> Joined:
    """Match samples by the hash of what was asked, keeping the first one's order."""
    by_id = {sample.id: sample for sample in second}
    both = [(sample, by_id[sample.id]) for sample in first if sample.id in by_id]
    return Joined(
        [one for one, _ in both],
        [other for _, other in both],
        only_first=len(first) - len(both),
        only_second=len(second) - len(both),
    )


def against_teacher(metric: Metric, pair: Joined, confidence: float) -> list[Measurement]:
    """Retention, gap, paired test and flips of a student (second) against its teacher (first).

    Means of scores get all of them (flips where scores are 0 or 1); perplexities get the ratio of
    student to teacher, bits per byte and calibration errors the gap, means of strata gap and retention; other
    aggregations have no paired form and say so.
    """
    from kdbench import stats

    name = metric.name
    pair = pair.scored(name)
    if not pair.first:
        reason = "teacher and student share no sample (their prompts or documents differ)"
        return [Measurement(f"{name}.gap", metric.unit, metric.better, None, reason)]
    if not all(map(math.isfinite, _numbers(metric, [*pair.first, *pair.second]))):
        reason = "a score is not finite, so a difference of means says nothing"
        return [Measurement(f"{name}.gap", metric.unit, metric.better, None, reason)]
    if metric.aggregation in LOG_LIKELIHOODS:
        return _likelihood_ratio(metric, pair, confidence)
    if metric.aggregation == "exact":
        return _exact_ratio(metric, pair)
    if metric.aggregation in TIMED:
        return []  # timings of two cells are not of the same rounds: nothing is paired
    if metric.aggregation == "mean_of_strata":
        return _of_strata(metric, pair, confidence)
    if metric.aggregation == "calibration_error":
        return _calibration_gap(metric, pair, confidence)
    if metric.aggregation != "mean":
        reason = f"the aggregation {metric.aggregation!r} has no paired form"
        return [Measurement(f"{name}.gap", metric.unit, metric.better, None, reason)]

    teacher, student = _values(metric, pair.first), _values(metric, pair.second)
    clusters, note = pair.clusters, pair.unmatched
    gap = stats.difference(student, teacher, clusters, confidence=confidence)
    found = [Measurement(f"{name}.gap", metric.unit, metric.better, gap, note)]
    if metric.better == "higher":
        kept = stats.retention(student, teacher, clusters, confidence=confidence)
        found.append(Measurement(f"{name}.retention", "ratio", "higher", kept, note))
    found.append(
        Measurement(f"{name}.p", "p-value", "higher", _test(student, teacher, clusters), note)
    )
    if _binary(teacher) and _binary(student):
        lost = [float(t > s) for t, s in zip(teacher, student, strict=True)]
        gained = [float(s > t) for t, s in zip(teacher, student, strict=True)]
        share = stats.mean(lost, clusters, confidence=confidence)
        found.append(Measurement(f"{name}.lost", "fraction", "lower", share, note))
        share = stats.mean(gained, clusters, confidence=confidence)
        found.append(Measurement(f"{name}.gained", "fraction", "higher", share, note))
    return found


def apart_by_folds(
    metric: Metric,
    teacher: Mapping[str, Any],
    student: Mapping[str, Any],
    note: str,
    confidence: float,
) -> list[Measurement]:
    """Gap, and retention where higher is better, of a number of a whole set over the same folds."""
    from kdbench.tasks.summaries import paired

    asked = [(f"{metric.name}.gap", metric.unit, metric.better, False)]
    if metric.better == "higher":
        asked.append((f"{metric.name}.retention", "ratio", metric.better, True))
    found = []
    for name, unit, better, ratio in asked:
        one = paired(teacher, student, confidence, ratio)
        if isinstance(one, str):
            found.append(Measurement(name, unit, better, None, one))
        else:
            found.append(Measurement(name, unit, better, one, note))
    return found


def against_baseline(metric: Metric, pair: Joined, confidence: float) -> list[Measurement]:
    """What distillation gained: student (second) minus the baseline trained without it (first)."""
    from kdbench import stats

    pair = pair.scored(metric.name)
    numbers = _numbers(metric, [*pair.first, *pair.second])
    if metric.aggregation != "mean" or not numbers or not all(map(math.isfinite, numbers)):
        return []
    baseline, student = _values(metric, pair.first), _values(metric, pair.second)
    gain = stats.difference(student, baseline, pair.clusters, confidence=confidence)
    p_value = _test(student, baseline, pair.clusters)
    name, note = f"{metric.name}.gain_over_baseline", pair.unmatched
    return [
        Measurement(name, metric.unit, metric.better, gain, note),
        Measurement(f"{name}.p", "p-value", "higher", p_value, note),
    ]


def _exact_ratio(metric: Metric, pair: Joined) -> list[Measurement]:
    """What is counted (parameters, FLOPs) has a ratio without uncertainty."""
    from kdbench import stats

    teacher, student = _values(metric, pair.first)[0], _values(metric, pair.second)[0]
    if teacher == 0:
        return []
    ratio = student / teacher
    n = len(pair.first)
    found = stats.Estimate(ratio, ratio, ratio, "counted", n, n)
    return [Measurement(f"{metric.name}.ratio", "ratio", metric.better, found)]


def against_student(
    metric: Metric, pair: Joined, confidence: float, name: str
) -> list[Measurement]:
    """A student (second) minus another of the same teacher (first), in a metric that a pair has.

    `name` says over what it gains. Ratios of sums alone have this form; others give nothing.
    """
    from kdbench import stats

    pair = pair.scored(metric.name)
    if metric.aggregation != "weighted_mean" or not pair.first:
        return []
    other, own = (
        ([s.scores[metric.name][0] for s in side], [s.scores[metric.name][1] for s in side])
        for side in (pair.first, pair.second)
    )
    gain = stats.difference_of_ratios(own, other, pair.clusters, confidence=confidence)
    full = f"{metric.name}.{name}"
    return [Measurement(full, metric.unit, metric.better, gain, pair.unmatched)]


def _likelihood_ratio(metric: Metric, pair: Joined, confidence: float) -> list[Measurement]:
    from kdbench import stats

    if metric.aggregation == "perplexity":
        nats = [
            t.scores[metric.name] - s.scores[metric.name]
            for t, s in zip(pair.first, pair.second, strict=True)
        ]
        loss = stats.mean(nats, pair.clusters, confidence=confidence)
    else:
        rows = [
            (t.scores[metric.name], s.scores[metric.name])
            for t, s in zip(pair.first, pair.second, strict=True)
        ]
        loss = stats.ratio_of_sums(
            [t[0] - s[0] for t, s in rows],
            [t[1] for t, _ in rows],
            pair.clusters,
            confidence=confidence,
        )
    if metric.aggregation == "bits_per_byte":
        gap = _map(loss, lambda nats: nats / math.log(2))
        return [Measurement(f"{metric.name}.gap", metric.unit, "lower", gap, pair.unmatched)]
    ratio = _map(loss, math.exp)
    return [Measurement(f"{metric.name}.ratio", "ratio", "lower", ratio, pair.unmatched)]


def _calibration_gap(metric: Metric, pair: Joined, confidence: float) -> list[Measurement]:
    from kdbench.tasks.aggregate import calibration_gap

    teacher, student = (
        [sample.scores[metric.name] for sample in side] for side in (pair.first, pair.second)
    )
    gap = calibration_gap(teacher, student, pair.clusters, confidence)
    return [Measurement(f"{metric.name}.gap", metric.unit, metric.better, gap, pair.unmatched)]


def _of_strata(metric: Metric, pair: Joined, confidence: float) -> list[Measurement]:
    from kdbench import stats

    name, clusters, note = metric.name, pair.clusters, pair.unmatched
    strata = [sample.scores[name][0] for sample in pair.first]
    teacher, student = (
        [float(sample.scores[name][1]) for sample in side] for side in (pair.first, pair.second)
    )
    differences = [s - t for s, t in zip(student, teacher, strict=True)]
    gap = stats.mean_of_strata(differences, strata, clusters, confidence)
    gap = replace(gap, method=f"{gap.method}, paired")
    kept = stats.retention_of_strata(student, teacher, strata, clusters, confidence)
    return [
        Measurement(f"{name}.gap", metric.unit, metric.better, gap, note),
        Measurement(f"{name}.retention", "ratio", "higher", kept, note),
    ]


def _map(estimate: Estimate, function: Callable[[float], float]) -> Estimate:
    return replace(
        estimate,
        value=function(estimate.value),
        low=function(estimate.low),
        high=function(estimate.high),
        method=f"{estimate.method}, paired",
    )


def _test(student: list[float], teacher: list[float], clusters: list[str]) -> Estimate:
    """Two-sided paired test: exact McNemar, or sign flips over clusters where McNemar doesn't hold."""
    from kdbench import stats

    n, groups = len(student), len(set(clusters))
    if groups == n and _binary(student) and _binary(teacher):
        lost = sum(t > s for t, s in zip(teacher, student, strict=True))
        gained = sum(s > t for t, s in zip(teacher, student, strict=True))
        p_value, method = stats.mcnemar(lost, gained), "exact McNemar"
    else:
        differences = [s - t for s, t in zip(student, teacher, strict=True)]
        p_value = stats.permutation_test(differences, clusters)
        method = "sign-flip permutation over clusters" if groups < n else "sign-flip permutation"
    return stats.Estimate(p_value, math.nan, math.nan, method, n, groups)


def _values(metric: Metric, samples: Sequence[Sample]) -> list[float]:
    return [float(sample.scores[metric.name]) for sample in samples]


def _numbers(metric: Metric, samples: Sequence[Sample]) -> list[float]:
    """Every number of the samples' scores, lists taken apart."""
    found: list[float] = []
    for sample in samples:
        score = sample.scores[metric.name]
        parts = score if isinstance(score, list) else [score]
        found += [part for part in parts if isinstance(part, (int, float))]
    return found


def _binary(values: Sequence[float]) -> bool:
    return all(value in (0.0, 1.0) for value in values)
