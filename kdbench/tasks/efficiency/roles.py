"""Metrics of both models of a pair, and rounds as items; no torch, no statistics."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from kdbench.tasks.task import Item, Metric

ROLES = ("teacher", "student")


def for_roles(metrics: Sequence[Metric]) -> list[Metric]:
    """Each metric for teacher and student: `latency` becomes `latency.teacher` and `latency.student`."""
    return [
        Metric(f"{one.name}.{role}", one.unit, one.better, f"{one.about} ({role})", one.aggregation)
        for one in metrics
        for role in ROLES
    ]


def round_items(label: str, rounds: int, limit: int | None) -> list[Item]:
    """The rounds of a timing, as items."""
    count = rounds if limit is None else min(limit, rounds)
    ids = [sha256(f"{label}:{index}".encode()).hexdigest()[:16] for index in range(count)]
    return [Item(one, index, one, None) for index, one in enumerate(ids)]
