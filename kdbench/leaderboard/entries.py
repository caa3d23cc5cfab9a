"""The first page's rows: one for each student and task family, with the numbers that sum it up."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from kdbench.leaderboard.columns import PAIR_METRICS, STUDENT_METRICS, matches
from kdbench.leaderboard.data_files import coded, finite
from kdbench.leaderboard.lookup import Board, Lookup
from kdbench.leaderboard.ranks import macro_average, rank_ranges
from kdbench.leaderboard.scores import shared_scores
from kdbench.results.addresses import identifier
from kdbench.results.table import Row

RULE = (
    "Quality is the mean of the headline metrics (each task's first) of all tasks of a family that share "
    "their unit; retention and gap are means of the tasks' own paired values. Their intervals add the "
    "tasks' variances, as tasks are independent. Students measured on the same tasks, documents and "
    "protocols are ranked together by quality. A student's range of ranks leaves out only places behind "
    "students that it beats, and before students that beat it, beyond the interval of their paired "
    "difference; the comparisons of one student share its error rate (Bonferroni), so that the range "
    "holds its true rank at the run's confidence."
)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its bounds, which may be missing."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Entry:
    """One student on one family of tasks."""

    lookup: Lookup
    pair: dict[str, Any]
    family: str
    headline: list[tuple[Board, str]]
    unit: str = ""
    better: str = ""
    status: str = "ok"
    reason: str = ""
    numbers: dict[str, Interval | None] = field(default_factory=dict)
    plain: dict[str, float | None] = field(default_factory=dict)
    group: str = ""
    ranks: tuple[int, int] | None = None
    rank_of: int | None = None

    @property
    def id(self) -> str:
        return self.lookup.pair_id(self.pair["name"])


def entries_of(lookup: Lookup) -> list[Entry]:
    """Entries of one run, in the order of its pairs and tasks; not ranked yet."""
    families: dict[str, list[Board]] = defaultdict(list)
    for board in lookup.boards.values():
        families[board.family].append(board)
    found = []
    for family, boards in families.items():
        unit, better = _common_scale(lookup, boards)
        for pair in lookup.run.pairs.values():
            own = [board for board in boards if _has(board, pair["name"])]
            if own:
                found.append(_entry(lookup, pair, family, own, unit, better))
    return found


def _has(board: Board, pair: str) -> bool:
    return any((pair, metric) in board.student for metric in board.metrics) or pair in board.own


def _common_scale(lookup: Lookup, boards: Iterable[Board]) -> tuple[str, str]:
    """Unit and direction that most headline metrics of the family share."""
    scales: Counter[tuple[str, str]] = Counter()
    for board in boards:
        metric = lookup.headline.get((board.task, board.protocol))
        if metric is not None:
            scales[board.metrics[metric].unit, board.metrics[metric].better] += 1
    return scales.most_common(1)[0][0] if scales else ("", "")


def _entry(
    lookup: Lookup, pair: dict[str, Any], family: str, boards: list[Board], unit: str, better: str
) -> Entry:
    name, z = pair["name"], NormalDist().inv_cdf((1 + lookup.run.confidence) / 2)
    chosen = []
    for board in boards:
        metric = lookup.headline.get((board.task, board.protocol))
        if metric and (board.metrics[metric].unit, board.metrics[metric].better) == (unit, better):
            chosen.append((board, metric))
    entry = Entry(lookup, pair, family, chosen, unit, better)

    def mean(rows: Sequence[Row | None]) -> Interval | None:
        return mean_of([row for row in rows if row is not None], len(rows), z)

    def derived(suffix: str) -> Interval | None:
        return mean([b.derived.get((name, m), {}).get(suffix) for b, m in chosen])

    entry.numbers = {
        "quality": mean([b.student.get((name, m)) for b, m in chosen]),
        "teacher_quality": mean([b.teacher.get((pair["teacher"], m)) for b, m in chosen]),
        "retention": derived("retention"),
        "gap": derived("gap"),
        "gain": derived("gain_over_baseline"),
    }
    everywhere = lookup.boards.values()  # speed and memory belong to a student, whatever the family
    for column, patterns in PAIR_METRICS.items():
        rows = [
            row
            for b in everywhere
            for m, row in b.own.get(name, {}).items()
            if matches(m, patterns) and row.status != "skipped"
        ]
        entry.numbers[column] = mean(rows) if rows else None
    for column, patterns in STUDENT_METRICS.items():
        values = [
            row.value
            for b in everywhere
            for (p, m), row in b.student.items()
            if p == name and matches(m, patterns) and row.value is not None
        ]
        entry.plain[column] = max(values, default=None)
    steps = {row.steps for b in boards for (p, _), row in b.student.items() if p == name}
    entry.plain["steps"] = steps.pop() if len(steps) == 1 else None
    for what in ("parameters", "weight_bytes"):
        entry.plain[what] = lookup.size(pair["student"], what)
    _judge_status(entry, boards)
    return entry


def mean_of(rows: Sequence[Row], expected: int, z: float) -> Interval | None:
    """Mean of the rows' values; None unless all `expected` rows have one, no bounds unless all have them.

    The rows are independent, so their variances (from the half widths of their intervals) add up.
    """
    values = [row.value for row in rows if row.value is not None and math.isfinite(row.value)]
    if not values or len(values) < expected:
        return None
    value = sum(values) / len(values)
    widths = [
        row.ci_high - row.ci_low
        for row in rows
        if row.ci_low is not None and row.ci_high is not None
    ]
    if len(widths) < len(rows):
        return Interval(value)
    if len(rows) == 1:
        return Interval(value, rows[0].ci_low, rows[0].ci_high)
    variance = sum((width / 2 / z) ** 2 for width in widths)
    half = z * math.sqrt(variance) / len(rows)
    return Interval(value, value - half, value + half)


def _judge_status(entry: Entry, boards: Sequence[Board]) -> None:
    name = entry.pair["name"]
    broken = [
        row
        for board in boards
        for source in (
            [row for (p, _), row in board.student.items() if p == name],
            list(board.own.get(name, {}).values()),
        )
        for row in source
        if row.status == "failed"
    ]
    if not broken:
        return
    tasks = {row.task for row in broken}
    entry.status = "failed" if len(tasks) == len({board.task for board in boards}) else "partial"
    reasons = dict.fromkeys(f"{row.task}: {row.reason}" for row in broken)
    entry.reason = "; ".join(list(reasons)[:3])


def rank(entries: Sequence[Entry], notice: Callable[[str], None]) -> None:
    """Give every entry with a quality its range of ranks within its group."""
    import numpy as np

    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        entry.group = _group(entry)
        if entry.numbers["quality"] is not None:
            groups[entry.group].append(entry)
    for members in groups.values():
        confidence = members[0].lookup.run.confidence
        where = [(entry.lookup, entry.pair["student"]) for entry in members]
        tasks = [
            shared_scores(where, board.task, board.protocol, metric)
            for board, metric in members[0].headline
        ]
        if len(members) > 1 and all(task is not None for task in tasks):
            means, covariance = macro_average([task for task in tasks if task is not None])
        else:
            means, covariance = _from_rows(members)
            if len(members) > 1:
                notice(
                    f"{members[0].lookup.run.suite}: ranks on {members[0].family} rest on the students' "
                    "own intervals, as their samples can't be paired"
                )
        ranges = rank_ranges(
            np.asarray(means), np.asarray(covariance), confidence, members[0].better
        )
        for entry, places in zip(members, ranges, strict=True):
            entry.ranks, entry.rank_of = places, len(members)


def _group(entry: Entry) -> str:
    """Entries of one group answer the same documents in the same protocols."""
    parts = []
    for board, metric in sorted(entry.headline, key=lambda pair: (pair[0].task, pair[0].protocol)):
        cell = entry.lookup.cells.get((board.task, board.protocol, entry.pair["student"]), {})
        data = cell.get("ingredients", {}).get("data", "")
        parts.append("\n".join((board.task, board.protocol, metric, str(data))))
    return identifier(entry.family, *parts)


def _from_rows(members: Sequence[Entry]) -> tuple[Any, Any]:
    import numpy as np

    z = NormalDist().inv_cdf((1 + members[0].lookup.run.confidence) / 2)
    means, variances = [], []
    for entry in members:
        quality = entry.numbers["quality"]
        assert quality is not None
        means.append(quality.value)
        if quality.low is not None and quality.high is not None:
            variances.append(((quality.high - quality.low) / 2 / z) ** 2)
    if len(variances) < len(means):
        return np.array(means), np.full((len(means), len(means)), np.nan)
    return np.array(means), np.diag(variances)


def frame(entries: Sequence[Entry]) -> dict[str, Any]:
    """The entries by columns, as the page reads them."""

    def texts(read: Callable[[Entry], str | None]) -> dict[str, Any]:
        return coded([read(entry) for entry in entries])

    def intervals(key: str) -> dict[str, Any]:
        found = [entry.numbers.get(key) for entry in entries]
        return {
            "value": [finite(i.value) if i else None for i in found],
            "low": [finite(i.low) if i else None for i in found],
            "high": [finite(i.high) if i else None for i in found],
        }

    quality_of_teacher = [entry.numbers.get("teacher_quality") for entry in entries]
    return {
        "n": len(entries),
        "columns": {
            "id": [entry.id for entry in entries],
            "family": texts(lambda e: e.family),
            "suite": texts(lambda e: e.lookup.run.suite),
            "pair": texts(lambda e: e.pair["name"]),
            "student": texts(lambda e: e.pair["student"]),
            "teacher": texts(lambda e: e.pair["teacher"]),
            "method": texts(lambda e: e.pair["method"]),
            "hardware": texts(lambda e: e.lookup.hardware),
            "status": texts(lambda e: e.status),
            "reason": texts(lambda e: e.reason or None),
            "run": texts(lambda e: e.lookup.run.id),
            "created": texts(lambda e: e.lookup.run.started),
            "group": texts(lambda e: e.group),
            "quality_unit": texts(lambda e: e.unit),
            "quality_better": texts(lambda e: e.better),
            "tasks": [len(entry.headline) for entry in entries],
            "rank_low": [entry.ranks[0] if entry.ranks else None for entry in entries],
            "rank_high": [entry.ranks[1] if entry.ranks else None for entry in entries],
            "rank_of": [entry.rank_of for entry in entries],
            "teacher_quality": [finite(i.value) if i else None for i in quality_of_teacher],
            **{
                key: [entry.plain.get(key) for entry in entries]
                for key in ("steps", "parameters", "weight_bytes", *STUDENT_METRICS)
            },
            **{
                key: intervals(key)
                for key in ("quality", "retention", "gap", "gain", *PAIR_METRICS)
            },
        },
    }
