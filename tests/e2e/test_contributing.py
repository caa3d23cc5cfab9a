"""The examples of CONTRIBUTING.md work as they stand there."""

from __future__ import annotations

import json
import os
import re
import tomllib
from itertools import pairwise
from pathlib import Path

from suites import rows, value

ROOT = Path(__file__).resolve().parents[2]

SUITE = """\
models:
  teacher: {adapter: lookup, file: teacher.json}
  student: {adapter: lookup, file: student.json}
pairs: [{teacher: teacher, student: student, method: by hand}]
tasks: [{task: pattern}]
"""


def example(name: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    match = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert match, name
    return match.group(1)


def install(folder: Path) -> None:
    package = folder / "my_package"
    info = folder / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "pattern.py").write_text(example("task"))
    (package / "lookup.py").write_text(example("adapter"))
    points = tomllib.loads(example("entry points"))["project"]["entry-points"]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in found.items())
            for group, found in points.items()
        )
    )


def test_the_task_and_the_adapter_of_the_guide_run_as_a_plugin(kdbench, tmp_path):
    install(tmp_path)
    letters = "abcdefghijklmnopqrstuvwxyz"
    table = {a: {f" {b}": -1.0} for a, b in pairwise(letters)}
    (tmp_path / "teacher.json").write_text(json.dumps(table))
    (tmp_path / "student.json").write_text(json.dumps(dict(list(table.items())[:15])))
    (tmp_path / "suite.yaml").write_text(SUITE)
    kdbench("run", "suite.yaml", PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)]))
    found = rows(tmp_path / "results" / "suite" / "metrics.csv")
    assert float(value(found, "acc", role="teacher")["value"]) == 1
    assert float(value(found, "acc.retention")["value"]) == 15 / 25


def test_each_example_has_thirty_lines_of_code_or_fewer():
    for name in ("task", "adapter"):
        assert len([line for line in example(name).splitlines() if line.strip()]) <= 30, name
