"""`kdbench check` through the command line: right verdicts, exit codes and texts."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from made_results import publish, samples_of

Run = Callable[..., subprocess.CompletedProcess[str]]

TASK = "parity/odd"
PROTOCOL = "prompt=Is {} odd?"


def suite(folder: Path, *gates: str, baseline: str = "", name: str = "made") -> Path:
    lines = "".join(f"  - {json.dumps(gate)}\n" for gate in gates)
    path = folder / f"{name}.yaml"
    path.write_text(
        f"""name: made
models:
  teacher: {{adapter: parity}}
  good: {{adapter: parity, wrong: 0.1}}
  poor: {{adapter: parity, wrong: 0.4}}
pairs:
  - {{teacher: teacher, student: good, method: kl{baseline}}}
  - {{teacher: teacher, student: poor, method: none}}
tasks: [parity]
"""
        + (f"gates:\n{lines}" if gates else ""),
        encoding="utf-8",
    )
    return path


def results(folder: Path, path: Path, **given: Any) -> Path:
    """Results as a run of the suite at `path` would leave them, in `folder`/made."""
    digest = sha256(path.read_text().encode()).hexdigest()
    record = {
        "suite": {"sha256": digest, "name": "made", "file": "made.yaml", "git": None, "text": ""}
    }
    given = {"students": {"good": 0.85, "poor": 0.4}, "n": 300, **given}
    publish(folder / "made", tasks=[TASK], protocol=PROTOCOL, record=record, **given)
    return folder


@pytest.fixture
def check(kdbench: Run, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*gates: str, code: int, extra: tuple[str, ...] = (), **given: Any) -> Any:
        path = suite(tmp_path, *gates)
        if not (tmp_path / "results" / "made").exists():
            results(tmp_path / "results", path, **given)
        return kdbench("check", path, *extra, code=code)

    return call


def test_gates_that_hold_end_with_0(check: Run) -> None:
    done = check("retention of acc for good >= 0.8", "acc for poor <= 0.6", code=0)
    assert "PASS: 2 passed" in done.stdout


def test_a_gate_that_is_broken_ends_with_1_and_stands_first(check: Run) -> None:
    done = check("retention of acc for good >= 0.8", "retention of acc for poor >= 0.9", code=1)
    assert done.stdout.splitlines()[0].startswith("FAIL ")
    assert "FAIL: 1 passed, 1 failed" in done.stdout


def test_a_gate_that_cannot_be_told_yet_ends_with_2_and_says_how_many_samples_would(
    check: Run,
) -> None:
    done = check("acc for poor >= 0.33", code=2, n=60)
    assert "more samples would settle it" in done.stdout
    assert check("acc for poor >= 0.33", code=0, extra=("--inconclusive", "pass"))
    assert check("acc for poor >= 0.33", code=1, extra=("--inconclusive", "fail"))
    explained = check("acc for poor >= 0.33", code=2, extra=("--explain",)).stdout
    assert "further samples are expected to settle it" in explained
    assert "or more would show now" in explained


def test_a_warning_breaks_nothing(check: Run) -> None:
    assert "(warn)" in check("retention of acc for poor >= 0.9 (warn)", code=0).stdout


def test_every_gate_reads_as_a_sentence_with_its_evidence(check: Run) -> None:
    done = check("retention of acc on all parity/* for good >= 0.8", code=0, extra=("--explain",))
    assert "what good keeps of teacher's acc on parity/odd is 0." in done.stdout
    assert "300 samples" in done.stdout and "lost" in done.stdout


def test_a_gate_on_one_category_uses_its_samples_only(check: Run) -> None:
    done = check("acc on all where category=even for good >= 0.5", code=0, extra=("--explain",))
    assert "150 samples" in done.stdout and "where category=even" in done.stdout
    done = check("acc on all where category=blue for good >= 0.5", code=1)
    assert "MISSING" in done.stdout


def test_a_gate_on_what_was_lost_counts_flips(check: Run) -> None:
    done = check("acc.lost for poor <= 0.2", code=1, extra=("--explain",))
    assert "acc.lost on parity/odd of poor" in done.stdout


def test_a_failed_cell_is_a_missing_row_and_fails(check: Run) -> None:
    done = check("retention of acc for good >= 0.5", code=1, failed=[(TASK, "good")])
    assert "MISSING" in done.stdout and "damaged" in done.stdout


def test_nothing_to_gate_is_a_mistake(check: Run) -> None:
    assert "nothing to gate" in check(code=3).stderr


def test_without_results_it_says_what_to_run(kdbench: Run, tmp_path: Path) -> None:
    done = kdbench("check", suite(tmp_path, "acc >= 0.1"), code=3)
    assert "kdbench run" in done.stderr and "Traceback" not in done.stderr


def test_contradictory_gates_are_refused_with_their_line(check: Run) -> None:
    done = check("acc for good >= 0.9", "acc for good <= 0.5", code=3)
    assert "made.yaml:" in done.stderr and "no number can keep" in done.stderr


def test_a_margin_beyond_the_scale_is_refused(check: Run) -> None:
    done = check("gap of acc for good >= -5", code=3)
    assert "-5" in done.stderr and "beyond the scale of a fraction" in done.stderr


def test_scores_that_are_no_numbers_are_refused(check: Run) -> None:
    bad = [replace(s, scores={"acc": float("nan")}) for s in samples_of(TASK, "good", 60, 0.8)]
    done = check("retention of acc for good >= 0.5", code=3, n=60, samples={(TASK, "good"): bad})
    assert "nan or infinite" in done.stderr


# ---- against earlier results


@pytest.fixture
def before(tmp_path: Path) -> Path:
    path = suite(tmp_path, "acc no worse than ./before/made by 0.02", name="before")
    return results(tmp_path / "before", path) / "made"


GATE = "acc for good no worse than ./before/made by 0.05"


def test_the_same_results_again_are_no_worse(before: Path, check: Run) -> None:
    assert "PASS" in check(GATE, code=0).stdout


def test_a_worse_student_is_found_against_a_folder_a_zip_and_an_address(
    before: Path, check: Run, tmp_path: Path, served: str
) -> None:
    check(GATE, code=1, students={"good": 0.6, "poor": 0.4})
    archive = tmp_path / "before.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in before.rglob("*"):
            file.write(path, path.relative_to(tmp_path))
    for origin in (str(archive), f"{served}/before/made", f"{served}/before.zip"):
        done = check(GATE, code=1, extra=("--baseline", origin, "--explain"))
        assert f"good minus {origin}" in done.stdout


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, directory=str(tmp_path), **named)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_a_revision_of_the_repository_can_be_the_baseline(
    before: Path, check: Run, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "before")
    git(tmp_path, "commit", "-q", "-m", "results")
    origin = "git:main:before/made"
    check(GATE, code=1, extra=("--baseline", origin), students={"good": 0.6, "poor": 0.4})
    for wrong, words in (
        ("git:nowhere:before/made", "no revision 'nowhere'"),
        ("git:main:results/made", "is it committed there?"),
        ("git:main", "write git:REVISION:PATH"),
        ("git:--output=x:y", "write git:REVISION:PATH"),
        ("nothing.zip", "can't be read as a zip"),
        ("http://127.0.0.1:9/x", "can't be fetched"),
        ("elsewhere", "no results here"),
    ):
        assert words in check(GATE, code=3, extra=("--baseline", wrong)).stderr, wrong


def test_another_protocol_is_refused_and_the_part_named(
    before: Path, check: Run, tmp_path: Path
) -> None:
    path = suite(tmp_path, GATE)
    record = {"suite": {"sha256": sha256(path.read_text().encode()).hexdigest()}}
    publish(
        tmp_path / "results" / "made", tasks=[TASK], protocol="prompt=Odd, is {}?", record=record
    )
    done = check(GATE, code=3)
    assert "prompt was Is {} odd?, is Odd, is {}?" in done.stderr


def test_too_few_shared_samples_are_missing_and_named(before: Path, check: Run) -> None:
    fewer = samples_of(TASK, "good", 300, 0.85)[:200]
    done = check(GATE, code=1, samples={(TASK, "good"): fewer})
    assert "MISSING" in done.stdout and "share 200 of 300 samples" in done.stdout


def test_a_baseline_of_a_newer_version_is_refused(before: Path, check: Run) -> None:
    record = json.loads((before / "run.json").read_text())
    (before / "run.json").write_text(json.dumps({**record, "schema": 99}))
    assert "newer kdbench" in check(GATE, code=3).stderr


# ---- outputs


def test_reports_are_written_for_people_and_machines(check: Run, tmp_path: Path) -> None:
    forms = ("markdown", "junit", "json", "github")
    extra = tuple(x for f in forms for x in ("--output", f"{f}={tmp_path / f}"))
    check("retention of acc for poor >= 0.9", "acc for good >= 0.5", code=1, extra=extra)
    data = json.loads((tmp_path / "json").read_text())
    assert data["verdict"] == "FAIL" and [c["verdict"] for c in data["claims"]] == ["FAIL", "PASS"]
    tree = ElementTree.parse(tmp_path / "junit").getroot()
    assert (tree.attrib["tests"], tree.attrib["failures"]) == ("2", "1")
    text = (tmp_path / "markdown").read_text()
    assert text.startswith("## kdbench check: FAIL") and "where it lost" in text
    annotation = (tmp_path / "github").read_text()
    assert annotation.startswith("::error file=") and "line=11" in annotation


def test_json_follows_its_published_schema(check: Run, kdbench: Run) -> None:
    schema = json.loads(kdbench("check", "--schema").stdout)
    for gate, code in (("acc for good >= 0.5", 0), ("acc for poor >= 0.33", 2)):
        document = json.loads(check(gate, code=code, extra=("--json",), n=60).stdout)
        jsonschema.validate(document, schema)


def test_hostile_texts_stay_text_in_markdown(check: Run, tmp_path: Path) -> None:
    hostile = "<img src=x> @everyone | `code` ![x](http://e)\n# head"
    samples = {
        (TASK, model): [
            replace(s, prompt=hostile, output=hostile) for s in samples_of(TASK, model, 300, rate)
        ]
        for model, rate in (("teacher", 0.9), ("poor", 0.4))
    }
    extra = ("--output", f"markdown={tmp_path / 'm.md'}")
    check("retention of acc for poor >= 0.9", code=1, extra=extra, samples=samples)
    text = (tmp_path / "m.md").read_text()
    assert "<img" not in text and "@everyone" not in text and "![x]" not in text
    assert "\n# head" not in text


def test_an_unknown_output_is_a_mistake(check: Run) -> None:
    assert "FORMAT=FILE" in check("acc for good >= 0.5", code=3, extra=("--output", "pdf=x")).stderr


# ---- baseline accept


def test_accepting_says_what_changes_and_the_next_check_passes(
    before: Path, check: Run, kdbench: Run, tmp_path: Path
) -> None:
    check(GATE, code=1, students={"good": 0.6, "poor": 0.4})
    path = tmp_path / "made.yaml"
    dry = kdbench("baseline", "accept", path, "--to", before, "--dry-run")
    assert "parity/odd acc good: 0." in dry.stdout and "->" in dry.stdout
    check(GATE, code=1)
    assert (
        kdbench("baseline", "accept", path, "--to", before).stdout.splitlines()[:-1]
        == (dry.stdout.splitlines()[:-1])
    )
    check(GATE, code=0)
    assert "nothing changes" in kdbench("baseline", "accept", path, "--to", before).stdout
    assert "lie there already" in kdbench("baseline", "accept", path, code=3).stderr


def test_a_check_imports_nothing_heavy(
    check: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    check("retention of acc for good >= 0.8", code=0)
    code = (
        "import sys; from kdbench.check import check_suite; from kdbench.suite import load_suite;"
        "from pathlib import Path; check_suite(load_suite('made.yaml'), Path('results'));"
        "print([m for m in ('torch', 'transformers', 'pandas', 'lm_eval') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
