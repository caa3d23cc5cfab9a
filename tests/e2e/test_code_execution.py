"""Generated code from the command line: refused, allowed, and the same numbers for every user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.errors import TaskError
from kdbench.tasks.sandbox.walls import require_walls
from suites import rows, value

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path("results/written/metrics.csv")

AUTHOR = '''
from kdbench.models.protocols import Generated

class Author:
    """Writes what it is told; counts in a file how often it was loaded."""
    def __init__(self, bodies):
        self.bodies = bodies
        open("loaded", "a").write("x")
    def generate_text(self, prompts):
        return [Generated(self.bodies[p.seed % len(self.bodies)], 4, "stop") for p in prompts]
'''

SUITE = """
name: written
models:
  teacher: {adapter: callable, target: "author:Author", verbs: [generate_text],
            options: {bodies: ["    return 1\\n"]}}
  student: {adapter: callable, target: "author:Author", verbs: [generate_text],
            options: {bodies: ["    return 1\\n", "    return 2\\n", "    return (\\n"]}}
pairs:
  - {teacher: teacher, student: student, method: made}
tasks:
  - {task: code, problems: humaneval, file: problems.jsonl, samples: 6, k: [1, 2], temperature: 0.8}
"""

PROBLEM = {
    "prompt": "def one():\n",
    "canonical_solution": "    return 1",
    "test": "def check(candidate):\n    assert candidate() == 1",
    "entry_point": "one",
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    try:
        require_walls()
    except TaskError as error:
        pytest.skip(str(error))
    (tmp_path / "author.py").write_text(AUTHOR)
    problems = [
        {**PROBLEM, "task_id": f"own/{i}", "prompt": f"# {i}\ndef one():\n"} for i in range(3)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems))
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return path


def test_code_runs_only_where_the_command_line_allows_it(kdbench, suite, tmp_path):
    told = kdbench("validate", suite).stdout
    assert "code/humaneval runs programs that models write" in told
    assert "kdbench run --allow-code-execution" in told
    refused = kdbench("run", suite, code=1)
    assert (
        "refused: code/humaneval" in refused.stdout and "--allow-code-execution" in refused.stdout
    )
    assert not (tmp_path / "loaded").exists()
    assert {row["status"] for row in rows(tmp_path / TABLE) if row["role"] != "pair"} == {"failed"}

    kdbench("run", suite, "--allow-code-execution")
    found = rows(tmp_path / TABLE)
    assert float(value(found, "pass@1", role="teacher")["value"]) == 1
    student = {
        m: float(value(found, m, role="student")["value"])
        for m in ("pass@1", "pass@2", "compile_rate")
    }
    assert (
        0 < student["pass@1"] < student["compile_rate"] < 1
        and student["pass@1"] < student["pass@2"]
    )
    assert float(value(found, "timeout_rate", role="student")["value"]) == 0

    again = kdbench("run", suite)  # what is measured needs no permission
    assert "nothing to do" in again.stdout and rows(tmp_path / TABLE) == found


def test_a_suite_cannot_allow_it_by_itself(kdbench, suite):
    for place in ("  allow_code_execution: true\n",):
        suite.write_text(SUITE + "settings:\n" + place)
        assert "allow_code_execution" in kdbench("run", suite, code=3).stderr
    suite.write_text(SUITE.replace("samples: 6", "allow_code_execution: true, samples: 6"))
    assert "allow_code_execution" in kdbench("run", suite, code=3).stderr


def test_problems_of_another_format_are_refused_by_line_and_field(kdbench, suite, tmp_path):
    (tmp_path / "problems.jsonl").write_text('{"prompt": "def f():", "tests": []}\n')
    told = kdbench("validate", suite, code=3).stdout
    assert "problems.jsonl:1: no field 'test' (there are prompt, tests)" in told
    assert "humaneval's own format" in told


def test_the_walls_of_this_machine_can_be_asked_for(kdbench):
    told = kdbench("sandbox", code=None)
    if told.returncode:
        pytest.skip(told.stderr or told.stdout)
    assert told.stdout.count(" stands: ") == 7
    assert all(wall["stands"] for wall in json.loads(kdbench("sandbox", "--json").stdout))


PROBE = """
import sys
sys.path.insert(0, {package!r})
from kdbench.errors import TaskError
from kdbench.tasks.sandbox.walls import require_walls
from kdbench.tasks.sandbox.runs import Limits, Program, judge
try:
    require_walls()
    kinds = [v.kind for v in judge([
        Program("def f(x): return x + 1", ("assert f(1) == 2",), ("f",)),
        Program("import os\\ndef f(x): return os.fork()", ("assert f(1) == 2",), ("f",)),
        Program("import os\\nos._exit(0)", ("assert f(1) == 2",), ("f",)),
    ], Limits())]
    print(*kinds)
except TaskError as error:
    print(error)
"""


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and a probe that every user of the machine can read."""
    folder = Path(f"/tmp/kdbench-probe-{os.getpid()}")
    shutil.copytree(
        ROOT / "kdbench", folder / "kdbench", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "probe.py").write_text(PROBE.format(package=str(folder)))
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


def run_as(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env={})
    if done.returncode:
        pytest.skip(f"can't become another user here: {done.stderr.strip()[-200:]}")
    return done.stdout


needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root and setpriv, to become a user without privileges",
)


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/python3.11").exists(), reason="no Python that all can read")
def test_a_user_without_privileges_gets_the_same_walls_from_a_user_namespace(outside):
    told = run_as(
        "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
        "/usr/bin/python3.11", "-B", str(outside / "probe.py"),
    )  # fmt: skip
    assert told.split() == ["passed", "error", "error"], told


@needs_root
def test_where_no_namespace_can_be_had_nothing_runs_and_the_remedy_is_named(outside):
    command = (
        "echo 0 > /proc/sys/user/max_user_namespaces && "
        f"exec setpriv --bounding-set=-sys_admin {sys.executable} -B {outside}/probe.py"
    )
    told = run_as("unshare", "-Ur", "sh", "-c", command)
    assert "generated code can't be run here" in told and "user namespaces" in told
