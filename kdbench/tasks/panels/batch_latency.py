"""Latency and throughput of image models over the batches that were timed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels.latency_grid import interval

ROLES = ("teacher", "student")
SHOWN = ("latency", "images_per_second", "denoiser.per_step", "decode")


def data(given: Sequence[PanelInput]) -> Any:
    """Medians at each batch with the speed-up per image; None where nothing was timed."""
    batches = []
    for one in given:
        samples = list(one.samples())
        timed = [sample for sample in samples if "speedup" in sample.scores]
        if not timed:
            continue
        row: dict[str, Any] = {"n": len(timed), "best": one.task.endswith("/best")}
        row["batch"] = {
            role: int(median(sample.scores[f"batch.{role}"] for sample in timed)) for role in ROLES
        }
        row["steps"] = {role: timed[0].scores.get(f"steps.{role}") for role in ROLES}
        row["speedup"] = interval(timed, "speedup", "median_ratio", one.confidence)
        for name in SHOWN:
            row[name] = {
                role: interval(timed, f"{name}.{role}", "p50", one.confidence) for role in ROLES
            }
        batches.append(row)
    return {"batches": batches} if batches else None
