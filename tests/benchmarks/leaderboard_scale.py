"""Results of a size that nobody has yet: to see whether the site still builds and still answers.

python tests/benchmarks/leaderboard_scale.py rows FOLDER      2,000 pairs, 60 metrics: 120,000 rows
python tests/benchmarks/leaderboard_scale.py samples FOLDER   one pair: 1,000,000 samples
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from kdbench.results.table import Row, to_csv

PAIRS, TASKS, SUITES = 2000, 12, 4
DOCUMENTS = 500_000


def rows(folder: Path) -> None:
    """Tables of four suites of 500 pairs: twelve tasks, five rows each for every pair."""
    draw = random.Random(0)
    for suite in range(SUITES):
        found = []
        for task in range(TASKS):
            blank = Row(
                f"suite{suite}", f"reasoning/task{task:02}", "harness=made 1", "acc", "fraction",
                "higher", "", "", "teacher", "teacher", 0.8, 0.79, 0.81, "wilson", 1000, 1000, 0,
                "ok", "Abacus x2", None, f"cell{suite}-{task}", "2026-01-01T00:00:00+00:00", "0.1.0",
            )  # fmt: skip
            found.append(blank)
            for pair in range(PAIRS // SUITES):
                name = f"student-{suite}-{pair:04}"
                own = replace(blank, pair=name, method=f"method {pair % 9}", model=name)
                value = draw.uniform(0.3, 0.8)
                for metric, role, middle in (
                    ("acc", "student", value),
                    ("acc.retention", "pair", value / 0.8),
                    ("acc.gap", "pair", value - 0.8),
                    ("acc.lost", "pair", 0.1),
                    ("acc.gained", "pair", 0.05),
                ):
                    found.append(
                        replace(
                            own, metric=metric, role=role, value=round(middle, 6),
                            ci_low=round(middle - 0.02, 6), ci_high=round(middle + 0.02, 6),
                            unit="ratio" if metric.endswith("retention") else "fraction",
                        )
                    )  # fmt: skip
        target = folder / f"suite{suite}" / "metrics.csv"
        target.parent.mkdir(parents=True)
        target.write_text(to_csv(found), encoding="utf-8")


def samples(folder: Path) -> None:
    """One run of a teacher and a student, its samples written in pieces."""
    import pyarrow
    import pyarrow.parquet

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from made_results import publish

    target = publish(folder / "large", students={"student": 0.6}, tasks=["reasoning/one"], n=20)
    record = target.read_run()
    assert record is not None
    for cell in record["cells"]:
        path = target.samples_path(cell["samples"])
        schema = pyarrow.parquet.read_schema(path)
        draw = random.Random(cell["model"])
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for start in range(0, DOCUMENTS, 50_000):
                numbers = range(start, start + 50_000)
                columns = {
                    "index": list(numbers),
                    "id": [f"{n:016x}" for n in numbers],
                    "cluster": [f"c{n}" for n in numbers],
                    "prompt": [f"Question {n}: {'what is it? ' * 20}" for n in numbers],
                    "target": ["yes"] * 50_000,
                    "output": [f"yes, because of {n}" for n in numbers],
                    "scores": [json.dumps({"acc": float(draw.random() < 0.7)}) for _ in numbers],
                    "tags": [json.dumps({"category": f"k{n % 7}"}) for n in numbers],
                    "extra": [json.dumps({"tokens": n % 40, "finish": "stop"}) for n in numbers],
                }
                writer.write_table(pyarrow.table(columns, schema=schema))


if __name__ == "__main__":
    {"rows": rows, "samples": samples}[sys.argv[1]](Path(sys.argv[2]))
