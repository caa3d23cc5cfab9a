"""Every number of every pair, by columns: axes for charts, and columns on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.leaderboard.data_files import coded, finite
from kdbench.leaderboard.lookup import Lookup, family_of
from kdbench.results.table import Row

SIZES = {"parameters": ("parameters", "Parameters"), "weight_bytes": ("bytes", "Weights")}


def measure_key(task: str, metric: str, role: str) -> str:
    """What a measure is called in the page's addresses."""
    return f"{task} {metric} {role}"


class _Measure:
    def __init__(self, count: int, row: Row) -> None:
        self.row = row
        self.value: list[float | None] = [None] * count
        self.low: list[float | None] = [None] * count
        self.high: list[float | None] = [None] * count
        self.protocol: list[str | None] = [None] * count
        self.teacher: dict[str, list[float | None]] = {
            part: [None] * count for part in ("value", "low", "high")
        }

    def put(self, index: int, row: Row, teacher: Row | None) -> None:
        self.value[index] = finite(row.value)
        self.low[index], self.high[index] = finite(row.ci_low), finite(row.ci_high)
        self.protocol[index] = row.protocol
        if teacher is not None:
            self.teacher["value"][index] = finite(teacher.value)
            self.teacher["low"][index] = finite(teacher.ci_low)
            self.teacher["high"][index] = finite(teacher.ci_high)

    def json(self, key: str) -> dict[str, Any]:
        row = self.row
        what = row.task.partition("/")[2] or row.task
        return {
            "key": key, "task": row.task, "metric": row.metric, "role": row.role,
            "family": family_of(row.task), "unit": row.unit, "better": row.better,
            "title": f"{what} {row.metric}", "value": self.value, "low": self.low,
            "high": self.high, "protocol": coded(self.protocol), "teachers": self.teacher,
        }  # fmt: skip


def values(lookups: Sequence[Lookup]) -> dict[str, Any]:
    """`pairs` by id and, for each measure, a value with its interval for each of them."""
    index = {
        lookup.pair_id(name): (lookup, name) for lookup in lookups for name in lookup.run.pairs
    }
    place = {identity: i for i, identity in enumerate(index)}
    measures: dict[str, _Measure] = {}
    for lookup in lookups:
        teachers = {name: pair["teacher"] for name, pair in lookup.run.pairs.items()}
        places = {name: place[lookup.pair_id(name)] for name in teachers}
        for row in lookup.run.rows:
            if row.pair not in places or row.value is None:
                continue
            key = measure_key(row.task, row.metric, row.role)
            measure = measures.get(key)
            if measure is None:
                measure = measures[key] = _Measure(len(place), row)
            board = lookup.boards[row.task, row.protocol]
            teacher = board.teacher.get((teachers[row.pair], row.metric))
            measure.put(places[row.pair], row, teacher if row.role == "student" else None)
    sizes = []
    for what, (unit, title) in SIZES.items():
        pairs = [(lookup, lookup.run.pairs[name]) for lookup, name in index.values()]
        own = [lookup.size(pair["student"], what) for lookup, pair in pairs]
        theirs = [lookup.size(pair["teacher"], what) for lookup, pair in pairs]
        if any(size is not None for size in own):
            nothing = [None] * len(pairs)
            sizes.append({
                "key": what, "task": "", "metric": what, "role": "student", "family": "",
                "unit": unit, "better": "lower", "title": title, "value": own, "low": nothing,
                "high": nothing, "protocol": coded(nothing),
                "teachers": {"value": theirs, "low": nothing, "high": nothing},
            })  # fmt: skip
    return {
        "pairs": list(place),
        "measures": [*sizes, *(m.json(key) for key, m in sorted(measures.items()))],
    }
