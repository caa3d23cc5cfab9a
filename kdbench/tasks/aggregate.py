"""From per-sample scores to one number with its interval, by the name of the aggregation.

The names and the values are lm-eval's, so that a table can be recomputed from stored samples
without it; the intervals are ours, and know of clusters. `weighted_mean`, `share`, `calibration_error`,
`mean_of_strata`, `any_of_cluster` and those of timings (`median_ratio`, `p50` ... `p99`, `pooled_p90` ...
`pooled_p99`, `noise`, `outliers`, `exact`) are our own. Each score is a number, or for some aggregations a
short list: `weighted_perplexity` and `bits_per_byte` take [log-likelihood in nats, weight], `weighted_mean`
[sum, weight], `share` [count, of how many], `calibration_error` [confidence, 0 or 1], `mean_of_strata`
[stratum, number], `median_ratio` [numerator, denominator], the other ones of timings a round's calls, `f1`,
`matthews_corrcoef` and `brier_score` take [truth, prediction], `bleu`, `chrf` and `ter` take [reference or
references, hypothesis].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdbench.errors import TaskError, did_you_mean
from kdbench.tasks.speculative import numbers

if TYPE_CHECKING:
    from kdbench.stats import Estimate

OWN = "own"
"""The aggregation of a metric that only the task's own code can compute (`ModelTask.summarise`)."""

REPLICATES = 1000
SEED = 0
GROUPS = 50

Scores = Sequence[Any]
Labels = Sequence[Any] | None


def aggregate(
    name: str, scores: Scores, clusters: Labels = None, confidence: float = 0.95
) -> Estimate:
    """The number that `scores` make under the aggregation `name`, in the metric's unit.

    `clusters` labels the samples that are not independent of each other. Scores that are not finite
    (a log-probability of -inf) leave the value as it comes out and the bounds nan. Raises
    `TaskError` for an unknown name, no scores, or scores of the wrong form.
    """
    function = _AGGREGATIONS.get(name)
    if function is None:
        raise TaskError(
            f"no aggregation named {name!r}{did_you_mean(name, known())}; "
            f"known: {', '.join(known())}"
        )
    if not len(scores):
        raise TaskError(f"the aggregation {name!r} has no scores to work on")
    try:
        return function(scores, clusters, confidence)
    except (TypeError, ValueError, IndexError) as error:
        raise TaskError(
            f"the aggregation {name!r} can't use these scores (the first is {scores[0]!r}): {error}"
        ) from error


def known() -> list[str]:
    """Names that `aggregate` takes, sorted."""
    return sorted(_AGGREGATIONS)


def resampled(
    statistic: Callable[[list[Any]], float],
    scores: Scores,
    clusters: Labels = None,
    confidence: float = 0.95,
    replicates: int = 200,
    seed: int = SEED,
) -> Estimate:
    """Percentile interval of any statistic of a list of scores, from resampled whole clusters.

    For statistics that are no function of sums; one call of `statistic` per replicate, so keep
    `replicates` small. The same seed gives the same interval. One cluster has no interval.

    Source: Davison & Hinkley (1997), Bootstrap Methods and their Application, 3.8.
    """
    import numpy as np

    from kdbench.stats import Estimate

    members: dict[Any, list[Any]] = {}
    labels = range(len(scores)) if clusters is None else clusters
    for label, score in zip(labels, scores, strict=True):
        members.setdefault(label, []).append(score)
    groups = list(members.values())
    value = float(statistic(list(scores)))
    if len(groups) == 1:
        return Estimate(value, math.nan, math.nan, "undefined (one cluster)", len(scores), 1)
    draws = np.random.default_rng(seed).integers(0, len(groups), (replicates, len(groups)))
    values = [statistic([score for index in draw for score in groups[index]]) for draw in draws]
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(values, [tail, 1 - tail]))
    method = f"percentile bootstrap ({replicates}, seed {seed})"
    return Estimate(value, low, high, method, len(scores), len(groups))


def jackknifed(
    statistic: Callable[[list[Any]], float],
    scores: Scores,
    clusters: Labels = None,
    confidence: float = 0.95,
    groups: int = GROUPS,
) -> Estimate:
    """t interval, not below 0, of a statistic that is never negative, from leaving out groups of clusters.

    Clusters fall into `groups` groups by a seeded draw. Fewer than two clusters have no interval.

    Source: Shao & Tu (1995), The Jackknife and Bootstrap, 5.1 (grouped jackknife).
    """
    found = _jackknifed(statistic, scores, clusters, confidence, groups)
    return replace(found, low=max(0.0, found.low))


def _jackknifed(
    statistic: Callable[[list[Any]], float],
    scores: Scores,
    clusters: Labels,
    confidence: float,
    groups: int,
) -> Estimate:
    from kdbench.stats import Estimate
    from kdbench.stats.jackknife import folds, jackknife

    labels = list(range(len(scores)) if clusters is None else clusters)
    value, names = float(statistic(list(scores))), len(set(labels))
    if names < 2:
        return Estimate(value, math.nan, math.nan, "undefined (one cluster)", len(scores), 1)
    own = folds(len(scores), groups, labels, SEED).tolist()
    without = [
        statistic([score for score, mine in zip(scores, own, strict=True) if mine != group])
        for group in range(max(own) + 1)
    ]
    return jackknife(value, without, len(scores), names, confidence)


def _mean(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats

    values = [float(score) for score in scores]
    if not all(map(math.isfinite, values)):
        return _without_interval(sum(values) / len(values), values, clusters)
    return stats.mean(values, clusters, confidence=confidence)


def _nanmean(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    kept = [index for index, score in enumerate(scores) if not math.isnan(score)]
    if not kept:
        return _without_interval(math.nan, scores, clusters)
    labels = None if clusters is None else [clusters[index] for index in kept]
    return _mean([scores[index] for index in kept], labels, confidence)


def _median(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    def upper_median(values: list[float]) -> float:
        return float(sorted(values)[len(values) // 2])

    return resampled(upper_median, scores, clusters, confidence, replicates=REPLICATES)


def _perplexity(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    return _exp_of_minus(_mean(scores, clusters, confidence))


def _weighted_perplexity(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    return _exp_of_minus(_weighted_mean(scores, clusters, confidence))


def _bits_per_byte(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    nats = _weighted_mean(scores, clusters, confidence)
    bits = -1 / math.log(2)
    return replace(nats, value=nats.value * bits, low=nats.high * bits, high=nats.low * bits)


def _weighted_mean(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats

    tops, weights = _pairs(scores)
    tops, weights = [float(top) for top in tops], [float(weight) for weight in weights]
    if not all(map(math.isfinite, tops)):
        return _without_interval(sum(tops) / sum(weights), tops, clusters)
    return stats.ratio_of_sums(tops, weights, clusters, confidence=confidence)


def _share(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """The share of [count, of how many]: Wilson's interval, as of so many 0s and 1s in clusters."""
    from kdbench import stats

    bits: list[float] = []
    labels: list[int] = []
    for sample, (count, size) in enumerate(scores):
        bits += [1.0] * count + [0.0] * (size - count)
        labels += [sample] * size
    return stats.mean(bits, labels, confidence=confidence)


def _calibration_error(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """Debiased calibration error of [confidence, right or wrong].

    The bootstrap would put back the bias that the estimator takes away (a resample's bins are as noisy
    again), so the interval is a jackknife's.
    """
    return jackknifed(_debiased, scores, clusters, confidence)


def calibration_gap(
    first: Scores, second: Scores, clusters: Labels = None, confidence: float = 0.95
) -> Estimate:
    """Debiased calibration error of `second` minus that of `first`, both [confidence, right or wrong] on the
    same samples: a jackknife that leaves the same samples out of both.

    Source: Shao & Tu (1995), The Jackknife and Bootstrap, 5.1 (grouped jackknife).
    """

    def gap(pairs: list[Any]) -> float:
        one, other = zip(*pairs, strict=True)
        return _debiased(list(other)) - _debiased(list(one))

    both = list(zip(first, second, strict=True))
    found = _jackknifed(gap, both, clusters, confidence, GROUPS)
    return replace(found, method=f"{found.method}, paired")


def _debiased(pairs: list[Any]) -> float:
    from kdbench.metrics.calibration import debiased_calibration_error

    sure, right = _pairs(pairs)
    return debiased_calibration_error(sure, right)


def _median_ratio(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats

    tops, bottoms = _pairs(scores)
    return stats.median_ratio(tops, bottoms, confidence)


def _percentile(q: float) -> Callable[[Scores, Labels, float], Estimate]:
    def function(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
        from kdbench import stats

        return stats.quantile(_flat(scores), q, confidence)

    return function


def _pooled(q: float) -> Callable[[Scores, Labels, float], Estimate]:
    """A percentile of all rounds' calls together. Calls of a round wait for the same things, so the interval
    is from resampled rounds."""

    def function(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
        import numpy as np

        from kdbench import stats

        calls = len(_flat(scores))
        if not stats.supported(calls, q, confidence):
            needed = stats.observations_needed(q, confidence)
            raise ValueError(f"it needs {needed} calls, and there are {calls}")

        def pooled(rounds: list[Any]) -> float:
            return float(np.quantile(_flat(rounds), q))

        found = resampled(pooled, scores, None, confidence, replicates=REPLICATES)
        return replace(found, n=calls)

    return function


def _noise(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats

    return resampled(stats.noise, _flat(scores), None, confidence)


def _outliers(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats
    from kdbench.stats import Estimate

    calls = _flat(scores)
    count = float(stats.outliers(calls))
    return Estimate(count, count, count, "counted", len(calls), len(calls))


def _exact(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """Something that is counted, not sampled: every score is the same number."""
    from kdbench.stats import Estimate

    value = float(scores[0])
    if any(float(score) != value for score in scores):
        raise ValueError("a number that is counted must be the same in every sample")
    return Estimate(value, value, value, "counted", len(scores), len(scores))


def _flat(scores: Scores) -> list[float]:
    return [
        float(one)
        for score in scores
        for one in (score if isinstance(score, (list, tuple)) else [score])
    ]


def _exp_of_minus(estimate: Estimate) -> Estimate:
    return replace(
        estimate,
        value=_exp(-estimate.value),
        low=_exp(-estimate.high),
        high=_exp(-estimate.low),
        method=f"exp of {estimate.method}",
    )


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _f1(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """2 TP / (2 TP + FP + FN) of the class 1 among 0 and 1: a ratio of two sums over samples."""
    from kdbench import stats

    truths, guesses = _pairs(scores)
    if not {*truths, *guesses} <= {0, 1}:
        raise ValueError("F1 needs classes 0 and 1")
    hits = [2.0 * (t == g == 1) for t, g in zip(truths, guesses, strict=True)]
    claims = [float(t == 1) + float(g == 1) for t, g in zip(truths, guesses, strict=True)]
    if not any(claims):
        return _without_interval(0.0, scores, clusters, "undefined (class 1 never occurs)")
    return stats.ratio_of_sums(hits, claims, clusters, confidence=confidence)


def _matthews(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """Matthews correlation of any number of classes, from sums over samples.

    Source: Gorodkin (2004), "Comparing two K-category assignments by a K-category correlation
    coefficient", Computational Biology and Chemistry 28. 0 where one side is constant.
    """
    import numpy as np

    from kdbench import stats

    truths, guesses = _pairs(scores)
    classes = sorted({*truths, *guesses})
    right = [float(t == g) for t, g in zip(truths, guesses, strict=True)]
    columns = [right, [1.0] * len(right)]
    columns += [[float(t == one) for t in truths] for one in classes]
    columns += [[float(g == one) for g in guesses] for one in classes]

    def correlation(hits: Any, size: Any, *shares: Any) -> Any:
        true, guessed = np.array(shares[: len(classes)]), np.array(shares[len(classes) :])
        spread = (size**2 - (true**2).sum(axis=0)) * (size**2 - (guessed**2).sum(axis=0))
        covariance = hits * size - (true * guessed).sum(axis=0)
        return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)

    return stats.clustered_bootstrap(correlation, columns, clusters, SEED, REPLICATES, confidence)


def _brier(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    truths, predictions = _pairs(scores)
    distances = [
        sum((p - (index == truth)) ** 2 for index, p in enumerate(probabilities))
        for truth, probabilities in zip(truths, predictions, strict=True)
    ]
    return _mean(distances, clusters, confidence)


def _translation(name: str) -> Callable[[Scores, Labels, float], Estimate]:
    def function(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
        """A corpus score is a function of sums of per-sentence counts: those are resampled."""
        import numpy as np

        from kdbench import stats

        references, hypotheses = _pairs(scores)
        metric = _sacrebleu_metric(name)
        streams = [[one] if isinstance(one, str) else list(one) for one in references]
        texts = [one if isinstance(one, str) else one[0] for one in hypotheses]
        # the n-th stream holds every sentence's n-th reference; like lm-eval, as many as all have
        counts = metric._extract_corpus_statistics(texts, list(zip(*streams, strict=False)))
        exact = int if all(isinstance(count, int) for row in counts for count in row) else float

        def score(*sums: Any) -> Any:
            resamples = [[exact(count) for count in column] for column in np.array(sums).T]
            return np.array([metric._compute_score_from_stats(row).score for row in resamples])

        columns = list(zip(*counts, strict=True))
        found = stats.clustered_bootstrap(score, columns, clusters, SEED, REPLICATES, confidence)
        return replace(found, value=metric._aggregate_and_compute(counts).score)

    return function


def _sacrebleu_metric(name: str) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ImportError:
        raise TaskError(
            f"the aggregation {name!r} needs sacrebleu; install it with: pip install 'kdbench[lm]'"
        ) from None
    made: dict[str, Callable[[], Any]] = {
        "bleu": BLEU,
        "chrf": CHRF,
        "chrf++": lambda: CHRF(word_order=2),
        "ter": TER,
    }
    return made[name]()


def _pairs(scores: Scores) -> tuple[list[Any], list[Any]]:
    firsts, seconds = zip(*((first, second) for first, second in scores), strict=True)
    return list(firsts), list(seconds)


def _without_interval(
    value: float,
    scores: Scores,
    clusters: Labels,
    method: str = "undefined (a score is not finite)",
) -> Estimate:
    from kdbench.stats import Estimate

    n_clusters = len(scores) if clusters is None else len(set(clusters))
    return Estimate(value, math.nan, math.nan, method, len(scores), n_clusters)


def _mean_of_strata(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    from kdbench import stats

    strata, values = _pairs(scores)
    return stats.mean_of_strata(values, strata, clusters, confidence)


def _any_of_cluster(scores: Scores, clusters: Labels, confidence: float) -> Estimate:
    """Share of clusters in which one sample is right at least."""
    labels = range(len(scores)) if clusters is None else clusters
    best: dict[Any, float] = {}
    for label, score in zip(labels, scores, strict=True):
        best[label] = max(best.get(label, 0.0), float(score))
    found = _mean(list(best.values()), None, confidence)
    return replace(found, n=len(scores))


_AGGREGATIONS: dict[str, Callable[[Scores, Labels, float], Estimate]] = {
    "mean": _mean,
    "nanmean": _nanmean,
    "median": _median,
    "perplexity": _perplexity,
    "weighted_perplexity": _weighted_perplexity,
    "bits_per_byte": _bits_per_byte,
    "weighted_mean": _weighted_mean,
    "share": _share,
    "calibration_error": _calibration_error,
    "median_ratio": _median_ratio,
    "p50": _percentile(0.5),
    "p90": _percentile(0.9),
    "p95": _percentile(0.95),
    "p99": _percentile(0.99),
    "pooled_p90": _pooled(0.9),
    "pooled_p95": _pooled(0.95),
    "pooled_p99": _pooled(0.99),
    "noise": _noise,
    "outliers": _outliers,
    "exact": _exact,
    "mean_of_strata": _mean_of_strata,
    "any_of_cluster": _any_of_cluster,
    "f1": _f1,
    "matthews_corrcoef": _matthews,
    "brier_score": _brier,
    "iid_block_efficiency": numbers.iid_block_efficiency,
    "product_of_ratios": numbers.product_of_ratios,
    "best_gamma": numbers.best_gamma,
    "conformance": numbers.conformance,
    "bleu": _translation("bleu"),
    "chrf": _translation("chrf"),
    "chrf++": _translation("chrf++"),
    "ter": _translation("ter"),
}
