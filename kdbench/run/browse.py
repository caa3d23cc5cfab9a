"""What a person sees first of published results: the main metrics, and samples of a pair side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import SettingsConflictError, StoreError, did_you_mean
from kdbench.results.differences import Difference, Kind, differences
from kdbench.results.published import Published
from kdbench.results.table import Row
from kdbench.run.headlines import Headlines

PAIRED = ("retention", "gap", "ratio", "p", "lost", "gained")
"""What stands beside a model's number in the same line."""


def differing(
    folder: Path, pair: str | None, task: str | None, metric: str | None, kind: Kind
) -> list[tuple[str, Difference]]:
    """Task label and difference for every document on which a pair's models score differently."""
    target = Published(folder)
    record = target.read_run()
    if record is None:
        raise StoreError(f"{folder}: no results here (no run.json); `kdbench run SUITE` makes them")
    pairs = {entry["name"]: entry for entry in record["header"]["pairs"]}
    name = pair if pair is not None else next(iter(pairs))
    if name not in pairs:
        raise SettingsConflictError(
            f"{folder}: no pair named {name!r}{did_you_mean(name, list(pairs))}; "
            f"there are {', '.join(pairs)}"
        )
    done = [cell for cell in record["cells"] if cell["status"] == "done" and cell["model"]]
    labels = list(dict.fromkeys(cell["label"] for cell in done))
    if task is not None and task not in labels:
        raise SettingsConflictError(
            f"{folder}: no task named {task!r}{did_you_mean(task, labels)}; "
            f"there are {', '.join(labels)}"
        )
    found = []
    for label in labels if task is None else [task]:
        cells = {cell["model"]: cell for cell in done if cell["label"] == label}
        teacher, student = cells.get(pairs[name]["teacher"]), cells.get(pairs[name]["student"])
        if teacher is None or student is None:
            continue
        names = [entry["name"] for entry in teacher["metrics"]]
        if metric is not None and metric not in names:
            if task is None:
                continue
            raise SettingsConflictError(
                f"{label}: no metric named {metric!r}{did_you_mean(metric, names)}"
            )
        pairs_found = differences(
            target.read_samples(teacher["samples"]),
            target.read_samples(student["samples"]),
            metric or names[0],
            kind,
        )
        found += [(label, difference) for difference in pairs_found]
    return found


def headlines(rows: Sequence[Row], record: dict[str, Any] | None) -> list[Row]:
    """Rows of the metrics that each task calls its headlines, and those that failed."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        names.setdefault(row.task, {})[_measured(row.metric)] = None
    known = Headlines(record)
    first = {task: set(known.of(task, own)) for task, own in names.items()}
    return [
        row for row in rows if row.status == "failed" or _measured(row.metric) in first[row.task]
    ]


def _measured(metric: str) -> str:
    """The metric in whose line a paired number stands ("acc" of "acc.retention")."""
    base, _, suffix = metric.rpartition(".")
    return base if suffix in PAIRED else metric
