"""Tokens generated per answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput


def data(given: PanelInput) -> Any:
    """Counts of lengths of both models, their means, and the share of answers cut off."""
    from kdbench import stats

    pairs = [
        (_tokens(one), _tokens(other), _cut(one), _cut(other), one.cluster)
        for one, other in given.pairs()
        if _tokens(one) is not None and _tokens(other) is not None
    ]
    if len(pairs) < 2:
        return None
    clusters = [cluster for *_, cluster in pairs]

    def share(column: int) -> dict[str, float]:
        cut = [float(pair[column] or 0) for pair in pairs]
        return _interval(stats.mean(cut, clusters, confidence=given.confidence))

    def mean(column: int) -> dict[str, float]:
        # a mean of counts, even where all of them happen to be 0 or 1 and look like a proportion
        counts = [float(pair[column] or 0) for pair in pairs]
        ones = [1.0] * len(counts)
        return _interval(stats.ratio_of_sums(counts, ones, clusters, confidence=given.confidence))

    return {
        "n": len(pairs),
        "teacher": {"counts": _counts(p[0] for p in pairs), "mean": mean(0), "cut": share(2)},
        "student": {"counts": _counts(p[1] for p in pairs), "mean": mean(1), "cut": share(3)},
    }


def _interval(estimate: Any) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _tokens(sample: Sample) -> int | None:
    """Tokens of a generated answer; scored continuations have no `finish`."""
    tokens = sample.extra.get("tokens")
    return tokens if "finish" in sample.extra and isinstance(tokens, int) else None


def _cut(sample: Sample) -> bool:
    return sample.extra.get("finish") == "length"


def _counts(lengths: Any) -> list[list[int]]:
    """[length, how often], sorted."""
    return [list(item) for item in sorted(Counter(lengths).items())]
