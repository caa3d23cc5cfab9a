"""`kdbench run` from the command line, on a plugin that answers at once."""

from __future__ import annotations

import json
from pathlib import Path

from suites import parity_suite, rows, value, without_timestamps

RESULTS = Path("results/parity")


def cell_folders(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "cells").iterdir())


def stored_samples(folder: Path) -> int:
    lines = [
        line
        for cell in cell_folders(folder)
        for line in (cell / "samples.jsonl").read_text().splitlines()
    ]
    return sum("commit" not in json.loads(line) for line in lines)


def test_a_run_writes_a_sorted_table_with_an_interval_on_every_number(kdbench, tmp_path):
    done = kdbench("run", parity_suite(tmp_path))
    found = rows(tmp_path / RESULTS / "metrics.csv")
    assert {row["status"] for row in found} == {"ok"}
    for row in found:
        if not row["metric"].endswith(".p"):
            assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]), row
        assert row["ci_method"]
        assert int(row["n"]) == 120
    order = [
        (r["task"], r["metric"], ("teacher", "student", "pair").index(r["role"])) for r in found
    ]
    assert order == sorted(order)
    assert "retention" in done.stdout
    assert "results/parity/metrics.csv" in done.stdout


def test_pair_rows_hold_retention_gap_test_flips_and_gain_over_the_baseline(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    found = rows(tmp_path / RESULTS / "metrics.csv")
    teacher = float(value(found, "acc", role="teacher")["value"])
    good = float(value(found, "acc", role="student", model="good")["value"])
    poor = float(value(found, "acc", role="student", model="poor")["value"])
    retention = value(found, "acc.retention", model="good")
    assert abs(float(retention["value"]) - good / teacher) < 1e-9
    assert abs(float(value(found, "acc.gap", model="good")["value"]) - (good - teacher)) < 1e-9
    lost = float(value(found, "acc.lost", model="good")["value"])
    gained = float(value(found, "acc.gained", model="good")["value"])
    assert abs((gained - lost) - (good - teacher)) < 1e-9
    assert value(found, "acc.p", model="good")["ci_method"] == "exact McNemar"
    gain = value(found, "acc.gain_over_baseline", model="good")
    assert abs(float(gain["value"]) - (good - poor)) < 1e-9
    assert not [r for r in found if r["metric"].startswith("acc.gain_") and r["model"] == "poor"]


def test_samples_that_share_a_cluster_widen_the_interval(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path, task="group_of: 4"))
    row = value(rows(tmp_path / RESULTS / "metrics.csv"), "acc", role="teacher")
    assert (row["n"], row["n_clusters"]) == ("120", "30")
    test = value(rows(tmp_path / RESULTS / "metrics.csv"), "acc.p", model="good")
    assert "cluster" in test["ci_method"]


def test_the_teacher_is_measured_once_however_many_students_it_has(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    assert len(cell_folders(tmp_path)) == 3
    assert stored_samples(tmp_path) == 3 * 120


def test_the_same_command_again_does_nothing_and_changes_no_file(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite)
    before = {p: p.read_bytes() for p in (tmp_path / "results").rglob("*") if p.is_file()}
    done = kdbench("run", suite)
    assert "nothing to do" in done.stdout
    assert {p: p.read_bytes() for p in (tmp_path / "results").rglob("*") if p.is_file()} == before


def test_more_items_reuse_the_samples_that_are_there(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite, "--limit", "50")
    assert stored_samples(tmp_path) == 150
    small = rows(tmp_path / RESULTS / "metrics.csv")
    assert value(small, "acc", role="teacher")["n"] == "50"
    assert "limit=50" in small[0]["protocol"]
    before = [(c / "samples.jsonl").read_bytes() for c in cell_folders(tmp_path)]
    kdbench("run", suite)
    assert stored_samples(tmp_path) == 360
    after = [(c / "samples.jsonl").read_bytes() for c in cell_folders(tmp_path)]
    assert all(new.startswith(old) for old, new in zip(before, after, strict=True))
    kdbench("run", suite, "--limit", "50")
    again = rows(tmp_path / RESULTS / "metrics.csv")
    assert [r["value"] for r in again] == [r["value"] for r in small]
    assert stored_samples(tmp_path) == 360


def test_one_failed_cell_is_one_failed_cell(kdbench, tmp_path):
    suite = parity_suite(tmp_path, poor="broken: the student has lost its tongue")
    done = kdbench("run", suite, code=1)
    assert "the student has lost its tongue" in done.stdout
    found = rows(tmp_path / RESULTS / "metrics.csv")
    failed = [row for row in found if row["status"] == "failed"]
    assert {row["model"] for row in failed} == {"poor"}
    assert all("lost its tongue" in row["reason"] for row in failed)
    assert value(found, "acc.retention", model="good")["status"] == "ok"


def test_an_unforeseen_error_fails_its_cell_with_its_type_and_a_traceback_in_the_log(
    kdbench, tmp_path
):
    kdbench("run", parity_suite(tmp_path, poor="mumbles: true"), code=1)
    failed = [r for r in rows(tmp_path / RESULTS / "metrics.csv") if r["status"] == "failed"]
    assert "IndexError: list index out of range" in failed[0]["reason"]
    assert "Traceback" in (tmp_path / RESULTS / "run.log").read_text()


def test_a_killed_worker_costs_its_cell_and_not_the_run(kdbench, tmp_path):
    extra = "  - {task: parity, count: 30, question: 'Odd, {}? '}"
    done = kdbench("run", parity_suite(tmp_path, poor="dies: true", extra=extra), code=1)
    assert "killed by SIGKILL (out of memory?)" in done.stdout
    found = rows(tmp_path / RESULTS / "metrics.csv")
    assert {row["model"] for row in found if row["status"] == "failed"} == {"poor"}
    assert {row["model"] for row in found if row["status"] == "ok"} == {"teacher", "good"}


def test_a_worker_killed_while_loading_fails_the_cells_of_that_model(kdbench, tmp_path):
    done = kdbench("run", parity_suite(tmp_path, poor="dies_loading: true"), code=1)
    assert "while it loaded poor" in done.stdout


def test_what_failed_is_tried_again_by_the_same_command(kdbench, tmp_path):
    suite = parity_suite(tmp_path, poor="dies: true")
    kdbench("run", suite, code=1)
    done = kdbench("run", suite, code=1)
    assert "1 cell to measure, 2 already there" in done.stdout
    assert "killed by SIGKILL" in done.stdout


def test_a_failed_run_that_is_mended_equals_an_undisturbed_one(kdbench, tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for folder in (broken, whole):
        folder.mkdir()
    kdbench("run", parity_suite(broken, poor="dies: true"), "--results", broken, code=1)
    kdbench("run", parity_suite(broken), "--results", broken)
    kdbench("run", parity_suite(whole), "--results", whole)
    tables = [without_timestamps(f / "parity" / "metrics.csv") for f in (broken, whole)]
    assert tables[0] == tables[1]


def test_batch_size_and_number_of_workers_change_no_row(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    tables = set()
    for index, options in enumerate(
        [("--batch-size", "1"), ("--batch-size", "7"), ("--batch-size", "64"), ("--workers", "2")]
    ):
        root = tmp_path / f"r{index}"
        kdbench("run", suite, "--results", root, *options)
        tables.add(without_timestamps(root / "parity" / "metrics.csv"))
    assert len(tables) == 1


def test_a_pair_task_is_measured_on_teacher_and_student_together(kdbench, tmp_path):
    suite = parity_suite(tmp_path, extra="  - {task: parity.pair, count: 25}")
    kdbench("run", suite)
    found = [r for r in rows(tmp_path / RESULTS / "metrics.csv") if r["metric"] == "agreement"]
    assert [(row["role"], row["pair"] != "", row["n"]) for row in found] == [
        ("pair", True, "25")
    ] * 2


def test_pairs_with_different_tokenizers_are_skipped_with_the_reason(kdbench, tmp_path):
    extra = "  - {task: parity.pair, count: 25}"
    suite = parity_suite(tmp_path, poor="tokenizer: roman", extra=extra)
    done = kdbench("run", suite)
    found = [r for r in rows(tmp_path / RESULTS / "metrics.csv") if r["metric"] == "agreement"]
    assert {row["model"]: row["status"] for row in found} == {"good": "ok", "poor": "skipped"}
    assert "share a tokenizer" in done.stdout


def test_two_names_for_the_same_model_share_one_cell(kdbench, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "models:\n"
        "  a: {adapter: parity, wrong: 0.1}\n"
        "  b: {adapter: parity, wrong: 0.1}\n"
        "pairs: [{teacher: a, student: b, method: copy}]\n"
        "tasks: [{task: parity}]\n"
    )
    kdbench("run", path)
    assert len(cell_folders(tmp_path)) == 1
    found = rows(tmp_path / "results" / "suite" / "metrics.csv")
    assert float(value(found, "acc.gap", model="b")["value"]) == 0


def test_the_table_can_be_computed_again_from_published_samples_alone(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    table = tmp_path / RESULTS / "metrics.csv"
    before = table.read_bytes()
    table.unlink()
    for cell in cell_folders(tmp_path):
        for file in cell.iterdir():
            file.unlink()
    kdbench("table", RESULTS, "--rebuild", PYTHONPATH=str(Path(__file__).resolve().parents[2]))
    assert table.read_bytes() == before


def test_the_record_names_versions_machine_and_suite_but_no_home_and_no_environment(
    kdbench, tmp_path
):
    kdbench("run", parity_suite(tmp_path), SECRET_TOKEN="hunter2", HOME=str(tmp_path))
    text = (tmp_path / RESULTS / "run.json").read_text()
    record = json.loads(text)
    assert record["schema"] == 1
    assert record["suite"]["text"] == (tmp_path / "suite.yaml").read_text()
    assert {"version", "git"} <= set(record["kdbench"])
    assert record["packages"]["numpy"]
    assert record["machine"]["cpu"]
    assert "hunter2" not in text
    assert str(tmp_path) not in text


def test_machines_get_json_on_standard_output_and_nothing_else(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    found = json.loads(kdbench("run", suite, "--json").stdout)
    assert {row["metric"] for row in found} >= {"acc", "acc.retention"}
    assert json.loads(kdbench("validate", suite, "--json").stdout)["cells"][0]["done"] is True
    assert json.loads(kdbench("table", RESULTS, "--json").stdout) == found
    shown = json.loads(kdbench("samples", RESULTS, "--pair", "poor", "--lost", "--json").stdout)
    assert {entry["kind"] for entry in shown} == {"lost"}


def test_a_dry_run_shows_the_plan_and_writes_nothing(kdbench, tmp_path):
    done = kdbench("run", parity_suite(tmp_path), "--dry-run")
    assert "3 cells to measure in 3 loads" in done.stdout
    assert not (tmp_path / "results").exists()


def test_colours_and_bars_are_off_where_output_is_piped(kdbench, tmp_path):
    done = kdbench("run", parity_suite(tmp_path), NO_COLOR="")
    assert "\x1b[" not in done.stdout + done.stderr
    assert "parity/odd on teacher: 120 samples in" in done.stdout


def test_tasks_and_adapters_of_a_plugin_are_listed_and_shown(kdbench):
    assert "parity " in kdbench("list", "tasks").stdout
    assert "knows whether numbers are odd" in kdbench("list", "adapters").stdout
    shown = kdbench("show", "parity").stdout
    for text in ("generate_text", "acc (fraction, higher is better)", "protocol", "source"):
        assert text in shown


def test_the_table_is_printed_for_papers_spreadsheets_and_pull_requests(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    markdown = kdbench("table", RESULTS, "-f", "markdown", "--metric", "acc").stdout
    assert markdown.startswith("| task | metric | model |")
    assert markdown.count("\n") == 2 + 3
    latex = kdbench("table", RESULTS, "-f", "latex").stdout
    assert r"\begin{tabular}" in latex
    csv_text = kdbench("table", RESULTS, "-f", "csv").stdout
    assert csv_text == (tmp_path / RESULTS / "metrics.csv").read_text()


def test_samples_shows_documents_on_which_teacher_and_student_differ(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    shown = kdbench("samples", RESULTS, "--pair", "poor", "-n", "3").stdout
    assert shown.count("prompt:") == 3
    assert "documents differ" in shown
