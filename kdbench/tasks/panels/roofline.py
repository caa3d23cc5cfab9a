"""Where prompt and decoding of both models lie under the machine's measured ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels.latency_grid import shape_of

ROLES = ("teacher", "student")


def data(given: Sequence[PanelInput]) -> Any:
    """Ceilings, and a point for each shape, model and phase: FLOP/byte, FLOP/s, seconds and their bound."""
    points, ceilings = [], None
    for one in given:
        found = [s.extra["roofline"] for s in one.samples() if s.extra.get("roofline")]
        if not found:
            continue
        ceilings = found[0]["teacher"]["ceilings"]
        for role in ROLES:
            for phase, work in found[0][role]["phases"].items():
                seconds = median(each[role]["seconds"][phase] for each in found)
                points.append({
                    "shape": shape_of(one.task), "role": role, "phase": phase,
                    "intensity": work["flops"] / work["moved"], "achieved": work["flops"] / seconds,
                    "seconds": seconds, "bound": work["lower_bound"],
                })  # fmt: skip
    return {"ceilings": ceilings, "points": points} if points else None
