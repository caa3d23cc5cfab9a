"""Timings have the machine to themselves, and share a budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from kdbench.commands.run import seconds_of
from kdbench.errors import SettingsConflictError
from kdbench.run import plan as plan_module
from kdbench.run.plan import Subject, orders_of
from kdbench.run.progress import predicted
from kdbench.run.runner import apart


@dataclass(frozen=True)
class Cell:
    key: str
    timing: bool = False
    subject: Subject = field(default_factory=lambda: Subject(model="m"))

    @property
    def loads(self) -> tuple[str, ...]:
        return self.subject.models


def test_timings_wait_until_no_other_worker_computes() -> None:
    cells: list[Any] = [Cell("a"), Cell("b", True), Cell("c"), Cell("d", True)]
    assert [[c.key for c in batch] for batch in apart(cells, 2)] == [["a", "c"], ["b", "d"]]
    assert [[c.key for c in batch] for batch in apart(cells, 1)] == [["a", "b", "c", "d"]]


def test_a_budget_is_shared_by_the_number_of_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "_order", lambda plan, store, models, own: {"models": models})
    one, two = Subject(teacher="t", student="s"), Subject(teacher="t", student="r")
    cells: list[Any] = [Cell("a", True, one), Cell("b", True, one), Cell("c", True, two), Cell("d")]
    plan: Any = SimpleNamespace()
    orders = {order["models"]: order["budget"] for order in orders_of(plan, plan, cells, 90.0)}
    assert orders == {("t", "s"): 60.0, ("t", "r"): 30.0, ("m",): 0.0}
    assert {order["budget"] for order in orders_of(plan, plan, cells)} == {None}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_budget_is_written_as_a_duration(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "", "-1m", "0s", "1d", "infh", "nanm"])
def test_anything_else_is_no_budget(text: str) -> None:
    with pytest.raises(SettingsConflictError, match="write a duration like 90s, 10m or 2h"):
        seconds_of(text)


def test_a_prediction_reads_as_a_sentence() -> None:
    event = {"models": ["big", "small"], "timings": 6, "seconds": 125.2, "left_out": 2}
    assert (
        predicted(event) == "timings of big and small: 6, about 2 min 5 s; 2 left out by the budget"
    )
