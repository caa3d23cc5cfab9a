"""Numbers that a task aggregates by Python code of its own, with an interval by resampling."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdbench.results.sample import Sample
from kdbench.tasks.aggregate import resampled
from kdbench.tasks.lmeval.documents import function
from kdbench.tasks.lmeval.metrics import metrics
from kdbench.tasks.lmeval.yamls import FunctionReference
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    from kdbench.stats import Estimate

REPLICATES = 200
SLOW = 3.0
"""Seconds for one call above which (a model scores the answers, say) nothing is resampled."""


def summarise(
    config: Mapping[str, Any], own: Sequence[Metric], samples: Sequence[Sample]
) -> dict[str, Estimate]:
    """One estimate per metric of `own` that any sample has a score for."""
    functions = _functions(config)
    found = {}
    for metric in own:
        scored = [sample for sample in samples if metric.name in sample.scores]
        if scored:
            scores = [sample.scores[metric.name] for sample in scored]
            clusters = [sample.cluster for sample in scored]
            found[metric.name] = _estimate(functions[metric.name], scores, clusters)
    return found


def _functions(config: Mapping[str, Any]) -> dict[str, Callable[[list[Any]], Any]]:
    found: dict[str, Callable[[list[Any]], Any]] = {}
    for entry in config.get("metric_list") or []:
        aggregation = entry.get("aggregation")
        if isinstance(aggregation, FunctionReference):
            for metric in metrics({**config, "metric_list": [entry]}):
                found[metric.name] = function(aggregation)
    return found


def _estimate(
    statistic: Callable[[list[Any]], Any], scores: list[Any], clusters: list[str]
) -> Estimate:
    from kdbench.stats import Estimate

    began = time.perf_counter()
    value = statistic(list(scores))
    seconds = time.perf_counter() - began
    sizes = (len(scores), len(set(clusters)))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return Estimate(math.nan, math.nan, math.nan, "undefined (no single number)", *sizes)
    if seconds > SLOW:
        return Estimate(number, math.nan, math.nan, "undefined (too slow to resample)", *sizes)
    return resampled(lambda drawn: float(statistic(drawn)), scores, clusters, replicates=REPLICATES)
