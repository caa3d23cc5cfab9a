"""A cell is a growing set of samples: tasks that differ only in their limit are views of its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kdbench import registry
from kdbench.models.protocols import GENERATE_TEXT, Prompt
from kdbench.results.published import Published
from kdbench.results.sample import Sample
from kdbench.results.store import Store
from kdbench.results.table import Row
from kdbench.run.plan import Plan, make_plan, orders_of
from kdbench.run.publish import publish, rebuild
from kdbench.run.until_decided import _shared
from kdbench.run.worker import Worker
from kdbench.stats import Estimate
from kdbench.suite import load_suite
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.task import Context, Item, Metric, ModelTask, Summary, TaskParams

MODEL = """
from kdbench.models.protocols import Generated

class Echo:
    def __init__(self, every):
        self.every = every

    def generate_text(self, prompts):
        return [Generated(str(int(p.text) // self.every), 1, "stop") for p in prompts]
"""


class NumbersParams(TaskParams):
    name: str = "numbers"


class Numbers(ModelTask):
    """Ten numbers are repeated; how many different answers came is known of a whole set alone."""

    version, about, source, Params = 1, "repeats numbers", "a test", NumbersParams

    @property
    def label(self) -> str:
        return f"numbers/{self.params.name}"

    def identity(self) -> dict[str, Any]:
        return {}

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_TEXT})

    def metrics(self) -> list[Metric]:
        return [
            Metric("different", "answers", "higher", "", OWN),
            Metric("number", "number", "higher", ""),
        ]

    def protocol(self) -> dict[str, str]:
        return {"prompt": "number"}

    def data_fingerprint(self) -> str:
        return "ten"

    def items(self, limit: int | None) -> list[Item]:
        return [Item(sha256(b"%d" % i).hexdigest(), i, str(i), i) for i in range(10)[:limit]]

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        answers = model.generate_text([Prompt(str(item.payload), (), 4) for item in items])
        return [
            Sample(i.id, i.index, i.cluster, {"number": float(a.text)}, output=a.text)
            for i, a in zip(items, answers, strict=True)
        ]

    def summarise(self, samples: Sequence[Sample], context: Context) -> Mapping[str, Summary]:
        count = float(len({sample.output for sample in samples}))
        told = Estimate(count, count - 1, count + 1, "a test", len(samples), len(samples))
        return {"different": Summary(told)}


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.tasks.names()
    monkeypatch.setitem(registry.tasks._classes, "numbers", Numbers)
    monkeypatch.setattr(Numbers, "name", "numbers", raising=False)


def _suite(folder: Path, tasks: str) -> Path:
    (folder / "echo_model.py").write_text(MODEL)
    path = folder / "views.yaml"
    path.write_text(
        f"""
models:
  teacher: {{adapter: callable, target: "echo_model:Echo", verbs: [generate_text], options: {{every: 1}}}}
  student: {{adapter: callable, target: "echo_model:Echo", verbs: [generate_text], options: {{every: 2}}}}
pairs:
  - {{teacher: teacher, student: student}}
tasks:
{tasks}
"""
    )
    return path


def _run(path: Path) -> tuple[list[Row], Plan]:
    """Measure what is left, in this process; the rows, and the plan before."""
    suite, store = load_suite(path), Store(path.parent / "results")
    plan = make_plan(suite, store)
    events: list[dict[str, Any]] = []
    worker = Worker(lambda event, **told: events.append({"event": event, **told}))
    for order in orders_of(plan, store, plan.todo):
        worker.run(order)
    assert not [event for event in events if event["event"] == "failed"]
    target = Published(path.parent / "results" / suite.name)
    return publish(make_plan(suite, store), store, target, {}, ""), plan


def _values(rows: list[Row]) -> dict[tuple[str, str, str], float | None]:
    """Values by metric, role and the limit in the protocol."""
    return {
        (row.metric, row.role, row.protocol.partition("limit=")[2]): row.value
        for row in rows
        if row.status == "ok"
    }


BOTH = "  - {task: numbers, name: few, limit: 3}\n  - {task: numbers}"
EXPECTED = {
    ("different", "teacher", "3"): 3, ("different", "student", "3"): 2,
    ("different", "teacher", ""): 10, ("different", "student", ""): 5,
    ("number", "teacher", "3"): 1, ("number", "teacher", ""): 4.5,
    ("number.gap", "pair", "3"): pytest.approx(-2 / 3), ("number.gap", "pair", ""): -2.5,
}  # fmt: skip


def test_tasks_that_differ_only_in_their_limit_both_have_their_rows(tmp_path: Path) -> None:
    path = _suite(tmp_path, BOTH)
    rows, plan = _run(path)
    assert len({cell.key for cell in plan.cells}) == 2 and len(plan.cells) == 4
    assert not [row for row in rows if row.status == "failed"]
    assert _values(rows).items() >= EXPECTED.items()
    target = Published(tmp_path / "results" / "views")
    assert len(list((target.folder / "samples").glob("*.parquet"))) == 4
    before = target.table.read_text()
    rebuild(target)
    assert target.table.read_text() == before
    again, plan = _run(path)
    assert not plan.todo and again == rows


def test_a_wider_limit_measures_the_rest_and_keeps_what_was_told_of_the_beginning(
    tmp_path: Path,
) -> None:
    few, _ = _run(_suite(tmp_path, "  - {task: numbers, limit: 3}"))
    logs = list(tmp_path.glob("results/cells/*/samples.jsonl"))
    assert [log.read_text().count('"scores"') for log in logs] == [3, 3]
    rows, plan = _run(_suite(tmp_path, BOTH))
    assert len(plan.todo) == 2
    assert [log.read_text().count('"scores"') for log in logs] == [10, 10]
    assert _values(rows).items() >= EXPECTED.items()
    assert _values(rows).items() >= _values(few).items()
    _, plan = _run(_suite(tmp_path, "  - {task: numbers, limit: 3}"))
    assert not plan.todo


def test_a_limit_that_was_never_summarised_is_told_from_stored_samples_alone(
    tmp_path: Path,
) -> None:
    _run(_suite(tmp_path, "  - {task: numbers}"))
    suite, store = (
        load_suite(_suite(tmp_path, "  - {task: numbers, limit: 3}")),
        Store(tmp_path / "results"),
    )
    plan = make_plan(suite, store)
    events: list[str] = []
    worker = Worker(lambda event, **told: events.append(event))
    for order in orders_of(plan, store, plan.todo):
        worker.run(order)
    assert events.count("done") == 2 and "load" not in events
    assert all(cell.done for cell in make_plan(suite, store).cells)


def test_a_view_too_short_to_be_summarised_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Numbers.summarise

    def long_enough(self: Numbers, samples: Sequence[Sample], context: Context) -> Any:
        return whole(self, samples, context) if len(samples) > 5 else {}

    monkeypatch.setattr(Numbers, "summarise", long_enough)
    path = _suite(tmp_path, BOTH)
    _run(path)
    assert not make_plan(load_suite(path), Store(tmp_path / "results")).todo


def test_a_run_that_stops_early_meets_a_cell_of_several_rows_whole(tmp_path: Path) -> None:
    path = _suite(tmp_path, BOTH)
    plan = make_plan(load_suite(path), Store(tmp_path / "results"))
    assert _shared(plan) == {cell.key for cell in plan.cells}
    path = _suite(tmp_path, "  - {task: numbers}")
    assert not _shared(make_plan(load_suite(path), Store(tmp_path / "results")))
