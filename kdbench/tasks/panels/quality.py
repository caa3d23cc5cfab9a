"""Each score of teacher and student against the evaluations that an image took them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdbench.tasks.aggregate import OWN
from kdbench.tasks.panel import PanelInput, scored
from kdbench.tasks.summaries import estimate_of


def data(given: PanelInput) -> Any:
    """Steps of both and their scores with intervals; None where a model's steps are not known."""
    first = next(given.pairs(), None)
    if first is None:
        return None
    steps = {role: one.extra.get("steps") for role, one in zip(_ROLES, first, strict=True)}
    if not all(isinstance(count, int) for count in steps.values()):
        return None
    found = []
    for metric in given.metrics:
        both = (
            _whole(given, metric.name) if metric.aggregation == OWN else _mean(given, metric.name)
        )
        if both is not None:
            found.append({
                "metric": metric.name, "unit": metric.unit, "better": metric.better, **both,
            })  # fmt: skip
    return {"steps": steps, "metrics": found} if found else None


_ROLES = ("teacher", "student")


def _whole(given: PanelInput, name: str) -> dict[str, Any] | None:
    """A score of the whole set."""
    both = {}
    for role in _ROLES:
        held: Mapping[str, Any] = given.summaries.get(role, {}).get(name, {})
        estimate = estimate_of(held, given.confidence)
        if estimate is None:
            return None
        both[role] = _shown(estimate)
    return both


def _mean(given: PanelInput, name: str) -> dict[str, Any] | None:
    """A score of each sample."""
    from kdbench import stats

    found = list(scored(given, name))
    if len(found) < 2:
        return None
    clusters = [one.cluster for one, *_ in found]
    columns = {"teacher": [a for *_, a, _ in found], "student": [b for *_, b in found]}
    return {
        role: _shown(stats.mean(values, clusters, confidence=given.confidence))
        for role, values in columns.items()
    }


def _shown(estimate: Any) -> dict[str, float | None]:
    sure = estimate.low == estimate.low  # nan where there is no interval
    return {
        "value": estimate.value,
        "low": estimate.low if sure else None,
        "high": estimate.high if sure else None,
    }
