"""What teacher and student spend on problems, and on those that they solve equally often."""

from __future__ import annotations

from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

LEAST = 5
"""Problems behind a number."""


def data(given: PanelInput) -> Any:
    """Accuracy and tokens of both models, and their tokens at equal accuracy; None without answers."""
    from kdbench import stats

    rows: list[tuple[str, float, float, float, float]] = []
    for teacher, student in given.pairs():
        if teacher.extra.get("right") and student.extra.get("right"):
            rows.append((teacher.cluster, *_spent(teacher), *_spent(student)))
    if len(rows) < LEAST:
        return None
    clusters = [row[0] for row in rows]

    def interval(column: int) -> dict[str, float]:
        found = stats.mean([row[column] for row in rows], clusters, confidence=given.confidence)
        return {"value": found.value, "low": found.low, "high": found.high}

    equal = [row for row in rows if row[1] == row[3] and row[1] > 0]
    ratio = None
    if len(equal) >= LEAST:
        found = stats.ratio_of_sums(
            [row[4] for row in equal], [row[2] for row in equal], [row[0] for row in equal],
            confidence=given.confidence,
        )  # fmt: skip
        ratio = {"value": found.value, "low": found.low, "high": found.high}
    return {
        "n": len(rows),
        "teacher": {"accuracy": interval(1), "tokens": interval(2)},
        "student": {"accuracy": interval(3), "tokens": interval(4)},
        "equal": {"n": len(equal), "ratio": ratio},
    }


def _spent(sample: Sample) -> tuple[float, float]:
    """Share of right answers, and tokens per answer."""
    right = sample.extra["right"]
    return sum(right) / len(right), float(sample.scores["tokens"])
