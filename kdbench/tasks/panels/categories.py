"""Scores by category."""

from __future__ import annotations

from typing import Any

from kdbench.tasks.panel import PanelInput, scored

MIN_SAMPLES = 5
"""Categories with fewer samples are left out: their intervals say nothing."""


def data(given: PanelInput) -> Any:
    """For each tag that has at least two categories: both models' means and the paired gap."""
    from kdbench import stats

    metric = next((m for m in given.metrics if m.aggregation == "mean"), None)
    if metric is None:
        return None
    groups: dict[str, dict[str, list[tuple[float, float, str]]]] = {}
    for sample, _, one, other in scored(given, metric.name):
        for tag, category in sample.tags.items():
            groups.setdefault(tag, {}).setdefault(category, []).append((one, other, sample.cluster))
    tags = []
    for tag, categories in groups.items():
        rows = []
        for category, members in sorted(categories.items()):
            if len(members) < MIN_SAMPLES:
                continue
            ours = [one for one, _, _ in members]
            theirs = [other for _, other, _ in members]
            clusters = [cluster for _, _, cluster in members]
            rows.append({
                "category": category,
                "n": len(members),
                "teacher": _interval(stats.mean(ours, clusters, confidence=given.confidence)),
                "student": _interval(stats.mean(theirs, clusters, confidence=given.confidence)),
                "gap": _interval(
                    stats.difference(theirs, ours, clusters, confidence=given.confidence)
                ),
                "lost": sum(one > other for one, other, _ in members),
                "gained": sum(other > one for one, other, _ in members),
            })  # fmt: skip
        if len(rows) > 1:
            tags.append({"tag": tag, "rows": rows})
    if not tags:
        return None
    return {"metric": metric.name, "unit": metric.unit, "better": metric.better, "tags": tags}


def _interval(estimate: Any) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
