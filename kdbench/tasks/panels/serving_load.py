"""How two servers bear load: first token, time per token and throughput at each load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels.latency_grid import interval

ROLES = ("teacher", "student")
SHOWN = ("ttft", "tpot", "latency", "output_tokens_per_second", "requests_per_second")


def data(given: Sequence[PanelInput]) -> Any:
    """Medians of rounds at each load, and its speed-up; None where nothing was answered."""
    loads = []
    for one in given:
        samples = list(one.samples())
        row: dict[str, Any] = {"load": load_of(one.task), "n": len(samples)}
        for name in SHOWN:
            row[name] = {
                role: interval(samples, f"{name}.{role}", "p50", one.confidence) for role in ROLES
            }
        if any(row["ttft"].values()):
            row["speedup"] = interval(samples, "speedup", "median_ratio", one.confidence)
            loads.append(row)
    return {"loads": loads} if loads else None


def load_of(task: str) -> str:
    """The load in a task's label: "c8-p64-n16" has 8 clients, "r2-..." 2 requests a second."""
    load = task.rpartition("/")[2].split("-")[0]
    if load.startswith("r"):
        return f"open, {load[1:]}/s"
    return f"closed, {load[1:]} {'client' if load == 'c1' else 'clients'}"
