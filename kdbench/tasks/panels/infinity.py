"""The line through Frechet distances at several numbers of images, for teacher and student."""

from __future__ import annotations

import math
from typing import Any

from kdbench.tasks.panel import PanelInput

_KINDS = ("fid_infinity", "frechet_infinity")


def data(given: PanelInput) -> Any:
    """Points, slope and height of the first extrapolated distance; None where there is none."""
    for metric in given.metrics:
        if metric.name.split("[")[0] not in _KINDS:
            continue
        fits = {role: _fit(given, role, metric.name) for role in ("teacher", "student")}
        if all(fits.values()):
            return {"metric": metric.name, "unit": metric.unit, **fits}
    return None


def _fit(given: PanelInput, role: str, name: str) -> dict[str, Any] | None:
    held = given.summaries.get(role, {}).get(name, {})
    line, details = held.get("line") or {}, held.get("details") or {}
    sizes, distances = line.get("sizes"), line.get("values")
    numbers = [held.get(key) for key in ("value", "low", "high")] + [details.get("slope")]
    if not sizes or not distances or len(sizes) != len(distances):
        return None
    if not all(
        isinstance(v, (int, float)) and math.isfinite(v) for v in [*numbers, *sizes, *distances]
    ):
        return None
    value, low, high, slope = numbers
    return {
        "sizes": sizes, "distances": distances, "slope": slope,
        "height": {"value": value, "low": low, "high": high},
    }  # fmt: skip
