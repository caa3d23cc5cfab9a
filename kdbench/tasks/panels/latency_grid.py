"""Latency of teacher and student over the shapes that were timed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from kdbench.errors import TaskError
from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

SHOWN = {"latency": "speedup", "latency.prefill": "speedup.prefill", "tpot": "speedup.decode"}
"""Durations, and the ratio that goes with each."""


def data(given: Sequence[PanelInput]) -> Any:
    """Medians of each shape, and its speed-up; None where nothing was timed."""
    shapes = []
    for one in given:
        samples = list(one.samples())
        if not any("speedup" in sample.scores for sample in samples):
            continue
        row: dict[str, Any] = {"shape": shape_of(one.task), "n": len(samples)}
        for name, ratio in SHOWN.items():
            row[name] = {
                role: interval(samples, f"{name}.{role}", "p50", one.confidence)
                for role in ("teacher", "student")
            } | {"ratio": interval(samples, ratio, "median_ratio", one.confidence)}
        shapes.append(row)
    return {"shapes": shapes} if shapes else None


def shape_of(task: str) -> str:
    """The shape in a task's label: "b8-p64-n16" is 8 x (64 + 16), with spaces that don't break."""
    batch, prompt, new = (part[1:] for part in task.rpartition("/")[2].split("-"))
    return f"{batch} x ({prompt} + {new})".replace(" ", "\N{NO-BREAK SPACE}")


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
