"""Publication: the tidy table, the samples behind it, and where they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench import __version__
from kdbench.errors import ModelError, StoreError
from kdbench.results.provenance import git_state, kdbench_state, machine, packages
from kdbench.results.published import Published
from kdbench.results.sample import Sample
from kdbench.results.store import SCHEMA, Store
from kdbench.results.table import Row, to_csv
from kdbench.run.arrival import place, within
from kdbench.run.local import worker_threads
from kdbench.run.plan import Plan, PlannedCell
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.suite import Suite
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.task import Metric


def header_of(suite: Suite) -> Header:
    pairs = [Pair(p.name, p.teacher, p.student, p.method, p.baseline) for p in suite.pairs]
    return Header(suite.name, suite.settings.seed, suite.settings.confidence, pairs)


def view_of(cell: PlannedCell, store: Store) -> CellView:
    """A planned cell as the rows need it, read from the store."""
    record = store.cell(cell.key).record() if cell.key else None

    @cache
    def read() -> list[Sample]:
        samples = store.cell(cell.key).samples(cell.limit)
        return samples if cell.reach is None else _reached(cell, samples)

    done = record is not None and record.covers(cell.limit)
    reason = cell.problem or (record.reason if record else "not run")
    metrics, skipped, whole = cell.metrics, cell.skipped, done
    if cell.reach is not None:
        whole = done and cell.reach.share == 1
        done = record is not None and record.status == "done" and cell.reach.share > 0
        if not whole:
            metrics = [metric for metric in metrics if metric.aggregation != OWN]
        if cell.reach.share == 0 and not (cell.problem or (record and record.status == "failed")):
            skipped, reason = True, "no gate speaks of it, so it was not measured (--until-decided)"
    left_out = record is not None and record.status == "skipped"
    return CellView(
        label=cell.label,
        group=cell.group,
        protocol=cell.protocol_id,
        metrics=metrics,
        model=cell.subject.model,
        teacher=cell.subject.teacher,
        student=cell.subject.student,
        key=cell.key,
        status="done" if done else "skipped" if skipped or left_out else "failed",
        reason="" if done else _without_home(reason or "interrupted before it was complete"),
        hardware=record.hardware if record else cell.hardware,
        finished=record.finished if record else "",
        kdbench=record.kdbench if record else __version__,
        summary=record.summary(cell.limit) if record and whole else {},
        read=read,
        limit=cell.limit,
    )


def _reached(cell: PlannedCell, samples: list[Sample]) -> list[Sample]:
    """The samples that a run which stops early has met; others may be stored, from other runs."""
    assert cell.reach is not None
    share, seed = cell.reach.share, cell.ingredients["seed"]
    clusters = {sample.cluster for sample in samples}
    met = {one for one in clusters if within(share, place(seed, cell.label, one))}
    return [sample for sample in samples if sample.cluster in met]


def digest(plan: Plan, store: Store) -> str:
    """Equal for two runs exactly when they would publish the same."""
    cells = []
    for cell in plan.cells:
        record = store.cell(cell.key).record() if cell.key else None
        cells.append([cell.key, cell.limit, cell.problem, asdict(record) if record else None])
        if cell.reach is not None:
            cells[-1].append(asdict(cell.reach))
    text = json.dumps(
        [__version__, plan.suite.text, asdict(header_of(plan.suite)), cells], sort_keys=True
    )
    return sha256(text.encode()).hexdigest()


def publish(
    plan: Plan, store: Store, target: Published, phases: dict[str, float], started: str
) -> list[Row]:
    """Write samples, record and table of a suite; the table comes last, by one atomic rename."""
    views = [view_of(cell, store) for cell in plan.cells]
    rows = table_rows(header_of(plan.suite), views)
    if not rows:
        raise StoreError(
            f"{target.folder}: the table would be empty: no cell of the suite has a row"
        )
    # asked before anything is written: results of a repository are files of it, too
    made_by, suite_git = kdbench_state(), git_state(plan.suite.folder)
    names = [sample_file(view) for view in views]
    for name, view in zip(names, views, strict=True):
        if view.ok:
            target.write_samples(name, view.read())
    record = {
        "schema": SCHEMA,
        "digest": digest(plan, store),
        "started": started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in phases.items()},
        "kdbench": made_by,
        "suite": {
            "name": plan.suite.name,
            "file": Path(plan.suite.file).name,
            "sha256": sha256(plan.suite.text.encode()).hexdigest(),
            "git": suite_git,
            "text": plan.suite.text,
        },
        "machine": machine(),
        "packages": packages(),
        "determinism": {
            "seed": plan.suite.settings.seed,
            "workers": plan.suite.settings.workers,
            "threads_per_worker": worker_threads(plan.suite.settings.workers),
            "sampling": "each sample by its own seed",
        },
        "models": {name: _model_record(plan.suite, name) for name in plan.suite.used_models()},
        **described(plan, store, views),
    }
    target.write_run(record)
    target.write_table(to_csv(rows))
    remove_stale_samples(
        target, {target.samples_path(n) for n, v in zip(names, views, strict=True) if v.ok}
    )
    return rows


def described(plan: Plan, store: Store, views: Sequence[CellView]) -> dict[str, Any]:
    """The part of a run's record that samples are read with: header and cells."""
    return {
        "header": asdict(header_of(plan.suite)),
        "cells": [
            _cell_record(cell, view, store) for cell, view in zip(plan.cells, views, strict=True)
        ],
    }


def rebuild(target: Published) -> list[Row]:
    """Compute the table again from published samples alone, and write it."""
    record = target.read_run()
    if record is None:
        raise StoreError(
            f"{target.folder}: no results here (no run.json); `kdbench run SUITE` makes them"
        )
    head = record["header"]
    header = Header(
        head["suite"], head["seed"], head["confidence"], [Pair(**p) for p in head["pairs"]]
    )
    views = [_view_from_record(cell, target) for cell in record["cells"]]
    rows = table_rows(header, views)
    target.write_table(to_csv(rows))
    return rows


def sample_file(view: CellView) -> str:
    """File name of a view's samples, without its ending; other limits of one cell have names of their own."""
    subject = view.model or f"{view.student}-of-{view.teacher}"
    first = "" if view.limit is None else f"--first-{view.limit}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{view.label}--{subject}--{view.key[:8]}{first}")


CELL_FIELDS = (
    "label", "group", "protocol", "model", "teacher", "student", "key", "status", "reason",
    "hardware", "finished", "kdbench", "summary",
)  # fmt: skip
"""What a record holds of a `CellView` as it is."""


def _cell_record(cell: PlannedCell, view: CellView, store: Store) -> dict[str, Any]:
    record = store.cell(cell.key).record() if cell.key else None
    return {
        **{field: getattr(view, field) for field in CELL_FIELDS},
        "metrics": [asdict(metric) for metric in view.metrics],
        "samples": sample_file(view),
        "limit": view.limit,
        "reach": asdict(cell.reach) if cell.reach else None,
        "ingredients": cell.ingredients,
        "seconds": record.seconds if record else {},
    }


def _model_record(suite: Suite, name: str) -> dict[str, Any]:
    adapter = suite.adapter(name)
    try:
        size = adapter.size()
    except ModelError:  # its cells have failed and their rows say why
        size = None
    return {
        "adapter": adapter.name,
        "parameters": size.parameters if size else None,
        "weight_bytes": size.weight_bytes if size else None,
    }


def _view_from_record(data: dict[str, Any], target: Published) -> CellView:
    return CellView(
        **{field: data[field] for field in CELL_FIELDS},
        metrics=[Metric(**metric) for metric in data["metrics"]],
        read=cache(lambda: target.read_samples(data["samples"])),
        limit=data["limit"],
    )


def remove_stale_samples(target: Published, current: set[Path]) -> None:
    """Delete samples of cells that are no longer there."""
    folder = target.folder / "samples"
    for path in folder.glob("*.parquet") if folder.is_dir() else ():
        if path not in current:
            path.unlink()


def _without_home(text: str) -> str:
    return text.replace(str(Path.home()), "~")


def unfinished(rows: Sequence[Row]) -> list[Row]:
    """Rows that failed."""
    return [row for row in rows if row.status == "failed"]
