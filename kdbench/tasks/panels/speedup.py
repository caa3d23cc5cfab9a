"""Speed-up by gamma: measured beside predicted."""

from __future__ import annotations

from typing import Any

from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels.acceptance import gammas_of, interval


def data(given: PanelInput) -> Any:
    """For each gamma the measured and the predicted speed-up with their parts; None without timings."""
    samples = list(given.samples())
    rows = [
        {
            "gamma": g,
            **{
                name: interval(given, f"{name}@{g}", samples)
                for name in ("speedup", "predicted_speedup", "tau", "assisted_tau", "verify_cost")
            },
        }
        for g in gammas_of(given)
    ]
    if not any(row["speedup"] for row in rows):
        return None
    best = {how: interval(given, f"best_gamma_{how}", samples) for how in ("measured", "predicted")}
    return {
        "rows": rows,
        "best": best,
        "draft_cost": interval(given, "draft_cost", samples),
        "n": len(samples),
    }
