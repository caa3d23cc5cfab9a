"""What each phase of a run takes in memory, for teacher and student."""

from __future__ import annotations

from statistics import median
from typing import Any

from kdbench.tasks.panel import PanelInput

PHASES = ("peak_memory.weights", "peak_memory.cache", "peak_memory.activations", "peak_memory")


def data(given: PanelInput) -> Any:
    """Bytes of each phase, the median of the loads; None where memory was not measured."""
    pairs = list(given.pairs())
    if not pairs or "peak_memory" not in pairs[0][0].scores:
        return None
    found: dict[str, Any] = {"n": len(pairs)}
    for place, role in enumerate(("teacher", "student")):
        samples = [pair[place] for pair in pairs]
        found[role] = {name: median(one.scores[name] for one in samples) for name in PHASES}
        found[role]["by_dtype"] = samples[0].extra.get("bytes_by_dtype", {})
    return found
