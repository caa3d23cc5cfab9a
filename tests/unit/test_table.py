"""The tidy table: what is written is read back, sorted, in every form."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import StoreError
from kdbench.results.lines import lines, number, select
from kdbench.results.render import render
from kdbench.results.table import COLUMNS, Row, read_csv, to_csv, to_frame

ROW = Row(
    suite="s", task="reasoning/x", protocol="p=1; q=2", metric="acc", unit="fraction", better="higher",
    pair="", method="", role="teacher", model="t", value=0.8, ci_low=0.7, ci_high=0.9,
    ci_method="wilson", n=100, n_clusters=50, seed=0, status="ok", hardware="CPU x2", steps=None,
    cell="ab", created="2026-01-01T00:00:00+00:00", kdbench="0.1.0",
)  # fmt: skip
STUDENT = replace(ROW, role="student", model="s", pair="s", method="kl", value=0.6)
RETENTION = replace(STUDENT, role="pair", metric="acc.retention", value=0.75, unit="ratio")
LOST = replace(STUDENT, role="pair", metric="acc.lost", value=0.25)
GAINED = replace(STUDENT, role="pair", metric="acc.gained", value=0.05)
TABLE = [GAINED, RETENTION, STUDENT, ROW, LOST]

text = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\x00"), max_size=20
)
number_or_none = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)


def test_the_columns_are_those_of_version_one():
    assert ",".join(COLUMNS) == (
        "suite,task,protocol,metric,unit,better,pair,method,role,model,value,ci_low,ci_high,ci_method,"
        "n,n_clusters,seed,status,hardware,steps,cell,created,kdbench,reason"
    )


@given(task=text, reason=text, value=number_or_none, n=st.none() | st.integers(0, 10**9))
def test_a_row_survives_writing_and_reading(tmp_path_factory, task, reason, value, n):
    path = tmp_path_factory.mktemp("table") / "metrics.csv"
    row = replace(ROW, task=task, reason=reason, value=value, n=n)
    path.write_text(to_csv([row]), encoding="utf-8", newline="")
    [read] = read_csv(path)
    assert replace(read, value=None) == replace(row, value=None)
    if value is None:
        assert read.value is None
    else:
        assert read.value == pytest.approx(value, rel=1e-9)


def test_the_order_of_rows_does_not_depend_on_the_order_they_came_in():
    assert to_csv(TABLE) == to_csv(TABLE[::-1])
    metrics = [record["metric"] for record in csv.DictReader(io.StringIO(to_csv(TABLE)))]
    assert metrics == ["acc", "acc", "acc.gained", "acc.lost", "acc.retention"]


def test_nan_is_an_empty_field_and_null():
    row = replace(ROW, value=math.nan)
    assert ",0.7," in to_csv([row])
    assert "nan" not in to_csv([row])
    assert json.loads(render([row], "json"))[0]["value"] is None


def test_a_table_without_a_column_or_with_a_wrong_number_is_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("suite,task\n")
    with pytest.raises(StoreError, match="no column protocol"):
        read_csv(path)
    path.write_text(to_csv([ROW]).replace(",0.8,", ",much,"))
    with pytest.raises(StoreError, match=r"metrics\.csv:2"):
        read_csv(path)


def test_lines_put_the_teacher_first_and_the_pairs_numbers_beside_the_student():
    teacher, student = lines(TABLE)
    assert (teacher.model, student.model) == ("t", "s")
    assert student.cells()[4:9] == (
        "0.600 [0.700, 0.900]", "0.750 [0.700, 0.900]", "", "", "25/5",
    )  # fmt: skip


def test_selection_keeps_what_is_derived_from_a_metric():
    assert {row.metric for row in select(TABLE, metric="acc")} == {row.metric for row in TABLE}
    assert [row.metric for row in select(TABLE, metric="acc.retention")] == ["acc.retention"]
    assert select(TABLE, task="images/*") == []
    assert ROW in select(TABLE, task="reasoning/*", pair="s")


def test_markdown_and_latex_escape_what_would_break_them():
    row = replace(ROW, model="a|b_c & 50%")
    assert r"a\|b_c & 50%" in render([row], "markdown")
    assert r"a|b\_c \& 50\%" in render([row], "latex")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.81249, "0.812"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (0, "0.000"),
        (1e-6, "1e-06"),
        (None, ""),
    ],
)
def test_numbers_are_short(value, shown):
    assert number(value) == shown


def test_a_frame_has_the_tables_columns():
    frame = to_frame(TABLE)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(TABLE)
