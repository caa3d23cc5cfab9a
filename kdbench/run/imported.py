"""Results folders of what other tools measured: samples, table and record, as `kdbench run` writes them.

The record has no suite, machine and packages to tell of: what is not known is left empty. `kdbench table`
(with --rebuild) and `kdbench leaderboard build` read such a folder; gates need a suite, and there is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from kdbench import __version__
from kdbench.errors import SettingsConflictError
from kdbench.results.imports import Imported
from kdbench.results.provenance import kdbench_state
from kdbench.results.published import Published
from kdbench.results.store import SCHEMA, cell_key
from kdbench.results.table import Row, to_csv
from kdbench.run.publish import CELL_FIELDS, remove_stale_samples, sample_file
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.tasks.speculative.imported import FAMILY, metrics_of, samples_of

UNKNOWN_HARDWARE = "not stated (measured by another tool)"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the files don't tell: the pair, the prompts, and what else can change a number.

    `conditions` are words such as "greedy, fp16, batch 1"; numbers made under different ones, or on
    different prompts, are never compared. Raises `SettingsConflictError` for words that would break a
    protocol id, and for a pair of one model.
    """

    suite: str
    teacher: str
    student: str
    method: str
    prompts: str
    conditions: str = "not stated"
    hardware: str = UNKNOWN_HARDWARE

    def __post_init__(self) -> None:
        for field, text in asdict(self).items():
            name = "name" if field == "suite" else field
            if not text.strip() and name != "method":
                raise SettingsConflictError(f"--{name}: empty")
            if ";" in text or not text.isprintable():
                raise SettingsConflictError(
                    f"--{name} {text!r}: no semicolons and line breaks; they part the words of a protocol id"
                )
        if self.teacher == self.student:
            raise SettingsConflictError(
                f"--teacher and --student are both {self.teacher!r}; the student is the draft (heads count)"
            )


def publish(
    imported: Imported, origin: Origin, files: Sequence[Path], target: Published
) -> list[Row]:
    """Write the folder and return its rows; an earlier import there is replaced.

    Raises `SettingsConflictError` where the folder holds something that was measured.
    """
    earlier = target.read_run()
    if (earlier is None and target.table.exists()) or (earlier and "imported" not in earlier):
        raise SettingsConflictError(
            f"{target.folder}: holds results of another kind; choose another folder with --out"
        )
    samples = samples_of(imported, origin.prompts)
    metrics = metrics_of(imported, samples)
    protocol = {
        "measured by": imported.tool,
        "prompts": origin.prompts,
        "tau": "with bonus token",
        "drafts": "as that tool's" if imported.gamma is None else f"chains of {imported.gamma}",
        **imported.protocol,
        "conditions": origin.conditions,
    }
    sources = [
        {"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest()} for path in files
    ]
    asked = {**asdict(origin), "tool": imported.tool, "gamma": imported.gamma, "files": sources}
    ingredients = {
        "imported": asked,
        "panels_of": "speculative.replay",
        "protocol": protocol,
        "samples": sha256(json.dumps([asdict(s) for s in samples]).encode()).hexdigest(),
    }
    told = max((answer.finished for own in imported.files for answer in own), default=0.0)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    measured = datetime.fromtimestamp(told, UTC).isoformat(timespec="seconds") if told else now
    view = CellView(
        label=f"{FAMILY}/{origin.prompts}",
        group=None,
        protocol="; ".join(f"{part}={value}" for part, value in protocol.items()),
        metrics=metrics,
        model="",
        teacher=origin.teacher,
        student=origin.student,
        key=cell_key(ingredients),
        status="done",
        reason="",
        hardware=origin.hardware,
        finished=measured,
        kdbench=__version__,
        summary={},
        read=lambda: samples,
    )
    pair = Pair(origin.student, origin.teacher, origin.student, origin.method, None)
    header = Header(origin.suite, 0, 0.95, [pair])
    rows = table_rows(header, [view])
    made_by, name = kdbench_state(), sample_file(view)
    target.write_samples(name, samples)
    text = json.dumps(asked, indent=1, ensure_ascii=False) + "\n"
    target.write_run({
        "schema": SCHEMA,
        "digest": view.key,
        "imported": asked,
        "started": measured,
        "finished": measured,
        "written": now,
        "seconds": {},
        "kdbench": made_by,
        "suite": {
            "name": origin.suite, "file": "", "sha256": sha256(text.encode()).hexdigest(),
            "git": None, "text": text,
        },
        "machine": {},
        "packages": {},
        "determinism": {},
        "models": {
            model: {"adapter": "imported", "parameters": None, "weight_bytes": None}
            for model in (origin.teacher, origin.student)
        },
        "header": asdict(header),
        "cells": [{
            **{part: getattr(view, part) for part in CELL_FIELDS},
            "metrics": [asdict(metric) for metric in metrics],
            "samples": name,
            "limit": None,
            "reach": None,
            "ingredients": ingredients,
            "seconds": {},
        }],
    })  # fmt: skip
    target.write_table(to_csv(rows))
    remove_stale_samples(target, {target.samples_path(name)})
    return rows
