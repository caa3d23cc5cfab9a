"""`kdbench run --until-decided`: no more documents than gates need, and nothing lost for later."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdbench.results.store import CellStore
from suites import rows, value, without_timestamps

DOCUMENTS = 2000
SUITE = """\
name: parity
models:
  teacher: {{adapter: parity, wrong: 0.05, salt: t{speed}}}
  good: {{adapter: parity, wrong: 0.06, salt: g{speed}}}
  poor: {{adapter: parity, wrong: 0.4, salt: p{speed}}}
pairs:
  - {{teacher: teacher, student: good, method: forward-kl, baseline: poor}}
  - {{teacher: teacher, student: poor, method: scratch}}
tasks:
  - {{task: parity, count: {count}{task}}}
{tasks}gates:
{gates}
"""
CLEAR = "  - retention of acc for good >= 0.85\n  - retention of acc for poor >= 0.85"


def write(
    folder: Path,
    gates: str = CLEAR,
    count: int = DOCUMENTS,
    task: str = "",
    tasks: str = "",
    seconds: float = 0.0,
) -> Path:
    speed = f", seconds: {seconds}" if seconds else ""
    text = SUITE.format(gates=gates, count=count, task=task, tasks=tasks, speed=speed)
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def table(folder: Path) -> Path:
    return folder / "results" / "parity" / "metrics.csv"


def measured(folder: Path, model: str) -> int:
    found = [r for r in rows(table(folder)) if r["metric"] == "acc" and r["model"] == model]
    own = [r for r in found if r["role"] != "pair"]
    return int(own[0]["n"] or 0)


def test_clear_cases_take_a_fraction_of_the_documents_and_check_gives_their_verdicts(
    kdbench, tmp_path
):
    suite = write(tmp_path)
    run = kdbench("run", suite, "--until-decided")
    assert "2 of 2 gates decided" in run.stdout
    for model in ("teacher", "good", "poor"):
        assert 0 < measured(tmp_path, model) <= 0.4 * DOCUMENTS
    assert measured(tmp_path, "good") < measured(tmp_path, "poor")
    check = kdbench("check", suite, "--explain", code=1)
    assert "valid at any time" in check.stdout
    verdicts = {
        claim["about"]: claim["verdict"]
        for claim in json.loads(kdbench("check", suite, "--json", code=1).stdout)["claims"]
    }
    assert verdicts == {"good": "PASS", "poor": "FAIL"}


def test_the_rows_say_that_they_rest_on_a_part_of_the_documents(kdbench, tmp_path):
    kdbench("run", write(tmp_path), "--until-decided", "-q")
    assert all("until decided, in random order" in row["protocol"] for row in rows(table(tmp_path)))


def test_the_same_command_again_does_nothing(kdbench, tmp_path):
    suite = write(tmp_path)
    kdbench("run", suite, "--until-decided", "-q")
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.jsonl")}
    text = table(tmp_path).read_text()
    again = kdbench("run", suite, "--until-decided")
    assert "nothing to do" in again.stdout
    assert table(tmp_path).read_text() == text
    assert {path: path.read_bytes() for path in before} == before


def test_a_plain_run_later_measures_the_rest_and_gives_the_table_of_one_that_never_stopped(
    kdbench, tmp_path
):
    suite = write(tmp_path)
    kdbench("run", suite, "--until-decided", "-q")
    early = sum(text.read_bytes().count(b'"id"') for text in tmp_path.rglob("samples.jsonl"))
    kdbench("run", suite, "-q")
    late = sum(text.read_bytes().count(b'"id"') for text in tmp_path.rglob("samples.jsonl"))
    assert early < 1.2 * DOCUMENTS and late == 3 * DOCUMENTS  # nothing was measured twice
    kdbench("run", suite, "-q", "--results", tmp_path / "whole")
    whole = tmp_path / "whole" / "parity" / "metrics.csv"
    assert without_timestamps(table(tmp_path)) == without_timestamps(whole)


def test_samples_of_an_earlier_limited_run_are_used(kdbench, tmp_path):
    suite = write(tmp_path)
    kdbench("run", suite, "-q", "--limit", "1000")
    kdbench("run", suite, "--until-decided", "-q")
    logs = list(tmp_path.rglob("samples.jsonl"))
    assert all(log.read_bytes().count(b'"id"') < DOCUMENTS for log in logs)
    indices = [json.loads(line).get("index") for line in logs[0].read_text().splitlines()]
    known = [index for index in indices if index is not None]
    assert len(known) == len(set(known))


def test_where_everything_is_measured_already_the_table_stays_whole(kdbench, tmp_path):
    suite = write(tmp_path, count=300)
    kdbench("run", suite, "-q")
    text = table(tmp_path).read_text()
    kdbench("run", suite, "--until-decided", "-q")
    assert table(tmp_path).read_text() == text


def test_a_gate_on_its_bound_takes_all_documents_and_stays_open(kdbench, tmp_path):
    suite = write(tmp_path, "  - retention of acc for good >= 0.99", count=300)
    kdbench("run", suite, "--until-decided", "-q")
    assert measured(tmp_path, "good") == 300
    assert "INCONCLUSIVE" in kdbench("check", suite, code=2).stdout


def test_cells_that_no_gate_speaks_of_are_left_to_a_plain_run(kdbench, tmp_path):
    suite = write(tmp_path, "  - retention of acc for good >= 0.85")
    kdbench("run", suite, "--until-decided", "-q")
    row = value(rows(table(tmp_path)), "acc", model="poor", role="student")
    assert row["status"] == "skipped" and "no gate speaks of it" in row["reason"]
    kdbench("check", suite)


def test_a_gate_on_unbounded_scores_is_judged_on_all_documents(kdbench, tmp_path):
    suite = write(tmp_path, "  - length for good <= 2.7", count=400)
    kdbench("run", suite, "--until-decided", "-q")
    assert measured(tmp_path, "good") == 400
    found = json.loads(kdbench("check", suite, "--json").stdout)["claims"][0]
    assert found["verdict"] == "PASS" and "betting" not in found["method"]


def test_documents_that_share_a_cluster_come_together(kdbench, tmp_path):
    suite = write(tmp_path, task=", group_of: 5")
    kdbench("run", suite, "--until-decided", "-q")
    record = json.loads((tmp_path / "results" / "parity" / "run.json").read_text())
    assert {cell["reach"]["largest"] for cell in record["cells"]} == {5}
    found = value(rows(table(tmp_path)), "acc", model="good", role="student")
    assert int(found["n"]) == 5 * int(found["n_clusters"])
    methods = {
        c["method"] for c in json.loads(kdbench("check", suite, "--json", code=1).stdout)["claims"]
    }
    assert methods == {"betting, anytime-valid (clustered)"}


def test_a_task_on_pairs_stops_early_too(kdbench, tmp_path):
    gate = "  - agreement for good >= 0.7\n  - agreement for poor >= 0.9"
    suite = write(tmp_path, gate, tasks="  - {task: parity.pair, count: 2000}\n")
    kdbench("run", suite, "--until-decided", "-q")
    found = [r for r in rows(table(tmp_path)) if r["metric"] == "agreement"]
    assert all(0 < int(row["n"]) <= 800 for row in found) and len(found) == 2
    kdbench("check", suite, code=1)


def test_earlier_results_are_joined_as_far_as_both_went(kdbench, tmp_path):
    before = write(tmp_path)
    kdbench("run", before, "-q", "--results", "before")
    gates = "  - acc for good no worse than ./before/parity by 0.1"
    suite = write(tmp_path, gates)
    suite.write_text(suite.read_text().replace("wrong: 0.06, salt: g", "wrong: 0.07, salt: h"))
    kdbench("run", suite, "--until-decided", "-q")
    assert 0 < measured(tmp_path, "good") <= 0.4 * DOCUMENTS
    found = json.loads(kdbench("check", suite, "--json").stdout)["claims"][0]
    assert found["verdict"] == "PASS" and found["unmatched"] == 0


def test_a_model_that_dies_fails_its_cells_and_the_other_gates_are_decided(kdbench, tmp_path):
    suite = write(tmp_path)
    suite.write_text(suite.read_text().replace("salt: p", "salt: p, dies: true"))
    run = kdbench("run", suite, "--until-decided", code=1)
    assert "killed by SIGKILL" in run.stdout
    assert 0 < measured(tmp_path, "good") <= 0.4 * DOCUMENTS
    check = json.loads(kdbench("check", suite, "--json", code=1).stdout)
    assert {c["about"]: c["verdict"] for c in check["claims"]} == {
        "good": "PASS",
        "poor": "MISSING",
    }


def test_a_cell_that_failed_before_is_tried_again(kdbench, tmp_path):
    suite = write(tmp_path)
    kdbench("run", suite, "--until-decided", "-q")
    expected = without_timestamps(table(tmp_path))
    for path in (tmp_path / "results" / "cells").glob("*/cell.json"):
        cell = CellStore(path.parent)
        cell.fail(cell.record(), "the machine was switched off")
    kdbench("run", suite, "--until-decided", "-q")
    assert without_timestamps(table(tmp_path)) == expected


def test_without_gates_there_is_nothing_to_stop_for(kdbench, tmp_path):
    suite = write(tmp_path)
    suite.write_text(suite.read_text().split("gates:")[0])
    done = kdbench("run", suite, "--until-decided", code=3)
    assert "nothing to gate" in done.stderr


@pytest.mark.slow
def test_sigkill_in_the_middle_then_the_same_command_decides_the_same(
    kdbench, environment, tmp_path
):
    suite = write(tmp_path, seconds=0.05)
    kdbench("run", suite, "--until-decided", "-q", "--results", tmp_path / "whole")
    expected = without_timestamps(tmp_path / "whole" / "parity" / "metrics.csv")
    for moment in range(4):
        root = tmp_path / f"killed-{moment}"
        command = [sys.executable, "-m", "kdbench", "run", suite, "--until-decided", "-q"]
        run = subprocess.Popen([*command, "--results", root], cwd=tmp_path, env=environment)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            stored = [log.read_bytes().count(b'"commit"') for log in root.rglob("samples.jsonl")]
            if sum(stored) > moment:
                break
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not (root / "parity" / "metrics.csv").exists()
        kdbench("run", suite, "--until-decided", "-q", "--results", root)
        assert without_timestamps(root / "parity" / "metrics.csv") == expected
