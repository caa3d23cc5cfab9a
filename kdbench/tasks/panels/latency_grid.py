"""Latency of teacher and student over the shapes that were timed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from kdbench.errors import TaskError
from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

SHOWN = ("latency", "ttft", "tpot")


def data(given: Sequence[PanelInput]) -> Any:
    """Medians of each shape, and its speed-up; None where nothing was timed."""
    shapes = []
    for one in given:
        samples = list(one.samples())
        speedup = interval(samples, "speedup", "median_ratio", one.confidence)
        if speedup is None:
            continue
        row: dict[str, Any] = {"shape": one.task.rpartition("/")[2], "speedup": speedup}
        row["n"] = len(samples)
        for name in SHOWN:
            row[name] = {
                role: interval(samples, f"{name}.{role}", "p50", one.confidence)
                for role in ("teacher", "student")
            }
        shapes.append(row)
    return {"shapes": shapes} if shapes else None


def interval(
    samples: Sequence[Sample], metric: str, how: str, confidence: float
) -> dict[str, float | None] | None:
    """A metric of the samples with its bounds, where they have any; None where no sample has it."""
    from kdbench.tasks.aggregate import aggregate

    scores = [sample.scores[metric] for sample in samples if metric in sample.scores]
    try:
        found = aggregate(how, scores, None, confidence)
    except TaskError:
        return None
    bounded = isfinite(found.low) and isfinite(found.high)
    return {
        "value": found.value,
        "low": found.low if bounded else None,
        "high": found.high if bounded else None,
    }
