"""A run's rows by what they are about, found without a search."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kdbench.leaderboard.folders import RunFolder
from kdbench.leaderboard.merge import hardware_of
from kdbench.results.addresses import pair_id
from kdbench.results.table import Row
from kdbench.run.headlines import Headlines


@dataclass
class Board:
    """Rows of one task in one protocol: by model, by pair, and what pairs add to a metric."""

    task: str
    protocol: str
    teacher: dict[tuple[str, str], Row] = field(default_factory=dict)
    student: dict[tuple[str, str], Row] = field(default_factory=dict)
    models: dict[tuple[str, str], Row] = field(default_factory=dict)
    derived: dict[tuple[str, str], dict[str, Row]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    own: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    metrics: dict[str, Row] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return family_of(self.task)


def family_of(task: str) -> str:
    return task.partition("/")[0]


def base_metric(metric: str, known: dict[str, Row]) -> str | None:
    """The model's metric that a pair's metric is derived from ("acc" of "acc.retention")."""
    base = metric
    while "." in base:
        base = base.rpartition(".")[0]
        if base in known:
            return base
    return None


def _as_in_the_suite(run: RunFolder) -> list[Row]:
    """The table's rows by the order of the suite's tasks: what its author names first comes first."""
    places: dict[str, int] = {}
    for cell in run.cells:
        places.setdefault(cell["label"], len(places))
    return sorted(run.rows, key=lambda row: places.get(row.task, len(places)))


class Lookup:
    """Rows, pairs and models of one run."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.boards: dict[tuple[str, str], Board] = {}
        for row in _as_in_the_suite(run):
            board = self._board(row)
            if row.role == "pair":
                continue
            board.metrics.setdefault(row.metric, row)
            board.models[row.model, row.metric] = row
            if row.role == "teacher":
                board.teacher[row.model, row.metric] = row
            elif row.pair:
                board.student[row.pair, row.metric] = row
        for row in run.rows:
            if row.role != "pair":
                continue
            board = self._board(row)
            base = base_metric(row.metric, board.metrics)
            if base is None:
                board.own[row.pair][row.metric] = row
            else:
                board.derived[row.pair, base][row.metric[len(base) + 1 :]] = row

    def _board(self, row: Row) -> Board:
        key = (row.task, row.protocol)
        if key not in self.boards:
            self.boards[key] = Board(*key)
        return self.boards[key]

    @cached_property
    def hardware(self) -> str:
        return hardware_of(self.run)

    def pair_id(self, pair: str) -> str:
        return pair_id(self.run.suite, pair, self.hardware)

    @cached_property
    def headlines(self) -> Headlines:
        """What a person sees first of each task; `headline` is the one number that speaks for it."""
        return Headlines(self.run.record)

    @cached_property
    def headline(self) -> dict[tuple[str, str], str]:
        """The metric that speaks for a task: the first that it declares and students have. Timings and what
        a model is made of are no quality, so nothing speaks for those."""
        declared: dict[tuple[str, str], list[str]] = {}
        for cell in self.run.cells:
            names = [metric["name"] for metric in cell["metrics"]]
            declared.setdefault((cell["label"], cell["protocol"]), names)
        found = {}
        for key, board in self.boards.items():
            if key in self.timings:
                continue
            there = {metric for _, metric in board.student}
            names = [name for name in declared.get(key, sorted(there)) if name in there]
            if names or there:
                found[key] = (names or sorted(there))[0]
        return found

    @cached_property
    def timings(self) -> set[tuple[str, str]]:
        """Tasks (with their protocols) whose cells have the hardware among what they depend on."""
        return {
            (cell["label"], cell["protocol"])
            for cell in self.run.cells
            if "hardware" in (cell.get("ingredients") or {})
        }

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Cells of models by (task, protocol, model)."""
        return {(c["label"], c["protocol"], c["model"]): c for c in self.run.cells if c["model"]}

    def size(self, model: str, what: str) -> int | None:
        """`parameters` or `weight_bytes` of a model; None where the record does not say."""
        value = self.run.record.get("models", {}).get(model, {}).get(what)
        return int(value) if value is not None else None
