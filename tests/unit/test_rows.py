"""From samples to rows: groups are pooled, failures are carried, nothing needs a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kdbench.results.sample import Sample
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.run.worker import blocks
from kdbench.tasks.task import Item, Metric

HEADER = Header("s", 0, 0.95, [Pair("kl", "t", "s", "forward-kl", "b")])
ACC = Metric("acc", "fraction", "higher", "")


def view(
    model: str, scores: list[float], label: str = "x/one", group: str | None = None
) -> CellView:
    samples = [Sample(f"i{k}", k, f"c{k}", {"acc": score}) for k, score in enumerate(scores)]
    return CellView(
        label=label, group=group, protocol=f"harness=h; task={label}; shots=0", metrics=[ACC],
        model=model, teacher="", student="", key=f"{label}-{model}-key", status="done", reason="",
        hardware="CPU", finished="2026-01-01T00:00:00+00:00", kdbench="0", summary={},
        read=lambda: samples,
    )  # fmt: skip


def found(cells: list[CellView]) -> dict[tuple[str, str, str], object]:
    return {(row.task, row.metric, row.model): row for row in table_rows(HEADER, cells)}


def test_a_group_is_the_mean_over_all_documents_of_its_members():
    cells = [
        view(model, scores, label, "x/all")
        for model, half in (("t", [1.0, 1.0]), ("s", [1.0, 0.0]), ("b", [0.0, 0.0]))
        for label, scores in (("x/one", half), ("x/two", [1.0] * 6))
    ]
    rows = found(cells)
    assert rows["x/all", "acc", "s"].value == pytest.approx(7 / 8)
    assert rows["x/all", "acc", "s"].n == 8
    assert rows["x/all", "acc.retention", "s"].value == pytest.approx(7 / 8)
    assert rows["x/all", "acc", "t"].protocol == "harness=h; shots=0; members=2"
    assert rows["x/one", "acc", "s"].value == pytest.approx(0.5)


def test_a_group_with_a_failed_member_fails_with_its_reason():
    cells = [view(m, [1.0, 0.0], label, "x/all") for m in "tsb" for label in ("x/one", "x/two")]
    cells[3] = replace(cells[3], status="failed", reason="no disk")
    row = found(cells)["x/all", "acc", "s"]
    assert (row.status, row.reason) == ("failed", "x/two: no disk")


def test_a_failed_teacher_fails_the_pair_and_not_the_student():
    cells = [replace(view("t", []), status="failed", reason="boom"), view("s", [1.0, 0.0])]
    rows = found(cells)
    assert rows["x/one", "acc", "s"].status == "ok"
    assert rows["x/one", "acc.gap", "s"].status == "failed"
    assert rows["x/one", "acc.gap", "s"].reason == "t: boom"


def test_a_baseline_outside_of_every_pair_has_its_own_row():
    rows = found([view("t", [1, 1, 1]), view("s", [1, 1, 0]), view("b", [1, 0, 0])])
    row = rows["x/one", "acc", "b"]
    assert (row.role, row.method, row.pair) == ("student", "baseline", "")
    assert rows["x/one", "acc.gain_over_baseline", "s"].value == pytest.approx(1 / 3)


def test_samples_without_a_metrics_score_are_left_out_of_it():
    cell = view("t", [1.0, 0.0, 1.0])
    samples = [replace(s, scores={}) if s.index == 1 else s for s in cell.read()]
    rows = found([replace(cell, read=lambda: samples), view("s", [0.0, 1.0, 1.0])])
    assert (rows["x/one", "acc", "t"].value, rows["x/one", "acc", "t"].n) == (1.0, 2)
    assert (rows["x/one", "acc.gap", "s"].value, rows["x/one", "acc.gap", "s"].n) == (-0.5, 2)


def told(scores: list[float], categories: list[str]) -> CellView:
    cell = view("t", scores)
    samples = [
        replace(sample, cluster=f"c{sample.index // 2}", tags={"category": category} if category else {})
        for sample, category in zip(cell.read(), categories, strict=True)
    ]  # fmt: skip
    return replace(cell, metrics=[replace(ACC, by="category")], read=lambda: samples)


def test_each_value_of_a_metrics_tag_has_the_row_that_its_samples_alone_would_give():
    categories = ["math", "v1.5", "math", "math", "v1.5", "", "math", "math"]
    cell = told([1, 0, 0, 1, 1, 1, 0, 1], categories)
    rows = found([cell])
    assert {metric for _, metric, _ in rows} == {"acc", "acc[category=math]", "acc[category=v1.5]"}
    for category, n, clusters in (("math", 5, 3), ("v1.5", 2, 2)):
        own = [sample for sample in cell.read() if sample.tags.get("category") == category]
        (alone,) = found([replace(cell, metrics=[ACC], read=lambda own=own: own)]).values()
        row = rows["x/one", f"acc[category={category}]", "t"]
        assert row == replace(alone, metric=row.metric)
        assert (row.n, row.n_clusters) == (n, clusters)
    assert rows["x/one", "acc", "t"].n == 8


def test_a_tag_that_no_sample_has_and_a_cell_without_samples_give_no_further_rows():
    assert [metric for _, metric, _ in found([told([1, 0], ["", ""])])] == ["acc"]
    broken = replace(told([1, 0], ["a", "b"]), status="failed", reason="boom")
    assert [metric for _, metric, _ in found([broken])] == ["acc"]


def test_samples_of_a_tag_that_an_aggregation_cannot_use_fail_their_row_alone():
    cell = told([1.0, 0.0, 0.5], ["a", "a", "b"])
    f1 = replace(cell, metrics=[Metric("acc", "fraction", "higher", "", "exact", by="category")])
    rows = found([replace(f1, read=lambda: cell.read()[1:])])
    assert rows["x/one", "acc", "t"].status == "failed"
    assert [rows["x/one", f"acc[category={c}]", "t"].value for c in "ab"] == [0.0, 0.5]


def test_blocks_have_the_same_borders_whatever_is_stored():
    items = [Item(f"i{k}", k, "c", None) for k in range(70)]
    assert [len(block) for block in blocks(items, 32, set())] == [32, 32, 6]
    rest = blocks(items, 32, set(range(5)) | {40})
    assert [[item.index for item in block][:1] for block in rest] == [[5], [32], [64]]
    assert [len(block) for block in rest] == [27, 31, 6]
    assert blocks(items, 32, set(range(70))) == []


def test_scores_that_an_aggregation_cannot_use_fail_their_row_and_not_the_table():
    f1 = Metric("acc", "fraction", "higher", "", "f1")
    rows = found([replace(view("t", [0.5, 0.25]), metrics=[f1]), view("t", [1.0], "x/two")])
    assert rows["x/one", "acc", "t"].status == "failed"
    assert "can't use these scores" in rows["x/one", "acc", "t"].reason
    assert rows["x/two", "acc", "t"].status == "ok"
