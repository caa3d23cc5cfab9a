"""What papers claim, as rows that are never taken for measured ones."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kdbench.errors import StoreError
from kdbench.results.claims import EXTRA, converted, converted_folder, read, to_csv
from kdbench.results.table import COLUMNS

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"


def claim(**given: str) -> dict[str, str]:
    empty = dict.fromkeys(
        [
            "paper_id",
            "title",
            "method",
            "teacher",
            "student",
            "task",
            "dataset",
            "metric",
            "value",
            "unit",
            "higher_is_better",
            "baseline_name",
            "baseline_value",
            "steps_nfe",
            "params",
            "hardware",
            "quote",
        ],
        "",
    )
    return {**empty, "paper_id": "1", "title": "P", "metric": "accuracy", "value": "50", **given}


def test_the_committed_table_is_what_the_claims_become() -> None:
    assert (FOLDER / "metrics.csv").read_text(encoding="utf-8") == to_csv(converted_folder(FOLDER))


def test_every_row_can_be_traced_to_the_words_of_its_paper() -> None:
    with (FOLDER / "claims.csv").open(encoding="utf-8", newline="") as file:
        said = {(c["title"], c["metric"], c["value"], c["quote"]) for c in csv.DictReader(file)}
    for row in read(FOLDER):
        assert (row.source, row.stated_metric, row.stated_value, row.quote) in said
        assert row.row.status == "published" and row.quote


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    rows = converted_folder(FOLDER)
    (tmp_path / "metrics.csv").write_text(to_csv(rows), encoding="utf-8")
    assert to_csv(read(tmp_path)) == to_csv(rows)
    header = (FOLDER / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == [*COLUMNS, *EXTRA]


@pytest.mark.parametrize(
    ("metric", "unit", "value", "expected"),
    [
        ("accuracy", "%", "83.1", ("score", "", 0.831, "fraction")),
        ("accuracy", "% gain", "2.3", ("gain", "", 2.3, "% gain")),
        ("accuracy (gain)", "%", "11", ("gain", "", 11, "%")),
        ("accuracy", "% gain (maximum)", "8.0", ("gain", "up to", 8, "% gain")),
        ("FID", "", "5.02", ("score", "", 5.02, "")),
        ("FID (relative reduction, up to)", "%", "72", ("relative", "up to", 72, "%")),
        ("parameters", "M", "15.7", ("score", "", 15.7e6, "parameters")),
        ("parameters", "% of baseline", "11", ("ratio", "", 0.11, "ratio")),
        (
            "parameters",
            "fraction reduction",
            "0.3333",
            ("relative", "", 0.3333, "fraction reduction"),
        ),
        ("latency", "x speedup (lower bound)", "100", ("ratio", "at least", 100, "ratio")),
        ("generation time (within)", "s", "3", ("score", "at most", 3, "s")),
        ("micro-F1", "(lower bound)", "0.90", ("score", "at least", 0.9, "")),
        ("capability preserved", "% of teacher", "98.4", ("ratio", "", 0.984, "ratio")),
        ("average over benchmarks", "% gain", "8.8", ("gain", "", 8.8, "% gain")),
    ],
)
def test_a_number_stays_the_kind_of_number_that_it_is(
    metric: str, unit: str, value: str, expected: tuple[str, str, float, str]
) -> None:
    row = converted(claim(metric=metric, unit=unit, value=value), "llm-kd")
    assert row is not None
    found = (row.quantity, row.bound, row.row.value, row.row.unit)
    assert found == (*expected[:2], pytest.approx(expected[2]), expected[3])
    assert (row.stated_value, row.stated_unit) == (value, unit)


def test_a_range_has_ends_and_no_value() -> None:
    row = converted(claim(metric="sampling speedup", unit="x", value="15-50"), "video")
    assert row is not None
    assert (row.row.value, row.range_low, row.range_high) == (None, 15, 50)


def test_sizes_of_artefacts_are_left_out() -> None:
    assert converted(claim(task="artifact size", metric="models released"), "other") is None
    assert converted(claim(metric="output resolution"), "video") is None


def test_known_benchmarks_carry_the_names_of_the_harness() -> None:
    row = converted(claim(dataset="GSM8K"), "llm-reasoning")
    assert row is not None and row.row.task == "reasoning/gsm8k"
    assert row.row.protocol == "as published; dataset=GSM8K"


def test_only_scores_are_the_students_own() -> None:
    for row in read(FOLDER):
        assert row.row.role == ("student" if row.quantity == "score" else "pair")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace(",published,", ",ok,", 1), "can't be 'ok'"),
        (lambda t: t.replace("quantity,", "quantitty,", 1), "needs quantity"),
        (lambda t: t.replace("metric,unit", "metrix,unit", 1), "no column metric"),
    ],
)
def test_a_table_that_is_none_of_published_numbers_is_refused(
    tmp_path: Path, change: object, message: str
) -> None:
    text = (FOLDER / "metrics.csv").read_text(encoding="utf-8")
    (tmp_path / "metrics.csv").write_text(change(text), encoding="utf-8")  # type: ignore[operator]
    with pytest.raises(StoreError, match=message):
        read(tmp_path)


def test_a_claim_without_a_number_is_named_with_its_line(tmp_path: Path) -> None:
    lines = (FOLDER / "claims.csv").read_text(encoding="utf-8").splitlines()[:1]
    row = claim(value="many")
    assert lines[0].split(",") != []
    (tmp_path / "claims.csv").write_text("\n".join([*lines, ",".join(row.values())]) + "\n")
    with pytest.raises(StoreError, match=r"claims\.csv:2: not a number"):
        converted_folder(tmp_path)
