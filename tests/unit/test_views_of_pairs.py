"""What a walk on a pair says of each model is published as if that one had been measured alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kdbench.results.sample import Sample
from kdbench.results.store import CellRecord, Store
from kdbench.run.plan import PlannedCell, Subject
from kdbench.run.publish import sample_file, views_of
from kdbench.tasks.task import Metric

ACC = Metric("acc", "fraction", "higher", "")
AGREEMENT = Metric("agreement", "fraction", "higher", "")


def cell(student: str, alone: tuple[Metric, ...] = (ACC,)) -> PlannedCell:
    spec: Any = SimpleNamespace(task="classification")
    return PlannedCell(
        "classification/x", None, spec, Subject(teacher="t", student=student), None, {"images": "x"},
        [AGREEMENT], f"key-of-{student}", {"seed": 0}, "Abacus", None, model_metrics=alone,
    )  # fmt: skip


def stored(store: Store, student: str, teacher_right: float) -> None:
    own = store.cell(f"key-of-{student}")
    scores = {"agreement": 1.0, "teacher.acc": teacher_right, "student.acc": 0.0}
    extra = {"teacher": {"output": "cat", "choice": 3}, "skipped": {"student.acc5": "few"}}
    with own.appending() as log:
        log.append([Sample("i", 0, "i", scores, "1.png", "cat", extra=extra)])
    own.write_record(CellRecord(own.folder.name, {}, "done", total=1, covered=1))


def views(store: Store, *cells: PlannedCell) -> list[Any]:
    plan: Any = SimpleNamespace(cells=cells)
    return [view for _, view in views_of(plan, store)]


def test_a_pairs_samples_are_parted_into_both_and_each(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored(store, "s", 1.0)
    both, teacher, student = views(store, cell("s"))
    assert (both.student, both.metrics) == ("s", [AGREEMENT])
    assert both.protocol == "images=x; compared=between teacher and student"
    assert both.read()[0].scores == {"agreement": 1.0}
    assert (teacher.model, teacher.metrics, teacher.protocol) == ("t", [ACC], "images=x")
    (sample,) = teacher.read()
    assert (sample.scores, sample.output, sample.extra) == ({"acc": 1.0}, "cat", {"choice": 3})
    (sample,) = student.read()
    assert (student.model, sample.scores) == ("s", {"acc": 0.0})
    assert sample.extra == {"skipped": {"acc5": "few"}}
    assert len({sample_file(view) for view in (both, teacher, student)}) == 3


def test_a_teacher_of_several_students_is_told_once_from_a_pair_that_was_measured(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    stored(store, "b", 1.0)
    found = views(store, cell("a"), cell("b"))
    assert [(view.model, view.status) for view in found] == [
        ("", "failed"), ("t", "done"), ("a", "failed"), ("", "done"), ("b", "done"),
    ]  # fmt: skip
    assert found[1].key == "key-of-b"


def test_a_task_that_says_nothing_of_single_models_has_one_view(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stored(store, "s", 1.0)
    (only,) = views(store, cell("s", ()))
    assert only.protocol == "images=x" and "teacher.acc" in only.read()[0].scores


def test_a_baseline_is_walked_with_the_teacher_only_where_something_is_said_of_it_alone() -> None:
    from kdbench.run.plan import subjects
    from kdbench.suite import PairSpec
    from kdbench.tasks.classification.task import Classification, ClassificationParams
    from kdbench.tasks.efficiency.classifier import ClassifierParams, EfficiencyClassifier

    pairs = [
        PairSpec(name=name, teacher="t", student=name, method="", baseline="b") for name in "sr"
    ]
    walked = Classification(ClassificationParams(data="x"), Path())
    timed = EfficiencyClassifier(ClassifierParams(), Path())
    assert [one.student for one in subjects(walked, pairs)] == ["s", "r", "b"]
    assert [one.student for one in subjects(timed, pairs)] == ["s", "r"]
