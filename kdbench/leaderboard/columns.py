"""Columns of the first page: which there are, and the metrics that fill those of later families."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any


def _column(
    key: str, title: str, about: str, kind: str, unit: str = "", better: str = "", **more: Any
) -> dict[str, Any]:
    """`home` are beginnings of the families that show it unasked (None: all), `away` of those without it."""
    return {
        "key": key, "title": title, "short": title, "about": about, "kind": kind, "unit": unit,
        "better": better, "families": [], "shown": True, "home": None, "away": None, **more,
    }  # fmt: skip


DRAFTS = "speculative."
"""Beginning of the families in which a student drafts for its teacher."""

COLUMNS = [
    _column("rank", "Rank", "Places that the data leaves open for this student", "rank"),
    _column("student", "Student", "The distilled model", "text"),
    _column("method", "Method", "How it was distilled", "text"),
    _column("teacher", "Teacher", "The model that it learnt from", "text"),
    _column("quality", "Quality", "Mean of the tasks' headline metrics", "interval"),
    _column("retention", "Retention", "Mean of the tasks' paired student / teacher", "interval",
            "ratio", "higher", reference=1),
    _column("gap", "Gap", "Mean of the tasks' paired student - teacher", "interval", "",
            "higher", reference=0, shown=False),
    _column("gain", "Gain", "Student - the baseline trained without distillation", "interval", "",
            "higher", reference=0),
    _column("speedup", "Speed-up", "Time of the teacher / time of the student, interleaved", "interval",
            "ratio", "higher", reference=1, away=[DRAFTS]),
    _column("acceptance", "Acceptance", "Share of drafted tokens that the target accepts", "interval",
            "fraction", "higher", home=[DRAFTS]),
    _column("block_efficiency", "Block efficiency",
            "Tokens per pass of the target with chains of five drafts, bonus token included",
            "interval", "tokens", "higher", home=["reasoning", DRAFTS]),
    _column("memory", "Peak memory", "Most memory that the student needed", "bytes", "bytes", "lower"),
    _column("steps", "Steps", "Function evaluations of the generator (NFE)", "number", "", "lower"),
    _column("parameters", "Parameters", "Stored weights of the student", "count", "parameters", "lower"),
    _column("weight_bytes", "Weights", "Size of the student's weight files", "bytes", "bytes", "lower",
            shown=False),
    _column("tasks", "Tasks", "Tasks that the means are taken over", "number", shown=False),
    _column("status", "Status", "Whether every task could be measured", "text", shown=False),
    _column("suite", "Suite", "The suite that was run", "text", shown=False),
    _column("hardware", "Hardware", "The machine", "text", shown=False),
    _column("created", "Date", "Day of the run", "date", shown=False),
]  # fmt: skip

PAIR_METRICS = {
    "speedup": ("speedup", "*.speedup"),
    "acceptance": ("alpha",),
    "block_efficiency": ("tau@5", "tau"),
}
"""Front column -> names of pair metrics that fill it, the first that is there."""

STUDENT_METRICS = {"memory": ("peak_memory", "peak_memory.*")}
"""Front column -> names of the student's own metrics that fill it."""


def matches(metric: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(metric, pattern) for pattern in patterns)
