"""`kdbench compare`, and gates as tests of pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_results import publish

Run = Callable[..., subprocess.CompletedProcess[str]]
STUDENTS = {"good": 0.85, "poor": 0.4}


def test_two_models_of_a_run_are_compared_sample_by_sample(kdbench: Run, tmp_path: Path) -> None:
    publish(tmp_path / "made", students=STUDENTS, n=200)
    done = kdbench("compare", "made#good", "made#poor", code=1)
    assert "FAIL: 2 failed" in done.stdout
    assert "PASS: 2 passed" in kdbench("compare", "made#poor", "made#good").stdout


def test_two_runs_are_compared_model_by_model_within_the_margin(
    kdbench: Run, tmp_path: Path
) -> None:
    publish(tmp_path / "before", students=STUDENTS, n=300)
    publish(tmp_path / "same", students=STUDENTS, n=300, started="2026-02-01T00:00:00+00:00")
    publish(tmp_path / "worse", students={**STUDENTS, "good": 0.6}, n=300)
    assert "6 passed" in kdbench("compare", "before", "same", "--margin", "0.05").stdout
    done = kdbench("compare", "before", "worse", "--margin", "0.05", "--json", code=1)
    failed = [c for c in json.loads(done.stdout)["claims"] if c["verdict"] == "FAIL"]
    assert {claim["about"] for claim in failed} == {"good"}
    assert all(claim["lost"] > claim["gained"] for claim in failed)


def test_models_that_answer_alike_cannot_be_told_apart_without_a_margin(
    kdbench: Run, tmp_path: Path
) -> None:
    publish(tmp_path / "made", students=STUDENTS, n=200)
    publish(tmp_path / "again", students=STUDENTS, n=200, started="2026-02-01T00:00:00+00:00")
    done = kdbench("compare", "made#good", "again#good", "--task", "*/one", code=2)
    assert "INCONCLUSIVE" in done.stdout
    kdbench("compare", "made#good", "again#good", "--inconclusive", "pass")


def test_a_cell_is_no_worse_than_itself_without_a_doubt(kdbench: Run, tmp_path: Path) -> None:
    publish(tmp_path / "made", students=STUDENTS, n=20)
    assert "PASS: 6 passed" in kdbench("compare", "made", "made").stdout


def test_a_revision_can_be_compared_with_the_working_tree(kdbench: Run, tmp_path: Path) -> None:
    publish(tmp_path / "made", students=STUDENTS, n=300)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "made"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)
    publish(tmp_path / "made", students={**STUDENTS, "good": 0.6}, n=300)
    kdbench("compare", "git:HEAD:made", "made", "--margin", "0.05", code=1)
    kdbench("compare", "git:HEAD:made#poor", "made", "--margin", "0.05")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("made#goood", "made#poor"), "did you mean 'good'"),
        (("made", "nowhere"), "no results here"),
        (("made", "other"), "in common"),
        (("made", "dialect"), "harness was made 1, is made 2"),
        (("made", "made", "--metric", "f1"), "match * and f1"),
        (("made", "made", "--inconclusive", "perhaps"), "choose report, pass, fail"),
    ],
)
def test_what_cannot_be_compared_is_said(
    kdbench: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    publish(tmp_path / "made", students=STUDENTS)
    publish(tmp_path / "other", students=STUDENTS, tasks=["reasoning/three"])
    publish(tmp_path / "dialect", students=STUDENTS, protocol="harness=made 2")
    done = kdbench("compare", *arguments, code=3)
    assert message in done.stderr and "Traceback" not in done.stderr


# ---- pytest --kdbench


SUITE = """\
name: made
models:
  teacher: {adapter: parity}
  good: {adapter: parity, wrong: 0.1}
pairs:
  - {teacher: teacher, student: good, method: kl}
tasks: [parity]
gates:
"""


def gates(
    folder: Path, environment: dict[str, str], *lines: str, extra: tuple[str, ...] = ()
) -> str:
    """Exit code and output of pytest on a suite with these gates; there is a test of pytest's own, too."""
    (folder / "suite.yaml").write_text(SUITE + "".join(f"  - {line}\n" for line in lines))
    (folder / "test_own.py").write_text("def test_own():\n    raise RuntimeError('was run')\n")
    publish(folder / "results" / "made", tasks=["parity/odd"], students={"good": 0.8}, n=100)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         "--kdbench", "suite.yaml", "-v", *extra],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def test_each_gate_is_a_test_with_its_evidence_in_the_failure(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = gates(tmp_path, environment, "acc for good >= 0.5", "retention of acc for good >= 0.99")
    assert text.startswith("exit 1") and "1 failed, 1 passed" in text
    assert "retention of acc on parity/odd for good >= 0.99" in text
    assert "the whole interval is outside of at least 0.990, so FAIL" in text
    assert "was run" not in text, "gates alone"


def test_what_cannot_be_told_fails_unless_it_may_pass(
    environment: dict[str, str], tmp_path: Path
) -> None:
    gate = "acc for good >= 0.85"
    assert gates(tmp_path, environment, gate).startswith("exit 1")
    text = gates(tmp_path, environment, gate, extra=("--kdbench-inconclusive", "pass", "-rs"))
    assert text.startswith("exit 0") and "1 skipped" in text


def test_a_warning_is_a_warning_and_a_mistake_a_usage_error(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = gates(tmp_path, environment, "acc for good >= 0.99 (warn)")
    assert text.startswith("exit 0") and "1 passed" in text
    assert "outside of at least 0.990, so FAIL" in text
    text = gates(tmp_path, environment, "acc for god >= 0.9")
    assert text.startswith("exit 4") and "did you mean 'good'" in text
