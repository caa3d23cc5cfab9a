"""What can be measured, and what a plan would do, in words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdbench import registry
from kdbench.errors import SettingsConflictError, UnknownNameError
from kdbench.models.protocols import ABOUT_VERBS
from kdbench.results.store import SCHEMA, Store
from kdbench.run.forecast import Expected, expected
from kdbench.run.plan import Plan, by_models
from kdbench.tasks.compare import PAIR_METRICS
from kdbench.tasks.task import CODE_NOT_ALLOWED, PairTask, Task


def listing(what: str) -> list[dict[str, Any]]:
    """Names and one line about each task, adapter or metric."""
    if what == "tasks":
        return [{"name": n, "about": registry.tasks.get(n).about} for n in registry.tasks.names()]
    if what == "adapters":
        return [
            {"name": n, "about": registry.adapters.get(n).about} for n in registry.adapters.names()
        ]
    if what == "metrics":
        return [
            {
                "name": metric.name,
                "about": f"{metric.about} ({metric.unit}, {metric.better} is better; {name})",
                "unit": metric.unit,
                "better": metric.better,
                "task": name,
            }
            for name in registry.tasks.names()
            for metric in registry.tasks.get(name).known_metrics()
        ] + [
            {"name": f"METRIC.{suffix}", "about": about, "unit": "", "better": "", "task": "pairs"}
            for suffix, about in PAIR_METRICS.items()
        ]
    raise SettingsConflictError(
        f"nothing to list under {what!r}: choose tasks, adapters or metrics"
    )


def describe(reference: str) -> dict[str, Any]:
    """A registered task ("reasoning"), or one of its members ("reasoning/gsm8k")."""
    name, _, value = reference.partition("/")
    cls = registry.tasks.get(name)
    about: dict[str, Any] = {
        "task": reference,
        "about": cls.about,
        "version": cls.version,
        "subject": "pair" if issubclass(cls, PairTask) else "model",
        "source": cls.source,
        "parameters": {
            key: field.description or str(field.annotation)
            for key, field in cls.Params.model_fields.items()
        },
    }
    task = _bound(cls, value)
    if task is None:
        about["more"] = f"kdbench show {name}/{cls.shorthand.upper()}" if cls.shorthand else ""
        return about
    about["label"] = task.label
    about["verbs"] = {
        verb: ABOUT_VERBS.get(verb, "a plugin's own verb") for verb in sorted(task.verbs())
    }
    about["metrics"] = [
        f"{m.name} ({m.unit}, {m.better} is better{f', by {m.by} too' if m.by else ''}): {m.about}"
        for m in task.metrics()
    ]
    about["protocol"] = task.protocol()
    return about


def _bound(cls: type[Task], value: str) -> Task | None:
    if not value and any(field.is_required() for field in cls.Params.model_fields.values()):
        return None
    if value and cls.shorthand is None:
        raise UnknownNameError(f"the task {cls.name!r} takes nothing after a slash")
    try:
        params = cls.Params.model_validate({cls.shorthand: value} if value else {})
    except ValidationError as error:
        if not value:
            return None  # which of its parameters it needs depends on the others
        reason = "; ".join(str(one["msg"]) for one in error.errors())
        raise UnknownNameError(f"{cls.name}/{value}: {reason}") from error
    members = cls.expand(params, Path.cwd())
    return cls(members[0], Path.cwd())


def plan_lines(plan: Plan, store: Store) -> list[str]:
    """The plan for a person, with what `store` tells of timings."""
    suite = plan.suite
    lines = [
        f"suite {suite.name}: {counted(len(suite.pairs), 'pair')}, {counted(len(plan.cells), 'cell')}"
    ]
    for pair in suite.pairs:
        beside = f", baseline {pair.baseline}" if pair.baseline else ""
        lines.append(
            f"  pair {pair.name}: {pair.student} of {pair.teacher} by {pair.method}{beside}"
        )
    verbs = {spec.label: ", ".join(sorted(spec.build().verbs())) for spec in suite.tasks}
    lines += [f"  task {label} needs {needed}" for label, needed in verbs.items()]
    for cell in plan.cells:
        state = (
            "done"
            if cell.done
            else f"blocked: {cell.problem}"
            if cell.problem
            else "failed before, will be tried again"
            if cell.record and cell.record.status == "failed"
            else f"{cell.record.covered} items there, will go on"
            if cell.record and cell.record.covered
            else "to do"
        )
        lines.append(f"  {cell.label} on {cell.subject}: {state}")
    unused = sorted(set(suite.models) - set(suite.used_models()))
    if unused:
        lines.append(f"  not in any pair, not measured: {', '.join(unused)}")
    for where, item in plan.downloads:
        size = f"{item.size / 1e6:.0f} MB" if item.size is not None else "size unknown"
        lines.append(f"  download for {where}: {item.what} ({size}); by hand: {item.by_hand}")
    todo = plan.todo
    if todo:
        lines.append(
            f"{counted(len(todo), 'cell')} to measure in {counted(len(by_models(todo)), 'load')}"
        )
    lines += timing_lines(expected(plan, store))
    if plan.executing and not plan.allow_code_execution:
        lines += [f"  {label} {CODE_NOT_ALLOWED}" for label in plan.executing]
    if plan.downloads:
        lines.append(f"{counted(len(plan.downloads), 'download')} first")
    if not todo and not plan.downloads:
        lines.append("nothing to measure")
    return lines


def timing_lines(known: Expected) -> list[str]:
    """What is known of timings before any is tried."""
    if not known.timings:
        return []
    told = f"{counted(known.timings, 'timing')} among them"
    if known.least_seconds:
        told += f", at least {known.least_seconds:g} s by their settings"
    if known.alike:
        which = "all" if known.alike == known.timings else f"{known.alike} of them"
        took = f"{known.alike_seconds:.1f} s"
        told += f"; {which} took {took} on this hardware before, with other models or seeds"
    return [f"{told}; a run tries them and says how long they take before it begins"]


def counted(number: int, thing: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def plan_record(plan: Plan, store: Store) -> dict[str, Any]:
    """The plan for a machine."""
    return {
        "schema": SCHEMA,
        "suite": plan.suite.name,
        "pairs": [pair.model_dump() for pair in plan.suite.pairs],
        "cells": [
            {
                "task": cell.label,
                "subject": {k: v for k, v in asdict(cell.subject).items() if v},
                "protocol": cell.protocol_id,
                "key": cell.key,
                "limit": cell.limit,
                "done": cell.done,
                "problem": cell.problem,
            }
            for cell in plan.cells
        ],
        "timings": asdict(expected(plan, store)),
        "executes_code": plan.executing,
        "downloads": [{"for": where, **asdict(item)} for where, item in plan.downloads],
    }
