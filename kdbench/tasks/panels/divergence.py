"""How far apart teacher and student are at the first, second, ... n-th token of a text."""

from __future__ import annotations

from typing import Any

from kdbench.tasks.panel import PanelInput

LEAST = 10
"""Documents behind a point of the curve."""
POINTS = 64


def data(given: PanelInput) -> Any:
    """Mean KL by position with its interval; None where no tokens were compared."""
    from kdbench import stats

    columns: dict[int, list[float]] = {}
    clusters: dict[int, list[str]] = {}
    for sample in given.samples():
        for position, value in enumerate(sample.extra.get("forward_kl") or ()):
            columns.setdefault(position, []).append(float(value))
            clusters.setdefault(position, []).append(sample.cluster)
    kept = [position for position in sorted(columns) if len(columns[position]) >= LEAST]
    if not kept:
        return None
    # the beginning whole, then thinned out: later positions change slowly
    step = max(1, len(kept) // POINTS)
    points = []
    for position in kept[::step]:
        found = stats.mean(columns[position], clusters[position], confidence=given.confidence)
        points.append({
            "position": position + 1, "n": len(columns[position]),
            "kl": {"value": found.value, "low": found.low, "high": found.high},
        })  # fmt: skip
    return {"points": points}
