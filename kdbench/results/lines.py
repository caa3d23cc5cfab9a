"""The tidy table read across: one line per task, metric and model, teacher first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from kdbench.results.table import Row

HEADINGS = (
    "task",
    "metric",
    "model",
    "method",
    "value",
    "retention",
    "gap",
    "p",
    "lost/gained",
    "n",
)


@dataclass
class Line:
    """A model's value of one metric, and what its pair says about it."""

    task: str
    metric: str
    model: str
    method: str
    own: Row
    paired: dict[str, Row] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.own.status == "failed"

    def cells(self) -> tuple[str, ...]:
        """Texts under `HEADINGS`."""
        kept = self.paired.get("retention") or self.paired.get("ratio")
        flips = [self.paired.get(name) for name in ("lost", "gained")]
        counts = [str(round(f.value * (f.n or 0))) for f in flips if f and f.value is not None]
        return (
            self.task,
            self.metric,
            self.model,
            self.method or self.own.role,
            self.own.status.upper() if self.own.status != "ok" else with_interval(self.own),
            with_interval(kept) if kept else "",
            with_interval(self.paired["gap"]) if "gap" in self.paired else "",
            p_value(self.paired["p"]) if "p" in self.paired else "",
            "/".join(counts),
            "" if self.own.n is None else str(self.own.n),
        )


def lines(rows: Iterable[Row]) -> list[Line]:
    """Own values in the table's order, teacher before students, each with its pair's rows beside it."""
    rows = list(rows)
    own = [row for row in rows if row.role != "pair" or not _suffix(row, rows)]
    own.sort(key=lambda row: (row.task, row.metric, row.protocol, row.role != "teacher"))
    found = []
    for row in own:
        paired = {
            suffix: other
            for other in rows
            if other.role == "pair"
            and (other.task, other.protocol, other.pair) == (row.task, row.protocol, row.pair)
            and row.pair
            and (suffix := other.metric.removeprefix(f"{row.metric}.")) != other.metric
        }
        found.append(Line(row.task, row.metric, row.model, row.method, row, paired))
    return found


def _suffix(row: Row, rows: Sequence[Row]) -> bool:
    """True for a pair row that speaks about a metric which models have themselves."""
    return any(
        other.role != "pair"
        and other.task == row.task
        and row.metric.startswith(f"{other.metric}.")
        for other in rows
    )


def select(
    rows: Iterable[Row],
    task: str | None = None,
    metric: str | None = None,
    pair: str | None = None,
) -> list[Row]:
    """Rows whose task, metric (or what it is derived from) and pair match shell-style patterns."""
    return [
        row
        for row in rows
        if _matches(row.task, task)
        and (_matches(row.metric, metric) or _matches(row.metric.partition(".")[0], metric))
        and (not row.pair or _matches(row.pair, pair))
    ]


def _matches(value: str, pattern: str | None) -> bool:
    # a name with brackets ("tau@5[category=math]") is no pattern that matches itself
    return pattern is None or value == pattern or fnmatchcase(value, pattern)


def number(value: float | None) -> str:
    """Three significant digits where they suffice, never an exponent for ordinary numbers."""
    if value is None:
        return ""
    if value == 0 or 0.001 <= abs(value) < 1000:
        return (
            f"{value:.3f}"
            if abs(value) < 10
            else f"{value:.2f}"
            if abs(value) < 100
            else f"{value:.1f}"
        )
    return f"{value:.3g}"


def with_interval(row: Row) -> str:
    """`0.812 [0.771, 0.847]`; a skipped row says so."""
    if row.value is None:
        return row.status
    if row.ci_low is None or row.ci_high is None:
        return number(row.value)
    return f"{number(row.value)} [{number(row.ci_low)}, {number(row.ci_high)}]"


def p_value(row: Row) -> str:
    if row.value is None:
        return row.status
    return "<0.001" if row.value < 0.001 else f"{row.value:.3f}"
