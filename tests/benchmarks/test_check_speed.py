"""200 gates on 100,000 documents: how long a check takes, process start included.

pytest tests/benchmarks/test_check_speed.py --benchmark-enable -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_results import publish

N, STUDENTS, GATES = 100_000, 10, 200


@pytest.mark.slow
def test_200_gates_on_100000_samples_each(
    benchmark: object, environment: dict[str, str], tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    students = {f"s{k}": 0.6 + k / 50 for k in range(STUDENTS)}
    target = publish(tmp_path / "results" / "made", students=students, tasks=["parity/odd"], n=20)
    record = target.read_run()
    assert record is not None
    ids = [f"{n:016x}" for n in range(N)]
    empty = [""] * N
    for cell in record["cells"]:
        path = target.samples_path(cell["samples"])
        right = np.random.default_rng(len(path.name)).random(N) < students.get(cell["model"], 0.9)
        columns = {
            "index": list(range(N)), "id": ids, "cluster": ids, "prompt": empty, "target": empty,
            "output": empty, "scores": [json.dumps({"acc": float(x)}) for x in right],
            "tags": ["{}"] * N, "extra": ["{}"] * N,
        }  # fmt: skip
        table = pyarrow.table(columns, schema=pyarrow.parquet.read_schema(path))
        pyarrow.parquet.write_table(table, path, compression="zstd")
    models = "".join(f"  {name}: {{adapter: parity}}\n" for name in ("teacher", *students))
    pairs = "".join(f"  - {{teacher: teacher, student: {name}, method: m}}\n" for name in students)
    gates = "".join(
        f"  - retention of acc for s{k % STUDENTS} >= {0.5 + k / 1000}\n" for k in range(GATES)
    )
    (tmp_path / "made.yaml").write_text(
        f"name: made\nmodels:\n{models}pairs:\n{pairs}tasks: [parity]\ngates:\n{gates}"
    )
    command = [sys.executable, "-m", "kdbench", "check", "made.yaml", "--json"]
    done: list[subprocess.CompletedProcess[str]] = []

    def check() -> None:
        done.append(
            subprocess.run(
                command, cwd=tmp_path, env={**os.environ, **environment},
                capture_output=True, text=True, check=False,
            )
        )  # fmt: skip

    benchmark.pedantic(check, rounds=1)  # type: ignore[attr-defined]
    assert done[-1].returncode in (0, 1, 2), done[-1].stderr
    assert len(json.loads(done[-1].stdout)["claims"]) == GATES
