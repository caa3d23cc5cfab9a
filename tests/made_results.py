"""Published results made up for a test, through the code that publishes real ones."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.results import claims
from kdbench.results.published import Published
from kdbench.results.sample import Sample
from kdbench.results.store import SCHEMA
from kdbench.results.table import to_csv
from kdbench.run.publish import CELL_FIELDS
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.tasks.task import Metric

ACC = Metric("acc", "fraction", "higher", "share of right answers", "mean")


def samples_of(
    task: str,
    model: str,
    n: int,
    right: float,
    cluster_of: int = 1,
    extra: dict[str, Any] | None = None,
) -> list[Sample]:
    """Answers that share their difficulty between models, as real ones do."""
    found = []
    for index in range(n):
        name = sha256(f"{task}:{index}".encode()).hexdigest()[:16]
        hard = random.Random(f"{task}:{index}").random()
        luck = random.Random(f"{task}:{index}:{model}").random()
        score = float(0.7 * hard + 0.3 * luck < right)
        found.append(
            Sample(
                name, index, f"c{index // cluster_of}", {"acc": score},
                prompt=f"Question {index} of {task}?", target="yes",
                output="yes" if score else "no",
                tags={"category": "even" if index % 2 == 0 else "odd"}, extra=dict(extra or {}),
            )
        )  # fmt: skip
    return found


def publish(
    folder: Path,
    suite: str = "made",
    teacher: str = "teacher",
    students: Mapping[str, float] | None = None,
    tasks: Sequence[str] = ("reasoning/one", "reasoning/two"),
    n: int = 60,
    started: str = "2026-01-01T00:00:00+00:00",
    hardware: str = "Abacus x2",
    protocol: str = "harness=made 1",
    samples: Mapping[tuple[str, str], list[Sample]] | None = None,
    failed: Sequence[tuple[str, str]] = (),
    record: Mapping[str, Any] | None = None,
    task_name: str = "reasoning",
) -> Published:
    """Write metrics.csv, run.json and samples of a run in which `students` are right so often."""
    students = students or {"good": 0.8, "poor": 0.4}
    rates = {teacher: 0.9, **students}
    cells = [
        MadeCell(
            task, task_name, [ACC],
            (samples or {}).get((task, model)) or samples_of(task, model, n, rate),
            model=model, reason="the weights are damaged" if (task, model) in failed else "",
        )
        for task in tasks
        for model, rate in rates.items()
    ]  # fmt: skip
    return publish_cells(
        folder, cells, suite, teacher, list(students), started, hardware, protocol, record
    )


@dataclass(frozen=True)
class MadeCell:
    """One task on `model`, or on the pair of `student` where there is none; with a `reason` it failed."""

    label: str
    task: str
    metrics: Sequence[Metric]
    samples: list[Sample]
    model: str = ""
    student: str = ""
    reason: str = ""
    summary: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timed: bool = False


def publish_cells(
    folder: Path,
    made: Sequence[MadeCell],
    suite: str = "made",
    teacher: str = "teacher",
    students: Sequence[str] = ("good", "poor"),
    started: str = "2026-01-01T00:00:00+00:00",
    hardware: str = "Abacus x2",
    protocol: str = "harness=made 1",
    record: Mapping[str, Any] | None = None,
) -> Published:
    """Write metrics.csv, run.json and samples of a run with the cells `made`."""
    views, cells = [], []
    target = Published(folder)
    for one in made:
        subject = one.model or f"{one.student} of {teacher}"
        key = sha256(f"{one.label}:{subject}:{started}".encode()).hexdigest()[:32]
        view = CellView(
            label=one.label, group=None, protocol=protocol, metrics=list(one.metrics), model=one.model,
            teacher="" if one.model else teacher, student=one.student, key=key,
            status="failed" if one.reason else "done", reason=one.reason, hardware=hardware,
            finished=started, kdbench="0.1.0", summary={k: dict(v) for k, v in one.summary.items()},
            read=lambda own=one.samples: own,
        )  # fmt: skip
        views.append(view)
        name = f"cell-{key[:12]}"
        if not one.reason:
            target.write_samples(name, one.samples)
        cells.append({
            **{part: getattr(view, part) for part in CELL_FIELDS},
            "metrics": [asdict(metric) for metric in one.metrics], "samples": name, "limit": None,
            "seconds": {"measure": 1.0},
            "ingredients": {
                "task": one.task, "data": f"sha256:{one.label}",
                "models": {"model": {"weights": sha256(subject.encode()).hexdigest()}},
                **({"hardware": hardware} if one.timed else {}),
            },
        })  # fmt: skip
    pairs = [Pair(name, teacher, name, f"method of {name}", None) for name in students]
    header = Header(suite, 0, 0.95, pairs)
    target.write_table(to_csv(table_rows(header, views)))
    target.write_run({
        "schema": SCHEMA, "digest": sha256(f"{suite}{started}".encode()).hexdigest(),
        "started": started, "finished": started, "seconds": {},
        "kdbench": {"version": "0.1.0", "git": {"commit": "0" * 40, "dirty": False}},
        "suite": {
            "name": suite, "file": f"{suite}.yaml", "sha256": "0" * 64, "git": None,
            "text": f"name: {suite}\n",
        },
        "machine": {"cpu": "Abacus", "cores": 2, "memory_gib": 1, "gpus": []},
        "packages": {"torch": "2.0"}, "determinism": {}, "header": asdict(header),
        "models": {
            model: {"adapter": "made", "parameters": 10**6 * number, "weight_bytes": 4 * 10**6}
            for number, model in enumerate([teacher, *students], start=1)
        },
        "cells": cells, **(record or {}),
    })  # fmt: skip
    return target


def publish_claim(folder: Path, title: str = "P", value: str = "75", params: str = "") -> None:
    """A folder of published numbers with one claim: an accuracy on the data set "one"."""
    folder.mkdir(parents=True)
    paper = {
        "id": 1,
        "title": title,
        "method": "M",
        "kind": "llm-kd",
        "eval_needs": [],
        "one_line": "",
    }
    (folder / "papers.jsonl").write_text(json.dumps(paper) + "\n", encoding="utf-8")
    claim = {
        "paper_id": "1", "title": title, "method": "M", "teacher": "", "student": "S",
        "task": "reasoning", "dataset": "one", "metric": "acc", "value": value, "unit": "%",
        "higher_is_better": "true", "baseline_name": "", "baseline_value": "", "steps_nfe": "",
        "params": params, "hardware": "", "quote": f"{value} %",
    }  # fmt: skip
    with (folder / "claims.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(claim))
        writer.writeheader()
        writer.writerow(claim)
    claims.main([str(folder)])
