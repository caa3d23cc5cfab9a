"""`kdbench run`: plan, fetch what is missing, measure what is left, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdbench import __version__
from kdbench.errors import KdbenchError, Problem, StoreError, SuiteError
from kdbench.models.hub import offline
from kdbench.results.published import Published
from kdbench.results.store import CellRecord, Store
from kdbench.results.table import Row, read_csv
from kdbench.run.forecast import foretell
from kdbench.run.local import OnEvent, Workers
from kdbench.run.plan import Plan, PlannedCell, make_plan, orders_of
from kdbench.run.progress import Progress
from kdbench.run.publish import digest, publish, unfinished
from kdbench.run.until_decided import Referee, measure_until_decided, reaches_of
from kdbench.suite import Suite

Announce = Callable[[Plan], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind. `measured` counts the cells that this run worked on."""

    rows: list[Row]
    published: Published
    measured: int
    failed: list[Row]


def run_suite(
    suite: Suite,
    results: Path,
    progress: Callable[[Sequence[PlannedCell]], Progress],
    announce: Announce = lambda plan: None,
    referee: Referee | None = None,
    allow_code_execution: bool = False,
    budget: float | None = None,
) -> Outcome:
    """Finish the missing work of `suite` and publish; the same call again does nothing else.

    With a `referee`, documents come in random order and each cell ends when the referee has decided all
    gates on it; where nothing is left to measure anyway, there is nothing to stop early. `budget` is
    seconds for timings: those that say least are left out where it is too small, and are measured by a later
    run.

    Raises `SuiteError` for what can be seen to be wrong before anything loads, `StoreError` where
    results can't be kept. Cells that fail become rows with status "failed".
    """
    store = Store(results)
    target = Published(results / suite.name)
    published = target.read_run()
    began = time.perf_counter()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    plan = ready_plan(suite, store, allow_code_execution)
    planned = time.perf_counter()

    early = referee is not None and bool(plan.todo)
    before = plan.reaching(reaches_of(published)) if early else plan
    if (
        (early or not plan.todo)
        and published
        and published["digest"] == digest(before, store)
        and target.table.is_file()
    ):
        rows = read_csv(target.table)
        return Outcome(rows, target, 0, unfinished(rows))

    store.check_writable()
    todo = plan.todo
    reaches = {}
    if todo or (plan.executing and not allow_code_execution):
        announce(plan)
    if todo:
        try:
            target.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{target.folder}: {error.strerror}") from error
        slots = suite.settings.workers
        workers = Workers(slots, target.folder / "run.log", resident=early)
        with progress(todo) as shown, workers:
            on_event = _recording_losses(plan, store, shown)
            if referee is not None:
                reaches = measure_until_decided(plan, store, workers, referee, on_event)
            else:
                _measure(plan, store, workers, slots, budget, on_event)
    measured = time.perf_counter()
    again = make_plan(suite, store).allowing(allow_code_execution) if todo else plan
    if early:
        again = again.reaching(reaches)
    phases = {"plan": planned - began, "measure": measured - planned}
    rows = publish(again, store, target, phases, started)
    return Outcome(rows, target, len(todo), unfinished(rows))


def _measure(
    plan: Plan,
    store: Store,
    workers: Workers,
    slots: int,
    budget: float | None,
    on_event: OnEvent,
) -> None:
    """What others rest on first; then how long the timings will take; then all cells that are left."""
    todo = plan.todo
    first = plan.bases_of(todo)
    batches = apart([cell for cell in todo if cell not in first], slots)
    if first:
        workers.execute(orders_of(plan, store, first), on_event, stay=any(batches))
    without: set[str] = set()
    if any(cell.timing for batch in batches for cell in batch):
        without = foretell(
            plan, store, workers, [b for b in batches if b], slots > 1, budget, on_event
        )
    for batch in batches:
        cells = [cell for cell in batch if cell.key not in without]
        if cells:
            alone = slots > 1 and cells[0].timing
            workers.execute(orders_of(plan, store, cells), on_event, alone=alone)


def apart(cells: Sequence[PlannedCell], slots: int) -> list[list[PlannedCell]]:
    """What may be measured side by side, then what must be alone on the machine: timings."""
    if slots == 1:
        return [list(cells)]
    return [[c for c in cells if not c.timing], [c for c in cells if c.timing]]


def ready_plan(suite: Suite, store: Store, allow_code_execution: bool = False) -> Plan:
    """The plan of a suite whose models and data are all in place, fetched where they were not.

    Nothing is fetched where all that is left needs a permission that was not given.
    """
    problems = check(suite)
    if problems:
        raise SuiteError(problems)
    plan = make_plan(suite, store).allowing(allow_code_execution)
    refused = not allow_code_execution and all(cell.executes_code for cell in plan.cells)
    if not plan.downloads or refused:
        return plan
    if offline():
        raise SuiteError(
            [
                Problem(
                    str(suite.file),
                    None,
                    None,
                    where,
                    f"{item.what} is not here and HF_HUB_OFFLINE is set; {item.by_hand}",
                )
                for where, item in plan.downloads
            ]
        )
    for name in suite.used_models():
        suite.adapter(name).fetch()
    for spec in suite.tasks:
        spec.build().fetch()
    return make_plan(suite, store).allowing(allow_code_execution)


def check(suite: Suite) -> list[Problem]:
    """What is wrong with the models that a suite names, each at its place in the file."""
    problems = []
    for name in suite.used_models():
        try:
            suite.adapter(name).check()
        except KdbenchError as error:
            problems.append(suite.problem(("models", name), str(error)))
    return problems


def _recording_losses(plan: Plan, store: Store, progress: Progress) -> OnEvent:
    by_key = {cell.key: cell for cell in plan.todo}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "failed" and event.get("lost"):
            _record_loss(store, by_key[event["cell"]], event["reason"])
        progress(event)

    return on_event


def _record_loss(store: Store, cell: PlannedCell, reason: str) -> None:
    """A worker that died can't write down why; the run does it."""
    own = store.cell(cell.key)
    record = own.record() or CellRecord(cell.key, cell.ingredients)
    own.fail(replace(record, hardware=cell.hardware, kdbench=__version__), reason)
