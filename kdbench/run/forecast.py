"""How long a run's timings will take: known before the first one begins, and fitted to a budget.

Every timing is tried on its models by a few calls. Models are then loaded again for the measurement where
others came between, so what a freshly loaded model costs once (counting, compiling, looking for its best
batch) is foretold where it will be spent again and nowhere else. Loading itself is no part of a timing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from kdbench import __version__
from kdbench.results.store import CellRecord, Store
from kdbench.run.local import OnEvent, Workers
from kdbench.run.plan import Plan, PlannedCell, by_models, orders_of

Load = tuple[tuple[str, ...], Sequence[PlannedCell]]
"""Models that are loaded together, and the cells that they are loaded for."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """What trying a timing told: seconds of measuring it, and those that each of its models (by the suite's
    name) costs once when it is loaded; `tried` are the seconds that trying took. `seconds` None: the task
    has no time that is known beforehand, or trying it failed."""

    seconds: float | None
    once: Mapping[str, float] = field(default_factory=dict)
    tried: float = 0.0


def foretell(
    plan: Plan,
    store: Store,
    workers: Workers,
    batches: Sequence[Sequence[PlannedCell]],
    side_by_side: bool,
    budget: float | None,
    on_event: OnEvent,
) -> set[str]:
    """Try all timings of `batches`, tell the total, and leave out what `budget` (seconds) has no room for.

    Returns the keys of cells that are not to be measured: those left out, whose records say so, and those
    whose trial a worker did not survive. `side_by_side` says that the batches but the last are spread over
    several processes, so that no model stays where it was tried.
    """
    timings = [cell for batch in batches for cell in batch if cell.timing]
    loads = list(by_models(cell for cell in timings if cell.foretells).items())[::-1]
    found: dict[str, Foretold] = {}
    lost: set[str] = set()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "foretold":
            found[event["cell"]] = Foretold(event["seconds"], event["once"], event["tried"])
            return
        if event["event"] == "failed":
            lost.add(event["cell"])
        on_event(event)

    if loads:
        orders = [order for _, cells in loads for order in orders_of(plan, store, cells)]
        trials = [{**order, "foretell": True} for order in orders]
        workers.execute(trials, listen, stay=True, alone=True)
    measured: list[Load] = []
    for batch in batches:
        measured += by_models(batch).items()
        if side_by_side and batch is not batches[-1]:
            measured.append(((), ()))
    seconds = to_come(found, loads, measured)
    tried = sum(one.tried for one in found.values())
    room = None if budget is None else budget - tried
    out = beyond(most_telling(timings), seconds, room)
    unknown = [c.label for c in timings if c.key not in seconds and c.key not in lost]
    on_event(
        {
            "event": "predicted",
            "timings": sum(took > 0 for key, took in seconds.items() if key not in out),
            "seconds": sum(took for key, took in seconds.items() if key not in out),
            "tried": tried,
            "left_out": len(out),
            "unknown": list(dict.fromkeys(unknown)),
        }
    )
    for cell in timings:
        if cell.key in out:
            _leave_out(store, cell, seconds[cell.key], on_event)
    return out | lost


def to_come(
    found: Mapping[str, Foretold], tried: Iterable[Load], measured: Iterable[Load]
) -> dict[str, float]:
    """Seconds of each timing whose time is known, by its key.

    `tried` and `measured` are the loads of the trials and of the measurement in their order. A process keeps
    a model as long as the next load needs it too, and what it costs once is paid once for each task.
    """
    tried = list(tried)
    price: dict[
        tuple[str, str], float
    ] = {}  # a model that a trial before had found is tried for nothing
    for models, cells in tried:
        for cell, name in product(cells, models):
            once = found[cell.key].once.get(name, 0.0) if cell.key in found else 0.0
            price[cell.label, name] = max(once, price.get((cell.label, name), 0.0))
    seconds: dict[str, float] = {}
    paid: set[tuple[str, str]] = set()
    for number, (models, cells) in enumerate([*tried, *measured]):
        paid = {(label, name) for label, name in paid if name in models}
        for cell in cells:
            one = found.get(cell.key)
            if one is None or one.seconds is None:
                continue
            due = {(cell.label, name) for name in models} - paid
            paid |= due
            if number >= len(tried):
                seconds[cell.key] = one.seconds + sum(price.get(what, 0.0) for what in due)
    return seconds


def most_telling(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """The first timing of every task and subject, then the second ones, and so on; tasks put those first
    that say most of their whole."""
    ranks: Counter[Any] = Counter()
    ranked = []
    for place, cell in enumerate(cells):
        whose = cell.spec.task, cell.subject
        ranked.append((ranks[whose], place))
        ranks[whose] += 1
    return [cells[place] for _, place in sorted(ranked)]


def beyond(
    cells: Sequence[PlannedCell], seconds: Mapping[str, float], room: float | None
) -> set[str]:
    """Keys of those for which `room` (seconds; None: no bound) is too small when each takes its place in
    turn; one that does not fit leaves its place to those behind it."""
    out = set()
    for cell in cells:
        took = seconds.get(cell.key, 0.0)
        if room is None or took == 0:
            continue
        if took > room:
            out.add(cell.key)
        else:
            room -= took
    return out


def _leave_out(store: Store, cell: PlannedCell, seconds: float, on_event: OnEvent) -> None:
    own = store.cell(cell.key)
    reason = (
        f"left out by --budget: it needs about {seconds:.1f} s, and more telling ones came first"
    )
    record = own.record() or CellRecord(cell.key, cell.ingredients)
    own.write_record(
        replace(
            record, status="skipped", reason=reason, hardware=cell.hardware, kdbench=__version__
        )
    )
    on_event({"event": "left_out", "cell": cell.key, "reason": reason})


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a plan's timings before anything is loaded.

    `least_seconds` is what their settings ask for at the least. `alike` of them were measured on this
    hardware before, with other models or seeds, and took `alike_seconds`.
    """

    timings: int
    least_seconds: float
    alike: int = 0
    alike_seconds: float = 0.0


def expected(plan: Plan, store: Store) -> Expected:
    """From the plan's settings, and from stored cells of the same task on the same hardware."""
    timings = [cell for cell in plan.todo if cell.timing]
    least = sum(cell.spec.build().least_seconds() for cell in timings)
    stored = _stored_timings(store) if timings else {}
    took = [
        max(near, key=lambda one: (_alike(one, cell), one.finished)).seconds["measure"]
        for cell in timings
        if (near := stored.get(_shape(cell.ingredients, cell.hardware)))
    ]
    return Expected(len(timings), least, len(took), sum(took))


def _stored_timings(store: Store) -> dict[str, list[CellRecord]]:
    """Finished timings of a store, by what they have in common with those of other models."""
    found: dict[str, list[CellRecord]] = {}
    for folder in sorted((store.root / "cells").glob("*/cell.json")):
        record = store.cell(folder.parent.name).record()
        if record is None or "hardware" not in record.ingredients:
            continue
        if record.status == "done" and record.seconds.get("measure", 0) > 0:
            found.setdefault(_shape(record.ingredients, record.hardware), []).append(record)
    return found


def _shape(ingredients: Mapping[str, Any], hardware: str) -> str:
    kept = {
        key: ingredients.get(key) for key in ("task", "version", "parameters", "data", "threads")
    }
    return json.dumps([kept, hardware], sort_keys=True)


def _alike(record: CellRecord, cell: PlannedCell) -> int:
    """How many of the models are the very same."""
    own, wanted = record.ingredients["models"], cell.ingredients["models"]
    return sum(own.get(role) == model for role, model in wanted.items())
