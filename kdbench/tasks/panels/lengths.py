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

    def mean(column: int) -> dict[str, float]:
        values = [float(pair[column] or 0) for pair in pairs]
        found = stats.mean(values, clusters, confidence=given.confidence)
        return {"value": found.value, "low": found.low, "high": found.high}

    return {
        "n": len(pairs),
        "teacher": {"counts": _counts(p[0] for p in pairs), "mean": mean(0), "cut": mean(2)},
        "student": {"counts": _counts(p[1] for p in pairs), "mean": mean(1), "cut": mean(3)},
    }


def _tokens(sample: Sample) -> int | None:
    """Tokens of a generated answer; scored continuations have no `finish`."""
    tokens = sample.extra.get("tokens")
    return tokens if "finish" in sample.extra and isinstance(tokens, int) else None


def _cut(sample: Sample) -> bool:
    return sample.extra.get("finish") == "length"


def _counts(lengths: Any) -> list[list[int]]:
    """[length, how often], sorted."""
    return [list(item) for item in sorted(Counter(lengths).items())]
