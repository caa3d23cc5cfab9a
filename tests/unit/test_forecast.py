"""How long a run's timings take: tried before the first one, summed up, and fitted to a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdbench.results.store import CellRecord, Store
from kdbench.run import forecast
from kdbench.run.catalogue import timing_lines
from kdbench.run.forecast import (
    Expected,
    Foretold,
    beyond,
    expected,
    foretell,
    most_telling,
    to_come,
)
from kdbench.run.plan import Subject
from kdbench.run.progress import predicted

PAIRS = {name: Subject(teacher="t", student=name) for name in ("a", "b")}


@dataclass(frozen=True)
class Cell:
    key: str
    subject: Subject = PAIRS["a"]
    label: str = "efficiency/text/b1"
    task: str = "efficiency.text"
    timing: bool = True
    foretells: bool = True
    hardware: str = "Abacus"
    ingredients: dict[str, Any] = field(default_factory=dict, hash=False)
    least: float = 2.0

    @property
    def loads(self) -> tuple[str, ...]:
        return self.subject.models

    @property
    def spec(self) -> Any:
        task = SimpleNamespace(least_seconds=lambda: self.least)
        return SimpleNamespace(task=self.task, build=lambda: task)


def cells(*made: Cell) -> Any:
    return list(made)


def load(*made: Cell) -> Any:
    return made[0].subject.models, list(made)


def test_what_stays_loaded_is_not_paid_for_again() -> None:
    one = Cell("1")
    found = {"1": Foretold(10.0, {"t": 3.0, "a": 2.0})}
    assert to_come(found, [load(one)], [load(one)]) == {"1": 10.0}


def test_a_model_that_others_have_replaced_since_its_trial_is_paid_for_again() -> None:
    one, two = Cell("1"), Cell("2", PAIRS["b"])
    found = {"1": Foretold(10.0, {"t": 3.0, "a": 2.0}), "2": Foretold(5.0, {"b": 1.0})}
    # tried: b, then a; measured: a (still there), then b (loaded anew; the teacher never left)
    assert to_come(found, [load(two), load(one)], [load(one), load(two)]) == {"1": 10.0, "2": 6.0}
    # a task on the teacher alone came between: the students are gone, the teacher is not
    between = (("t",), [])
    again = to_come(found, [load(two), load(one)], [between, load(one), load(two)])
    assert again == {"1": 12.0, "2": 6.0}
    # other processes came between: nothing is left, and the teacher is paid for by the first that needs it
    elsewhere = ((), [])
    again = to_come(found, [load(two), load(one)], [elsewhere, load(one), load(two)])
    assert again == {"1": 15.0, "2": 6.0}


def test_each_shape_pays_for_itself() -> None:
    one, other = Cell("1"), Cell("2", label="efficiency/text/b8")
    found = {"1": Foretold(10.0, {"a": 2.0}), "2": Foretold(20.0, {"a": 4.0})}
    gone = (("x",), [])
    assert to_come(found, [load(one, other)], [gone, load(one, other)]) == {"1": 12.0, "2": 24.0}


def test_a_timing_that_could_not_be_tried_has_no_time() -> None:
    one = Cell("1")
    assert to_come({"1": Foretold(None)}, [load(one)], [load(one)]) == {}


def test_the_first_shapes_of_all_pairs_come_before_the_second_ones() -> None:
    made = cells(Cell("a1"), Cell("a2"), Cell("b1", PAIRS["b"]), Cell("b2", PAIRS["b"]), Cell("a3"))
    made.append(Cell("i1", task="efficiency.image"))
    assert [cell.key for cell in most_telling(made)] == ["a1", "b1", "i1", "a2", "b2", "a3"]


def test_what_does_not_fit_leaves_its_place_to_what_does() -> None:
    made = cells(Cell("1"), Cell("2"), Cell("3"), Cell("4"))
    seconds = {"1": 4.0, "2": 9.0, "3": 5.0}
    assert beyond(made, seconds, 10.0) == {"2"}
    assert beyond(made, seconds, -1.0) == {"1", "2", "3"}
    assert beyond(made, seconds, None) == set()


class Workers:
    """Says of each cell what `told` says; None: the worker dies of it."""

    def __init__(self, told: dict[str, Foretold | None]) -> None:
        self.told = told
        self.asked: list[str] = []

    def execute(self, orders: Sequence[Any], on_event: Any, **how: Any) -> None:
        assert how == {"stay": True, "alone": True}
        for cell in (cell for order in orders for cell in order["cells"]):
            self.asked.append(cell.key)
            assert all(order["foretell"] for order in orders)
            one = self.told[cell.key]
            if one is None:
                on_event({"event": "failed", "cell": cell.key, "reason": "dead", "lost": True})
                continue
            on_event(
                {
                    "event": "foretold", "cell": cell.key, "seconds": one.seconds,
                    "once": one.once, "tried": one.tried,
                }
            )  # fmt: skip


def foretold(
    batches: Any, told: dict[str, Foretold | None], store: Store, monkeypatch: pytest.MonkeyPatch,
    budget: float | None = None,
) -> tuple[set[str], list[dict[str, Any]], Workers]:  # fmt: skip
    monkeypatch.setattr(forecast, "orders_of", lambda plan, store, own: [{"cells": list(own)}])
    workers: Any = Workers(told)
    events: list[dict[str, Any]] = []
    plan: Any = SimpleNamespace()
    out = foretell(plan, store, workers, batches, False, budget, events.append)
    return out, events, workers


def test_one_total_is_told_for_all_pairs_with_what_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cells(
        Cell("a"), Cell("b", PAIRS["b"]), Cell("q", timing=False),
        Cell("f", label="efficiency/footprint/b1", foretells=False),
    )  # fmt: skip
    told = {"a": Foretold(60.0, tried=2.0), "b": Foretold(65.2, tried=1.0)}
    out, (event,), workers = foretold([made], told, Store(tmp_path), monkeypatch)
    assert out == set() and workers.asked == ["b", "a"]
    assert predicted(event) == (
        "timings: 2, about 2 min 05 s besides loading; trying them took 3.0 s; how long "
        "efficiency/footprint/b1 takes is not known beforehand"
    )


def test_a_budget_bounds_trials_and_timings_together_and_records_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cells(Cell("a1"), Cell("a2"), Cell("b1", PAIRS["b"]), Cell("b2", PAIRS["b"]))
    told = {key: Foretold(seconds, tried=1.0) for key, seconds in
            (("a1", 10.0), ("a2", 30.0), ("b1", 12.0), ("b2", 3.0))}  # fmt: skip
    store = Store(tmp_path)
    out, events, _ = foretold([made], told, store, monkeypatch, budget=29.5)
    assert out == {"a2"}
    assert predicted(events[0]) == (
        "timings: 3, about 25.0 s besides loading; 1 left out by the budget; trying them took 4.0 s"
    )
    assert events[1]["event"] == "left_out" and "about 30.0 s" in events[1]["reason"]
    record = store.cell("a2").record()
    assert record is not None and record.status == "skipped" and record.hardware == "Abacus"
    assert store.cell("a1").record() is None


def test_a_trial_that_kills_its_worker_costs_its_own_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"1": None, "2": Foretold(4.0)}
    made = cells(Cell("1"), Cell("2"))
    out, events, _ = foretold([made], told, Store(tmp_path), monkeypatch)
    assert out == {"1"}
    assert [one["event"] for one in events] == ["failed", "predicted"]
    assert events[1]["timings"] == 1 and events[1]["unknown"] == []


def timing(models: dict[str, str], **more: Any) -> dict[str, Any]:
    found = {
        "task": "efficiency.text", "version": 1, "parameters": {"batch": [1], "rounds": 16},
        "data": "d", "threads": 1, "models": models, "hardware": "Abacus",
    }  # fmt: skip
    return found | more


def plan_of(*made: Cell) -> Any:
    return SimpleNamespace(todo=list(made))


def test_before_anything_is_loaded_the_settings_give_a_bound() -> None:
    made = Cell("1", ingredients=timing({})), Cell("2", least=0.5), Cell("q", timing=False)
    known = expected(plan_of(*made), Store(Path("nowhere")))
    assert known == Expected(2, 2.5)
    assert timing_lines(known) == [
        "2 timings among them, at least 2.5 s by their settings; a run tries them and says how long they "
        "take before it begins"
    ]
    assert timing_lines(Expected(0, 0.0)) == []


def test_timings_of_other_models_on_this_hardware_are_an_estimate(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def stored(key: str, seconds: float, models: dict[str, str], **more: Any) -> None:
        own = timing(models, **more)
        record = CellRecord(
            key, own, "done", hardware=own["hardware"], seconds={"measure": seconds}
        )
        store.cell(key).write_record(record)

    stored("k1", 7.0, {"teacher": "t", "student": "other"})
    stored("k2", 9.0, {"teacher": "u", "student": "other"})
    stored("k3", 99.0, {"teacher": "t", "student": "s"}, hardware="Pascaline")
    stored("k4", 99.0, {"teacher": "t", "student": "s"}, threads=8)
    reordered = {"rounds": 16, "batch": [1]}
    one = Cell("1", ingredients=timing({"teacher": "t", "student": "s"}, parameters=reordered))
    two = Cell("2", ingredients=timing({"teacher": "t"}, parameters={"batch": [2]}))
    known = expected(plan_of(one, two), store)
    assert known == Expected(2, 4.0, 1, 7.0)
    assert (
        "; 1 of them took 7.0 s on this hardware before, with other models or seeds; "
        in (timing_lines(known)[0])
    )
