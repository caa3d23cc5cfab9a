"""Panels of a pair: what its tasks declare, made from published samples."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from kdbench.errors import KdbenchError
from kdbench.leaderboard.data_files import DataFiles
from kdbench.leaderboard.folders import RunFolder
from kdbench.registry import tasks
from kdbench.results.sample import Sample
from kdbench.tasks.panel import Panel, PanelInput
from kdbench.tasks.task import Metric

_BATCH = 4096


def write(
    site: DataFiles, run: RunFolder, pair: dict[str, Any], pair_id: str
) -> list[dict[str, Any]]:
    """Write the data and scripts of a pair's panels; what a pair's page lists.

    A task that is not installed, or a panel whose function fails, is noticed and left out.
    """
    written: list[dict[str, Any]] = []
    together: dict[str, tuple[Panel, list[PanelInput]]] = {}

    def put(panel: Panel, given: PanelInput | list[PanelInput], task: str) -> None:
        data = _data(site, panel, given, f"{task} on {pair['name']}")
        if data is None:
            return
        script = f"panels/{panel.name}.js"
        if not (site.root / script).exists():
            site.copy(script, panel.script)
        written.append({
            "panel": panel.name, "title": panel.title, "about": panel.about, "script": script,
            "data": site.write(f"data/panels/{pair_id}-{len(written)}.js", data),
            "task": task,
        })  # fmt: skip

    for cell, given in _inputs(run, pair):
        for panel in _panels(site, cell):
            if panel.whole:
                together.setdefault(panel.name, (panel, []))[1].append(given)
            else:
                put(panel, given, given.task)
    for panel, inputs in together.values():
        put(panel, inputs, inputs[0].task.rpartition("/")[0] or inputs[0].task)
    return written


def _inputs(run: RunFolder, pair: dict[str, Any]) -> Iterator[tuple[dict[str, Any], PanelInput]]:
    """Every finished cell of the pair, or of its teacher where the student has it too."""
    done = [cell for cell in run.cells if cell["status"] == "done"]
    of_model = {(cell["label"], cell["protocol"], cell["model"]): cell for cell in done}
    for cell in done:
        student, files = cell, [cell]
        if cell["model"]:
            key = (cell["label"], cell["protocol"], pair["student"])
            if cell["model"] != pair["teacher"] or key not in of_model:
                continue
            student = of_model[key]
            files = [cell, student]
        elif (cell["teacher"], cell["student"]) != (pair["teacher"], pair["student"]):
            continue
        paths = [run.published.samples_path(file["samples"]) for file in files]
        if all(path.is_file() for path in paths):
            metrics = [Metric(**metric) for metric in student["metrics"]]
            both = _walk(*paths) if len(paths) == 2 else lambda: iter(())
            own = partial(_samples, paths[-1])
            summaries = {"teacher": cell["summary"], "student": student["summary"]}
            yield cell, PanelInput(
                cell["label"], metrics, run.confidence, both, own, pair["student"],
                _siblings(run, done, cell), summaries,
            )  # fmt: skip


def _siblings(
    run: RunFolder, done: list[dict[str, Any]], own: dict[str, Any]
) -> dict[str, Callable[[], Iterator[Sample]]]:
    """The samples of the teacher's other students, where `own` is a cell of a pair."""
    same = ("label", "protocol", "teacher")
    found = {}
    for cell in done:
        path = run.published.samples_path(cell["samples"])
        alike = all(cell[part] == own[part] for part in same) and cell["student"] != own["student"]
        if own["student"] and alike and path.is_file():
            found[cell["student"]] = partial(_samples, path)
    return found


def _panels(site: DataFiles, cell: dict[str, Any]) -> list[Panel]:
    own = cell["ingredients"]
    name = own["task"] if "task" in own else own["panels_of"]  # another tool's has no task
    try:
        found = list(tasks.get(name).panels())
    except KdbenchError as error:
        site.notice(f"no panels of {cell['label']}: {error}")
        return []
    for panel in found:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", panel.name):
            site.notice(f"the task {name!r} has a panel whose name is no file name: {panel.name!r}")
    return [panel for panel in found if re.fullmatch(r"[A-Za-z0-9_-]+", panel.name)]


def _data(site: DataFiles, panel: Panel, given: PanelInput | list[PanelInput], where: str) -> Any:
    try:
        data = panel.data(given)
        json.dumps(data, allow_nan=False)
    except Exception as error:  # noqa: BLE001 a plugin's own code; its fault must not cost the site
        site.notice(f"the panel {panel.name!r} of {where} failed: {type(error).__name__}: {error}")
        return None
    return data


def _walk(teacher: Path, student: Path) -> Callable[[], Iterator[tuple[Sample, Sample]]]:
    def walk() -> Iterator[tuple[Sample, Sample]]:
        if _ids(teacher) == _ids(student):
            yield from zip(_samples(teacher), _samples(student), strict=True)
            return
        answers = {sample.id: sample for sample in _samples(student)}
        for sample in _samples(teacher):
            if sample.id in answers:
                yield sample, answers[sample.id]

    return walk


@lru_cache(maxsize=64)
def _ids(path: Path) -> bytes:
    """Digest of a file's ids in their order."""
    from hashlib import sha256

    import pyarrow.parquet

    digest = sha256()
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(_BATCH, columns=["id"]):
        digest.update("\n".join(batch.column(0).to_pylist()).encode() + b"\n")
    return digest.digest()


def _samples(path: Path) -> Iterator[Sample]:
    import pyarrow.parquet

    columns = ["id", "index", "cluster", "scores", "tags", "extra"]
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(_BATCH, columns=columns):
        for row in batch.to_pylist():
            yield Sample(
                row["id"], row["index"], row["cluster"], json.loads(row["scores"]),
                tags=json.loads(row["tags"]), extra=json.loads(row["extra"]),
            )  # fmt: skip
