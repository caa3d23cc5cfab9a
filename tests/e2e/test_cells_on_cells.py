"""Cells that rest on another cell: it is measured first and once, and what holds of cells holds of them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from suites import rows, value, without_timestamps

SUITE = """\
name: echo
models:
  teacher: {{adapter: parity, wrong: 0.05, salt: t{teacher}}}
  good: {{adapter: parity, wrong: 0.15, salt: g}}
  poor: {{adapter: parity, wrong: 0.4, salt: p{poor}}}
pairs:
  - {{teacher: teacher, student: good, method: forward-kl, baseline: poor}}
  - {{teacher: teacher, student: poor, method: scratch}}
tasks:
  - {{task: parity.echo, count: {count}}}
settings: {{workers: {workers}}}
{extra}
"""


def write(
    folder: Path,
    teacher: str = "",
    poor: str = "",
    count: int = 120,
    workers: int = 1,
    extra: str = "",
) -> Path:
    """Write a suite whose only task rests on what the teacher says; `teacher` and `poor` add keys."""
    path = folder / "suite.yaml"
    keys = {"teacher": teacher and f", {teacher}", "poor": poor and f", {poor}"}
    path.write_text(
        SUITE.format(**keys, count=count, workers=workers, extra=extra), encoding="utf-8"
    )
    return path


def table(folder: Path) -> list[dict[str, str]]:
    return rows(folder / "results" / "echo" / "metrics.csv")


def stored(folder: Path) -> dict[str, int]:
    """Samples by the task and student that they are of."""
    found = {}
    for path in (folder / "results" / "cells").glob("*/cell.json"):
        cell = json.loads(path.read_text())
        what = cell["ingredients"]["task"], *cell["ingredients"]["models"]
        log = path.parent / "samples.jsonl"
        count = log.read_text().count('"scores"') if log.is_file() else 0
        found[f"{'/'.join(what)} {cell['key']}"] = count
    return found


def test_the_basis_is_measured_once_for_all_students_and_has_rows_of_its_own(kdbench, tmp_path):
    suite = write(tmp_path)
    kdbench("run", suite)
    assert sorted(stored(tmp_path).values()) == [120, 120, 120]
    assert [name.split()[0] for name in sorted(stored(tmp_path))].count("parity/model") == 1
    found = table(tmp_path)
    assert value(found, "acc", task="parity/odd")["role"] == "teacher"
    echo = {name: float(value(found, "echo", pair=name)["value"]) for name in ("good", "poor")}
    assert echo["poor"] < echo["good"] < 1

    before = stored(tmp_path)
    kdbench("run", suite)
    write(tmp_path, poor="seconds: 0.001")
    kdbench("run", suite)
    assert stored(tmp_path) == before  # how fast a model answers is no ingredient
    write(tmp_path, teacher="mumbles: true")
    kdbench("run", suite, code=1)
    fresh = stored(tmp_path).keys() - before.keys()
    assert {name.split()[0] for name in fresh} >= {"parity/model"}  # another teacher, other text


def test_students_of_one_teacher_are_told_apart_on_the_same_samples(kdbench, tmp_path):
    gates = """gates:
  - letters for good no worse than poor by 0.9
  - letters.gain_over[good] for poor <= -0.9
  - echo for poor better than teacher"""
    suite = write(tmp_path, extra=gates)
    kdbench("run", suite)
    found = table(tmp_path)
    letters = {n: float(value(found, "letters", pair=n)["value"]) for n in ("good", "poor")}
    gain = value(found, "letters.gain_over_baseline", pair="good")
    assert abs(float(gain["value"]) - (letters["good"] - letters["poor"])) < 1e-9
    assert float(gain["ci_low"]) < float(gain["value"]) < float(gain["ci_high"])
    other = value(found, "letters.gain_over[good]", pair="poor")
    assert abs(float(other["value"]) + float(gain["value"])) < 1e-9
    assert not [row for row in found if row["metric"].startswith("echo.gain")]
    told = json.loads(kdbench("check", suite, "--json", code=1).stdout)["claims"]
    assert [claim["verdict"] for claim in told] == ["PASS", "FAIL", "MISSING"]
    for claim, row in zip(told[:2], (gain, other), strict=True):
        assert abs(claim["value"] - float(row["value"])) < 1e-9
    assert "good minus poor in letters on parity.echo/same is" in told[0]["explanation"]
    assert (
        "teacher is no other student of teacher on parity.echo/same; there are good"
        in (told[2]["explanation"])
    )


def test_a_limit_holds_for_the_basis_too_and_is_lifted_without_loss(kdbench, tmp_path):
    suite = write(tmp_path)
    kdbench("run", suite, "--limit", "40")
    assert sorted(stored(tmp_path).values()) == [40, 40, 40]
    kdbench("run", suite)
    assert sorted(stored(tmp_path).values()) == [120, 120, 120]
    whole = without_timestamps(tmp_path / "results" / "echo" / "metrics.csv")
    kdbench("run", suite, "--results", "other")
    assert without_timestamps(tmp_path / "other" / "echo" / "metrics.csv") == whole


def test_a_failed_basis_fails_what_rests_on_it_with_its_reason(kdbench, tmp_path):
    suite = write(tmp_path, teacher="broken: the teacher is ill", workers=2)
    kdbench("run", suite, code=1)
    for name in ("good", "poor"):
        row = value(table(tmp_path), "echo", pair=name)
        assert row["status"] == "failed" and "the teacher is ill" in row["reason"]


def test_a_basis_that_cannot_be_asked_is_the_reason_of_what_rests_on_it(kdbench, tmp_path):
    suite = write(tmp_path, teacher="dies: true")
    kdbench("run", suite, code=1)
    row = value(table(tmp_path), "echo", pair="good")
    assert row["status"] == "failed" and "SIGKILL" in row["reason"]


def test_killed_at_any_moment_the_table_is_that_of_an_undisturbed_run(environment, tmp_path):
    suite = write(tmp_path, teacher="seconds: 0.05", count=320, workers=2)

    def start(root: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "kdbench", "run", str(suite), "--results", str(root), "-q"],
            cwd=tmp_path, env=environment,
        )  # fmt: skip

    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole = time.monotonic() - began
    expected = without_timestamps(tmp_path / "whole" / "echo" / "metrics.csv")
    draw = random.Random(5)
    for moment in range(3):
        root = tmp_path / f"killed-{moment}"
        run = start(root)
        time.sleep(draw.uniform(0.3, 1.0) * whole)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert start(root).wait() == 0
        assert without_timestamps(root / "echo" / "metrics.csv") == expected, moment


def test_stopping_early_measures_the_basis_whole(kdbench, tmp_path):
    gates = "gates:\n  - echo for poor >= 0.9\n  - echo for poor no worse than good by 0.05"
    suite = write(tmp_path, count=2000, extra=gates)
    kdbench("run", suite, "--until-decided")
    found = stored(tmp_path)
    (basis,) = [count for name, count in found.items() if name.startswith("parity/model")]
    pairs = [count for name, count in found.items() if name.startswith("parity.echo")]
    assert basis == 2000 and 0 < min(pairs) <= max(pairs) < 1000
    kdbench("check", suite, code=1)
    kdbench("run", suite)
    assert sorted(stored(tmp_path).values()) == [2000, 2000, 2000]
