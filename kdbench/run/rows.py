"""From samples to tidy rows: a view of the sample store, without models, torch or the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdbench.errors import TaskError
from kdbench.results.sample import Sample
from kdbench.results.table import Role, Row
from kdbench.tasks.aggregate import OWN, aggregate
from kdbench.tasks.compare import (
    Joined,
    Measurement,
    against_baseline,
    against_student,
    against_teacher,
    apart_by_folds,
    join,
)
from kdbench.tasks.summaries import estimate_of
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    from kdbench.stats import Estimate


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair by the names of its models."""

    name: str
    teacher: str
    student: str
    method: str
    baseline: str | None


@dataclass(frozen=True)
class CellView:
    """What rows need to know of a cell, whether it comes from the store or from published files."""

    label: str
    group: str | None
    protocol: str
    metrics: list[Metric]
    model: str
    teacher: str
    student: str
    key: str
    status: str
    reason: str
    hardware: str
    finished: str
    kdbench: str
    summary: dict[str, dict[str, Any]]
    read: Callable[[], list[Sample]]
    limit: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True, slots=True)
class Header:
    """What all rows of a table share."""

    suite: str
    seed: int
    confidence: float
    pairs: list[Pair]


def table_rows(header: Header, cells: Sequence[CellView]) -> list[Row]:
    """Every row of a suite's table: models, groups of tasks, and pairs."""
    rows: list[Row] = []
    for members in _by_task(cells).values():
        if members[0].model:
            rows.extend(_model_task_rows(header, members))
        else:
            rows.extend(_pair_task_rows(header, members))
    return sorted(rows, key=Row.sort_key)


def _by_task(cells: Iterable[CellView]) -> dict[tuple[str, str], list[CellView]]:
    """Cells of one task and protocol together, and the cells of each task group pooled per model."""
    tasks: dict[tuple[str, str], list[CellView]] = {}
    groups: dict[tuple[str, str, int | None], list[CellView]] = {}
    for cell in cells:
        tasks.setdefault((cell.label, cell.protocol), []).append(cell)
        if cell.group and cell.model:
            groups.setdefault((cell.group, cell.model, cell.limit), []).append(cell)
    for (label, *_), members in groups.items():
        pooled = _pool(label, members)
        tasks.setdefault((label, pooled.protocol), []).append(pooled)
    return tasks


def _pool(label: str, members: Sequence[CellView]) -> CellView:
    """A group's cell on one model: all samples of its members, as if they were one task."""
    broken = [cell for cell in members if not cell.ok]
    shared = [m for m in members[0].metrics if all(m in cell.metrics for cell in members)]
    parts = [set(cell.protocol.split("; ")) for cell in members]
    common = set.intersection(*parts)

    def read() -> list[Sample]:
        return [
            replace(
                sample, id=f"{cell.label}:{sample.id}", cluster=f"{cell.label}:{sample.cluster}"
            )
            for cell in members
            for sample in cell.read()
        ]

    return replace(
        members[0],
        label=label,
        group=None,
        protocol="; ".join(p for p in members[0].protocol.split("; ") if p in common)
        + f"; members={len(members)}",
        metrics=shared,
        key=members[0].key if len(members) == 1 else "+".join(cell.key[:8] for cell in members[:4]),
        status="failed" if broken else "done",
        reason=f"{broken[0].label}: {broken[0].reason}" if broken else "",
        finished=max(cell.finished for cell in members),
        summary={},
        read=read,
    )


def _model_task_rows(header: Header, cells: Sequence[CellView]) -> Iterator[Row]:
    by_model = {cell.model: cell for cell in cells}
    samples = {cell.model: cell.read() for cell in cells if cell.ok}
    for teacher in dict.fromkeys(pair.teacher for pair in header.pairs):
        if teacher in by_model:
            yield from _cell_rows(header, by_model[teacher], "teacher", teacher, None, samples)
    own_pair = {pair.student for pair in header.pairs}
    for name in dict.fromkeys(p.baseline for p in header.pairs if p.baseline):
        if name not in own_pair and name in by_model:
            yield from _cell_rows(
                header, by_model[name], "student", name, None, samples, "baseline"
            )
    for pair in header.pairs:
        cell = by_model.get(pair.student)
        if cell is None:
            continue
        yield from _cell_rows(header, cell, "student", pair.student, pair, samples)
        yield from _comparison_rows(header, pair, by_model, samples)


def _cell_rows(
    header: Header,
    cell: CellView,
    role: Role,
    model: str,
    pair: Pair | None,
    samples: dict[str, list[Sample]],
    method: str = "",
) -> Iterator[Row]:
    """One row per metric of a model's own cell, and one per value of the tag that the metric is told by."""
    for metric in cell.metrics:
        own = samples[cell.model] if cell.ok else []
        for name, part in [(metric.name, own), *_by_tag(metric, own)]:
            measured, status = _measured(cell, metric, part, header.confidence)
            measured = replace(measured, metric=name)
            yield _row(header, cell, role, model, pair, measured, status, method)


def _by_tag(metric: Metric, samples: Sequence[Sample]) -> Iterator[tuple[str, list[Sample]]]:
    """A metric's name and samples for each value of its tag; numbers of a whole set have no parts."""
    if not metric.by or metric.aggregation == OWN:
        return
    parts: dict[str, list[Sample]] = {}
    for sample in samples:
        if metric.by in sample.tags and metric.name in sample.scores:
            parts.setdefault(sample.tags[metric.by], []).append(sample)
    for value, part in sorted(parts.items()):
        yield f"{metric.name}[{metric.by}={value}]", part


def _measured(
    cell: CellView, metric: Metric, samples: Sequence[Sample], confidence: float
) -> tuple[Measurement, str]:
    """A metric over `samples` of a cell, and "failed" where they can't be used."""
    measured = Measurement(metric.name, metric.unit, metric.better, None, cell.reason)
    if not cell.ok:
        return measured, ""
    if reason := _skipped(metric.name, samples):
        return replace(measured, reason=reason), ""
    try:
        estimate = _estimate(cell, metric, samples, confidence)
    except TaskError as error:
        return replace(measured, reason=str(error)), "failed"
    summary = cell.summary.get(metric.name, {})
    why = summary["reason"] if estimate is None else _notes(metric.name, samples)
    return replace(measured, estimate=estimate, reason=why), ""


def _skipped(metric: str, samples: Sequence[Sample]) -> str:
    """Why no sample has this metric, where the task has said so of every one; else empty."""
    if any(metric in sample.scores for sample in samples):
        return ""
    reasons = {str(sample.extra.get("skipped", {}).get(metric, "")) for sample in samples}
    return reasons.pop() if len(reasons) == 1 else ""


def _notes(metric: str, samples: Sequence[Sample]) -> str:
    """What a task says in its samples that a reader of the number must know (a noisy machine, say)."""
    notes = dict.fromkeys(
        note for sample in samples for note in sample.extra.get("notes", {}).get(metric, ())
    )
    return "; ".join(notes)


def _estimate(
    cell: CellView, metric: Metric, samples: Sequence[Sample], confidence: float
) -> Estimate | None:
    """The number, or None where the cell's summary says why there is none."""
    if metric.name in cell.summary:
        return estimate_of(cell.summary[metric.name], confidence)
    scored = [sample for sample in samples if metric.name in sample.scores]
    scores = [sample.scores[metric.name] for sample in scored]
    return aggregate(metric.aggregation, scores, [s.cluster for s in scored], confidence)


def _comparison_rows(
    header: Header,
    pair: Pair,
    by_model: dict[str, CellView],
    samples: dict[str, list[Sample]],
) -> Iterator[Row]:
    student, teacher = by_model[pair.student], by_model.get(pair.teacher)
    if teacher is None:
        return
    broken = [cell for cell in (teacher, student) if not cell.ok]
    missing = min(broken, key=lambda cell: cell.status == "skipped", default=None)
    if missing is not None:
        reason = f"{missing.model}: {missing.reason}"
        for metric in student.metrics:
            gap = Measurement(f"{metric.name}.gap", metric.unit, metric.better, None, reason)
            yield _row(header, student, "pair", pair.student, pair, gap, missing.status)
        return
    joined = join(samples[pair.teacher], samples[pair.student])
    for metric in student.metrics:
        theirs, ours = (cell.summary.get(metric.name) for cell in (teacher, student))
        if metric.aggregation == OWN and theirs and ours:
            found = apart_by_folds(metric, theirs, ours, joined.unmatched, header.confidence)
        else:
            found = against_teacher(metric, joined, header.confidence)
        for measured in found:
            yield _row(header, student, "pair", pair.student, pair, measured)
    baseline = by_model.get(pair.baseline or "")
    if baseline is not None and baseline.ok and pair.baseline != pair.student:
        beside: Joined = join(samples[baseline.model], samples[pair.student])
        for metric in student.metrics:
            for measured in against_baseline(metric, beside, header.confidence):
                yield _row(header, student, "pair", pair.student, pair, measured)


def _pair_task_rows(header: Header, cells: Sequence[CellView]) -> Iterator[Row]:
    by_names = {(cell.teacher, cell.student): cell for cell in cells}
    for pair in header.pairs:
        cell = by_names.get((pair.teacher, pair.student))
        if cell is None:
            continue
        samples = {cell.model: cell.read()} if cell.ok else {}
        yield from _cell_rows(header, cell, "pair", pair.student, pair, samples)
        if cell.ok:
            yield from _gains(header, pair, cell, by_names)


def _gains(
    header: Header, pair: Pair, cell: CellView, by_names: dict[tuple[str, str], CellView]
) -> Iterator[Row]:
    """A student's compared metrics against the baseline, and against the teacher's students before it."""
    before = [other.student for other in header.pairs[: header.pairs.index(pair)]]
    over = {name: f"gain_over[{name}]" for name in before}
    if pair.baseline:
        over |= {pair.baseline: "gain_over_baseline"}
    metrics = [metric for metric in cell.metrics if metric.compared]
    for name, suffix in over.items():
        other = by_names.get((pair.teacher, name))
        if other is None or not other.ok or name == pair.student:
            continue
        joined = join(other.read(), cell.read())
        for metric in metrics:
            for measured in against_student(metric, joined, header.confidence, suffix):
                yield _row(header, cell, "pair", pair.student, pair, measured)


def _row(
    header: Header,
    cell: CellView,
    role: Role,
    model: str,
    pair: Pair | None,
    measured: Measurement,
    status: str = "",
    method: str = "",
) -> Row:
    estimate = measured.estimate
    if not status:
        status = "ok" if estimate is not None else "skipped" if cell.ok else cell.status
    return Row(
        suite=header.suite,
        task=cell.label,
        protocol=cell.protocol,
        metric=measured.metric,
        unit=measured.unit,
        better=measured.better,
        pair=pair.name if pair else "",
        method=pair.method if pair else method,
        role=role,
        model=model,
        value=_rounded(estimate.value) if estimate else None,
        ci_low=_rounded(estimate.low) if estimate else None,
        ci_high=_rounded(estimate.high) if estimate else None,
        ci_method=estimate.method if estimate else "",
        n=estimate.n if estimate else None,
        n_clusters=estimate.n_clusters if estimate else None,
        seed=header.seed,
        status=status,
        hardware=cell.hardware,
        steps=_steps(cell),
        cell=cell.key,
        created=cell.finished,
        kdbench=cell.kdbench,
        reason=measured.reason,
    )


def _steps(cell: CellView) -> int | None:
    """Evaluations that an image took (NFE): one number of a model, on each of its samples."""
    first = next(iter(cell.read()), None) if cell.ok else None
    steps = first.extra.get("steps") if first is not None else None
    return steps if isinstance(steps, int) else None


def _rounded(value: float) -> float | None:
    """Ten significant digits, as the table's text holds them, so that every view shows the same number."""
    return None if math.isnan(value) else float(format(value, ".10g"))
