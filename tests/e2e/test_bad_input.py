"""What goes wrong for people: one clear message, the documented exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from suites import parity_suite, rows

RESULTS = Path("results/parity")


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_typo_is_reported_with_file_line_column_path_and_suggestion(kdbench, tmp_path):
    parity_suite(tmp_path)
    text = (tmp_path / "suite.yaml").read_text().replace("student: good", "student: goood")
    done = kdbench("run", write(tmp_path, text), code=3)
    expected = (
        r"mine\.yaml:7:33: pairs\[0\]\.student: no model named 'goood' \(did you mean 'good'\?\)"
    )
    assert re.search(expected, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_every_mistake_of_a_suite_is_reported_at_once(kdbench, tmp_path):
    text = parity_suite(tmp_path).read_text()
    text = text.replace("count: 120", "count: many").replace("method: scratch", "mehtod: scratch")
    done = kdbench("validate", write(tmp_path, text), code=3)
    assert "count" in done.stderr
    assert "mehtod" in done.stderr


def test_a_missing_suite_file_names_its_neighbours(kdbench, tmp_path):
    parity_suite(tmp_path)
    done = kdbench("run", tmp_path / "siute.yaml", code=3)
    assert "suite.yaml" in done.stderr


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "models: [\n", "\x00", "a: 1\na: 2\n"])
def test_a_file_that_is_no_suite_is_one_message_and_exit_3(kdbench, tmp_path, text):
    done = kdbench("run", write(tmp_path, text), code=3)
    assert "mine.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_model_folder_is_found_before_anything_loads(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite)
    before = snapshot(tmp_path / "results")
    text = suite.read_text() + "\n"
    text = text.replace("poor: {adapter: parity, wrong: 0.4, salt: p}", "poor: models/nowhere")
    done = kdbench("run", write(tmp_path, text), code=3)
    assert re.search(r"mine\.yaml:5:\d+: models\.poor", done.stderr), done.stderr
    assert "models/nowhere" in done.stderr
    assert snapshot(tmp_path / "results") == before


def test_an_adapters_own_check_is_reported_at_the_model(kdbench, tmp_path):
    text = parity_suite(tmp_path).read_text().replace("salt: g}", "salt: missing}")
    done = kdbench("run", write(tmp_path, text), code=3)
    assert re.search(r"mine\.yaml:4:\d+: models\.good.*: no salt in the cellar", done.stderr)


def test_a_model_without_the_verbs_of_a_task_fails_that_cell_with_the_reason(kdbench, tmp_path):
    (tmp_path / "mute.py").write_text("def build(**options):\n    return object()\n")
    text = parity_suite(tmp_path).read_text()
    mute = "poor: {adapter: callable, target: 'mute:build', verbs: [score_text]}"
    text = text.replace("poor: {adapter: parity, wrong: 0.4, salt: p}", mute)
    path = write(tmp_path, text)
    assert "needs generate_text" in kdbench("validate", path, code=3).stdout
    kdbench("run", path, code=1)
    failed = [r for r in rows(tmp_path / RESULTS / "metrics.csv") if r["status"] == "failed"]
    assert {row["model"] for row in failed} == {"poor"}
    assert "needs generate_text" in failed[0]["reason"]


def test_an_empty_task_fails_its_cells_and_says_so(kdbench, tmp_path):
    suite = parity_suite(tmp_path, count=0)
    done = kdbench("run", suite, code=1)
    assert "no items" in done.stdout


def test_duplicate_model_names_are_refused(kdbench, tmp_path):
    text = parity_suite(tmp_path).read_text().replace("  good: {", "  teacher: {")
    done = kdbench("run", write(tmp_path, text), code=3)
    assert re.search(r"mine\.yaml:4:3: .*teacher", done.stderr), done.stderr


def test_a_gate_on_an_unknown_metric_is_refused(kdbench, tmp_path):
    suite = parity_suite(tmp_path, extra="gates:\n  - retention of ac on parity/odd >= 0.9")
    done = kdbench("run", suite, code=3)
    assert "did you mean 'acc'" in done.stderr


def test_a_results_folder_that_cannot_be_written_is_exit_3_with_a_remedy(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    if os.geteuid() == 0:
        target = Path("/sys/kdbench")  # permissions don't bind root; the kernel's own folders do
    else:
        target = tmp_path / "locked"
        target.mkdir(mode=0o555)
    done = kdbench("run", suite, "--results", target, code=3)
    assert "--results" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_in_the_way_of_a_file_are_refused(kdbench, tmp_path):
    (tmp_path / "taken").write_text("mine")
    done = kdbench("run", parity_suite(tmp_path), "--results", tmp_path / "taken", code=3)
    assert "taken" in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_full_disk_stops_the_run_and_loses_nothing(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite, "--limit", "40")
    cells = sorted((tmp_path / "results" / "cells").iterdir())
    full = cells[0] / "samples.jsonl"
    kept = full.read_bytes()
    full.rename(full.with_name("kept"))
    full.symlink_to("/dev/full")
    others = {c: (c / "samples.jsonl").read_bytes() for c in cells[1:]}
    done = kdbench("run", suite, code=3)
    assert "the disk is full: free some space and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    for cell, text in others.items():
        assert (cell / "samples.jsonl").read_bytes().startswith(text)
    full.unlink()
    full.with_name("kept").rename(full)
    kdbench("run", suite)
    assert full.read_bytes().startswith(kept)


def test_results_of_a_newer_version_are_neither_read_nor_overwritten(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite)
    record = tmp_path / RESULTS / "run.json"
    data = json.loads(record.read_text())
    record.write_text(json.dumps({**data, "schema": 2}))
    before = snapshot(tmp_path / "results")
    for command in (["run", suite], ["table", RESULTS], ["samples", RESULTS]):
        done = kdbench(*command, code=3)
        assert "schema 2 by a newer kdbench" in done.stderr
        assert "Upgrade kdbench" in done.stderr
    assert snapshot(tmp_path / "results") == before


def test_a_cell_of_a_newer_version_is_neither_read_nor_overwritten(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite)
    cell = next((tmp_path / "results" / "cells").iterdir()) / "cell.json"
    cell.write_text(json.dumps({**json.loads(cell.read_text()), "schema": 2}))
    before = snapshot(tmp_path / "results")
    assert "schema 2" in kdbench("run", suite, code=3).stderr
    assert snapshot(tmp_path / "results") == before


def test_a_damaged_sample_log_is_named_with_its_line_and_remedy(kdbench, tmp_path):
    suite = parity_suite(tmp_path)
    kdbench("run", suite)
    log = next((tmp_path / "results" / "cells").iterdir()) / "samples.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([lines[0], "{broken\n", *lines[2:]]))
    done = kdbench("run", suite, "--limit", "100", code=3)
    assert re.search(r"samples\.jsonl:2: damaged .*delete ", done.stderr)


def test_a_folder_without_results_says_what_makes_them(kdbench, tmp_path):
    for command in ("table", "samples"):
        done = kdbench(command, tmp_path, code=3)
        assert str(tmp_path) in done.stderr


def test_unknown_names_on_the_command_line_suggest_the_nearest(kdbench, tmp_path):
    kdbench("run", parity_suite(tmp_path))
    assert "did you mean 'parity'" in kdbench("show", "partiy", code=3).stderr
    assert "choose tasks" in kdbench("list", "things", code=3).stderr
    assert "did you mean 'poor" in kdbench("samples", RESULTS, "--pair", "poorr", code=3).stderr
    assert "no format" in kdbench("table", RESULTS, "-f", "pdf", code=3).stderr
    assert "no row matches" in kdbench("table", RESULTS, "--metric", "nothing", code=3).stderr


def test_a_plugin_that_cannot_be_imported_is_named(kdbench, tmp_path, parity_plugin):
    broken = tmp_path / "plugins"
    info = broken / "broken_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdbench.tasks]\nbroken = broken_plugin.tasks\n")
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(map(str, [root, parity_plugin, broken]))
    done = kdbench("list", "tasks", code=3, PYTHONPATH=path)
    assert "broken_plugin.tasks" in done.stderr
    assert "mend or uninstall" in done.stderr


def test_debug_shows_the_traceback_that_is_hidden_otherwise(kdbench, tmp_path):
    done = kdbench("--debug", "show", "partiy", code=None)
    assert "Traceback" in done.stderr
