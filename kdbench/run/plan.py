"""The plan: which cells a suite asks for, which of them are done, and what must load for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from kdbench import registry
from kdbench.errors import KdbenchError, SettingsConflictError
from kdbench.models.adapter import Adapter, Download
from kdbench.models.protocols import DRAFT_DISTRIBUTIONS, DRAFT_TOKENS
from kdbench.results.hardware import hardware_id
from kdbench.results.store import CellRecord, Store, cell_key
from kdbench.run.arrival import PROTOCOL, Reach
from kdbench.run.local import worker_threads
from kdbench.suite import ModelSpec, PairSpec, Suite, TaskSpec
from kdbench.tasks.task import CODE_NOT_ALLOWED, Metric, ModelTask, PairTask, Task

SAMPLE_FORMAT = 1
"""Raised when the meaning of stored samples changes, so that old cells are not mistaken for new ones."""

MIN_BLOCK = 32
"""Items measured and stored at once: what a crash can cost. Larger batches make larger blocks."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a cell is about: one model, or a teacher with a student. Names are the suite's."""

    model: str = ""
    teacher: str = ""
    student: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,) if self.model else (self.teacher, self.student)

    def __str__(self) -> str:
        return self.model or f"{self.student} of {self.teacher}"


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One task on one subject.

    A cell that can't be begun has no key: `problem` says why, and `skipped` whether that is in the nature
    of the pair (the row is "skipped") or something to mend (the row is "failed"). `reach` is set in runs
    that stop early: how far the cell goes in random order.
    """

    label: str
    group: str | None
    spec: TaskSpec
    subject: Subject
    limit: int | None
    protocol: dict[str, str]
    metrics: list[Metric]
    key: str
    ingredients: dict[str, Any]
    hardware: str
    record: CellRecord | None
    problem: str = ""
    skipped: bool = False
    reach: Reach | None = None
    basis: str = ""
    """Key of the cell whose samples this one works on."""
    model_metrics: tuple[Metric, ...] = ()
    """Of a cell on a pair, what it says of each model by itself."""

    @property
    def task(self) -> type[Task]:
        found: type[Task] = registry.tasks.get(self.spec.task)
        return found

    @property
    def executes_code(self) -> bool:
        return self.task.executes_code

    @property
    def loads(self) -> tuple[str, ...]:
        """Models that measuring takes."""
        if issubclass(self.task, PairTask) and not self.task.needs_teacher:
            return (self.subject.student,)
        return self.subject.models

    @property
    def done(self) -> bool:
        return self.record is not None and self.record.covers(self.limit)

    @property
    def timing(self) -> bool:
        """Whether the hardware is part of what is measured."""
        return "hardware" in self.ingredients

    @property
    def foretells(self) -> bool:
        """Whether its task can say beforehand how long it takes."""
        return self.timing and self.task.predict is not Task.predict

    @property
    def protocol_id(self) -> str:
        parts = self.protocol if self.reach is None else {**self.protocol, "documents": PROTOCOL}
        return "; ".join(f"{part}={value}" for part, value in parts.items())


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells of a suite in the order of their tasks, and what is missing to run them."""

    suite: Suite
    cells: list[PlannedCell]
    downloads: list[tuple[str, Download]]
    allow_code_execution: bool = False

    @property
    def executing(self) -> list[str]:
        """Labels of the tasks that would run generated code."""
        left = [cell.label for cell in self.cells if not cell.done and cell.executes_code]
        return list(dict.fromkeys(left))

    @property
    def todo(self) -> list[PlannedCell]:
        """Cells to measure; two names for the same model share one."""
        left = (cell for cell in self.cells if not cell.done and not cell.problem)
        return list(furthest(left).values())

    def bases_of(self, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
        """The cells that `cells` rest on and that are not measured yet."""
        wanted = {cell.basis for cell in cells}
        return [cell for cell in self.todo if cell.key in wanted]

    def reaching(self, reaches: Mapping[str, Reach]) -> Plan:
        """The plan with every cell's reach, by key; cells that are not named are not measured at all."""
        nowhere = Reach(0.0)
        cells = [replace(cell, reach=reaches.get(cell.key, nowhere)) for cell in self.cells]
        return replace(self, cells=cells)

    def allowing(self, code_execution: bool) -> Plan:
        """The plan with what the person who runs it allows; cells that ask for more are refused.

        No key depends on it: results are the same whoever has allowed them.
        """
        cells = [
            replace(cell, key="", problem=f"{cell.label} {CODE_NOT_ALLOWED}")
            if cell.executes_code and not (code_execution or cell.done or cell.problem)
            else cell
            for cell in self.cells
        ]
        return replace(self, cells=cells, allow_code_execution=code_execution)


def furthest(cells: Iterable[PlannedCell]) -> dict[str, PlannedCell]:
    """Of the rows that are views of one cell, the one that goes furthest, by the cell's key."""
    found: dict[str, PlannedCell] = {}
    for cell in cells:
        known = found.setdefault(cell.key, cell)
        found[cell.key] = max(known, cell, key=_extent)
    return found


def _extent(cell: PlannedCell) -> float:
    return float("inf") if cell.limit is None else cell.limit


def by_models(cells: Iterable[PlannedCell]) -> dict[tuple[str, ...], list[PlannedCell]]:
    """Cells grouped by the models that they load: one work order each."""
    orders: dict[tuple[str, ...], list[PlannedCell]] = {}
    for cell in cells:
        orders.setdefault(cell.loads, []).append(cell)
    return orders


def subjects(task: Task, pairs: Sequence[PairSpec]) -> list[Subject]:
    """Each model once (the teacher too, however many students it has), or each pair.

    A walk on pairs that also says something of each model is done for baselines, too, as these are models
    that students are compared with.
    """
    if isinstance(task, PairTask):
        both = [Subject(teacher=pair.teacher, student=pair.student) for pair in pairs]
        if task.model_metrics():
            both += [
                Subject(teacher=pair.teacher, student=pair.baseline)
                for pair in pairs if pair.baseline
            ]  # fmt: skip
        return list(dict.fromkeys(both))
    names: dict[str, None] = {}
    for pair in pairs:
        names[pair.teacher] = None
        if pair.baseline:
            names[pair.baseline] = None
        names[pair.student] = None
    return [Subject(model=name) for name in names]


def ingredients(
    task: Task,
    models: dict[str, dict[str, str]],
    seed: int,
    hardware: str,
    basis: str = "",
    threads: int = 0,
) -> dict[str, Any]:
    """Everything that can change a cell's answers; `models` maps roles to fingerprints, and `basis` is the
    key of the cell that it rests on.
    """
    found: dict[str, Any] = {
        "format": SAMPLE_FORMAT,
        "task": task.name,
        "version": task.version,
        "parameters": task.identity(),
        "protocol": task.protocol(),
        "data": task.data_fingerprint(),
        "models": models,
        "seed": seed,
    }
    if basis:
        found["basis"] = basis
    if task.timing:
        found["hardware"] = hardware
        found["threads"] = threads
    return found


def runs_on(models: Sequence[ModelSpec]) -> str:
    """The hardware's id: where the last of `models` is loaded, or what the suite says of a server's."""
    stated = [getattr(model.params, "hardware", None) for model in models]
    if any(stated):
        return " and ".join(dict.fromkeys(one or "unknown" for one in stated))
    return hardware_id(models[-1].load.device)


def loaded_as(models: dict[str, dict[str, str]]) -> dict[str, str]:
    """How the models of a timing were loaded, as parts of its protocol: dtype and attention."""
    found = {}
    for part in ("dtype", "attention"):
        each = {role: own[part] for role, own in models.items() if part in own}
        if each:
            alike = len(set(each.values())) == 1
            told = ", ".join(f"{role} {value}" for role, value in each.items())
            found[f"loaded_{part}"] = next(iter(each.values())) if alike else told
    return found


def make_plan(suite: Suite, store: Store) -> Plan:
    """Look at every cell of `suite` and at those that they rest on; nothing is loaded or written."""
    adapters: dict[str, Adapter] = {}
    downloads: dict[str, tuple[str, Download]] = {}

    def adapter(name: str) -> Adapter:
        if name not in adapters:
            adapters[name] = suite.adapter(name)
            for item in adapters[name].downloads():
                downloads.setdefault(item.what, (f"models.{name}", item))
        return adapters[name]

    @cache
    def fingerprint(name: str) -> dict[str, str]:
        return {"adapter": adapter(name).name, **adapter(name).fingerprint()}

    threads = worker_threads(suite.settings.workers)

    def planned(spec: TaskSpec, task: Task, subject: Subject) -> PlannedCell:
        protocol = task.protocol()
        if spec.limit is not None:
            protocol["limit"] = str(spec.limit)
        hardware = runs_on([suite.models[name] for name in subject.models])
        common = (spec.label, task.group, spec, subject, spec.limit, protocol, task.metrics())
        alone = tuple(task.model_metrics())
        basis = ""
        try:
            if isinstance(task, PairTask):
                _check_tokenizers(task, adapter(subject.teacher), adapter(subject.student))
                student = adapter(subject.student)
                _check_verbs(task, task.verbs(), subject.teacher, adapter(subject.teacher))
                _check_verbs(task, task.student_verbs(student.verbs()), subject.student, student)
                basis = rested_on(spec, task, subject.teacher)
            else:
                _check_verbs(task, task.verbs(), subject.model, adapter(subject.model))
            roles = {role: fingerprint(name) for role, name in asdict(subject).items() if name}
            if task.timing:
                protocol = {"threads": str(threads), **protocol, **loaded_as(roles)}
                common = (*common[:5], protocol, common[6])
            parts = ingredients(task, roles, suite.settings.seed, hardware, basis, threads)
        except KdbenchError as error:
            skipped = isinstance(error, SettingsConflictError)
            return PlannedCell(
                *common, "", {}, hardware, None, str(error), skipped, model_metrics=alone
            )
        key = cell_key(parts)
        record = store.cell(key).record()
        return PlannedCell(*common, key, parts, hardware, record, basis=basis, model_metrics=alone)

    bases: dict[str, PlannedCell] = {}

    def rested_on(spec: TaskSpec, task: PairTask, teacher: str) -> str:
        """Key of the cell that a pair of `teacher` rests on; it goes as far as the widest of them."""
        basis = task.basis()
        if basis is None:
            return ""
        cell = planned(_spec_of(basis, spec), basis, Subject(model=teacher))
        if cell.problem:
            error = SettingsConflictError if cell.skipped else KdbenchError
            raise error(f"{cell.label} on {teacher}: {cell.problem}")
        bases[cell.key] = max(bases.get(cell.key, cell), cell, key=_extent)
        return cell.key

    cells = []
    for spec in suite.tasks:
        task = spec.build()
        for item in task.downloads():
            downloads.setdefault(item.what, (spec.label, item))
        cells += [
            planned(spec, task, subject) for subject in subjects(task, spec.about(suite.pairs))
        ]
    listed = {(cell.key, cell.limit) for cell in cells}
    own = [cell for cell in bases.values() if (cell.key, cell.limit) not in listed]
    return Plan(suite, [*own, *cells], list(downloads.values()))


def _spec_of(basis: ModelTask, above: TaskSpec) -> TaskSpec:
    """A basis as if the suite had listed it beside the task that rests on it."""
    return above.model_copy(
        update={
            "task": basis.name,
            "params": basis.params,
            "label": basis.label,
            "group": basis.group,
            "metrics": tuple(metric.name for metric in basis.metrics()),
        }
    )


def _check_verbs(task: Task, verbs: frozenset[str], name: str, adapter: Adapter) -> None:
    missing = sorted(verbs - adapter.verbs())
    if missing:
        # what is a draft and nothing else is no fault of the suite
        drafts = adapter.verbs() & {DRAFT_TOKENS, DRAFT_DISTRIBUTIONS}
        error = SettingsConflictError if drafts else KdbenchError
        why = adapter.lacking()
        raise error(
            f"{task.label} needs {', '.join(missing)}, which the model {name!r} (adapter "
            f"{adapter.name}) does not have; it has {', '.join(sorted(adapter.verbs())) or 'none'}"
            + (f": {why}" if why else "")
        )


def _check_tokenizers(task: PairTask, teacher: Adapter, student: Adapter) -> None:
    if not task.same_tokenizer or DRAFT_TOKENS in student.verbs():
        return
    if teacher.downloads() or student.downloads():
        return  # not known yet; a run fetches them and plans again
    ours, theirs = student.tokenizer_fingerprint(), teacher.tokenizer_fingerprint()
    if ours != theirs or ours is None:
        raise SettingsConflictError(
            f"{task.label} compares token distributions, but teacher and student don't share a "
            "tokenizer (or one can't be known)"
        )


def orders_of(plan: Plan, store: Store, cells: Iterable[PlannedCell]) -> list[dict[str, Any]]:
    """Work orders for `cells`, one for each set of models."""
    return [_order(plan, store, models, own) for models, own in by_models(cells).items()]


def _order(
    plan: Plan, store: Store, models: tuple[str, ...], cells: Sequence[PlannedCell]
) -> dict[str, Any]:
    """The JSON that tells a worker what to load and measure."""
    suite = plan.suite
    return {
        "root": str(store.root.resolve()),
        "models": {
            name: {
                "adapter": suite.models[name].adapter,
                "params": suite.models[name].params.model_dump(mode="json"),
                "load": asdict(suite.models[name].load),
            }
            for name in models
        },
        "folder": str(suite.folder),
        "seed": suite.settings.seed,
        "allow_code_execution": plan.allow_code_execution,
        "block": max(MIN_BLOCK, *(suite.models[name].load.batch_size or 0 for name in models)),
        "cells": [
            {
                "key": cell.key,
                "task": cell.spec.task,
                "params": cell.spec.params.model_dump(mode="json"),
                "subject": {k: v for k, v in asdict(cell.subject).items() if v},
                "limit": cell.limit,
                "views": _views(plan, cell),
                "label": cell.label,
                "share": cell.reach.share if cell.reach else None,
                "ingredients": cell.ingredients,
                "hardware": cell.hardware,
                "basis": cell.basis,
            }
            for cell in cells
        ],
    }


def _views(plan: Plan, cell: PlannedCell) -> list[int | None]:
    """Limits of all rows that are views of a cell and not done; the cell goes as far as the widest."""
    limits = {other.limit: None for other in plan.cells if other.key == cell.key and not other.done}
    return list(limits)
