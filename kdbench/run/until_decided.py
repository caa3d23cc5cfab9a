"""Measuring no further than gates need: documents in random order, a look after every round.

Round by round the cells that undecided gates rest on go further in the random order. Who judges is the
`Referee`; its intervals must hold however often it looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kdbench.results.store import Store
from kdbench.run.arrival import Reach
from kdbench.run.local import OnEvent, Workers
from kdbench.run.plan import Plan, PlannedCell, furthest, orders_of

FIRST_LOOK = 32
"""Clusters behind the first look."""

GROWTH = 1.25
"""How much further each round goes than the one before."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a referee says after a look; cells are named by their keys.

    `undecided` are the cells that some open gate rests on; `whole` those of gates that can only be
    judged on all documents. `bound` lists cells that must go equally far, as a gate pools them.
    """

    undecided: frozenset[str]
    whole: frozenset[str]
    bound: list[frozenset[str]]
    open: int
    gates: int
    standing: list[str] = field(default_factory=list)
    """The open gates with their present intervals, a line each."""


class Referee(Protocol):
    """Judges gates on what is stored within the plan's reaches."""

    def __call__(self, plan: Plan, store: Store) -> Ruling: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """What a cell has to choose from."""

    clusters: int
    largest: int


def reaches_of(record: dict[str, Any] | None) -> dict[str, Reach]:
    """How far each cell of a published run went; empty for runs that did not stop early."""
    cells = record["cells"] if record else []
    return {cell["key"]: Reach(**cell["reach"]) for cell in cells if cell.get("reach")}


def measure_until_decided(
    plan: Plan, store: Store, workers: Workers, referee: Referee, on_event: OnEvent
) -> dict[str, Reach]:
    """Measure until every gate is decided or nothing is left; how far each cell went, by its key."""
    ruling = referee(plan.reaching({}), store)
    known = furthest(cell for cell in plan.cells if cell.key)
    shared = _shared(plan)
    wanted = [cell for key, cell in known.items() if key in ruling.undecided | ruling.whole]
    bases = [replace(cell, reach=Reach(1.0)) for cell in plan.bases_of(wanted)]
    _execute(plan, store, workers, bases, on_event)
    counts = _count(plan, store, workers, wanted, on_event)
    # what others rest on is measured whole: its order need not be theirs
    reaches = {cell.basis: Reach(1.0) for cell in wanted if cell.basis}
    look = 0.0
    while True:
        active = (ruling.undecided | ruling.whole) & counts.keys()
        look = max(FIRST_LOOK, math.ceil(look * GROWTH))
        further = {
            key: Reach(share, counts[key].largest)
            for key, share in _shares(active, ruling, shared, counts, look).items()
            if key not in reaches or reaches[key].share < share
        }
        if not further:
            break
        reaches |= further
        due = [replace(known[key], reach=reach) for key, reach in further.items()]
        failed = _execute(plan, store, workers, due, on_event)
        counts = {key: count for key, count in counts.items() if key not in failed}
        ruling = referee(plan.reaching(reaches), store)
        on_event({"event": "round", "text": _round(ruling, reaches, counts)})
    for key in reaches.keys() & (counts.keys() | {cell.key for cell in bases}):
        done = {"items": len(store.cell(key).samples(known[key].limit)), "seconds": 0.0}
        on_event({"event": "done", "cell": key, **done})
    return reaches


def _shared(plan: Plan) -> frozenset[str]:
    """Cells whose rows go under several names or limits: each has a random order of its own."""
    views: dict[str, set[tuple[str, int | None]]] = {}
    for cell in plan.cells:
        views.setdefault(cell.key, set()).add((cell.label, cell.limit))
    return frozenset(key for key, own in views.items() if len(own) > 1)


def _shares(
    active: frozenset[str],
    ruling: Ruling,
    shared: frozenset[str],
    counts: Mapping[str, Counted],
    look: float,
) -> dict[str, float]:
    """How far each active cell goes next: `look` clusters of what a gate pools, or everything."""
    shares = {}
    for key in active:
        pool = next((group for group in ruling.bound if key in group), frozenset({key}))
        clusters = sum(counts[member].clusters for member in pool if member in counts)
        whole = key in ruling.whole or key in shared or look >= clusters
        shares[key] = 1.0 if whole else look / clusters
    return shares


def _count(
    plan: Plan, store: Store, workers: Workers, cells: list[PlannedCell], on_event: OnEvent
) -> dict[str, Counted]:
    """Ask how many clusters each cell's task has; cells that can't tell have failed."""
    counts: dict[str, Counted] = {}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "counted":
            counts[event["cell"]] = Counted(event["clusters"], event["largest"])
        elif event["event"] != "done":
            on_event(event)

    nowhere = [replace(cell, reach=Reach(0.0)) for cell in cells]
    workers.execute(orders_of(plan, store, nowhere), listen)
    return counts


def _execute(
    plan: Plan, store: Store, workers: Workers, cells: list[PlannedCell], on_event: OnEvent
) -> set[str]:
    """Measure `cells` as far as their reaches; keys of those that failed."""
    failed: set[str] = set()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "failed":
            failed.add(event["cell"])
        if event["event"] != "done":
            on_event(event)

    workers.execute(orders_of(plan, store, cells), listen)
    return failed


def _round(ruling: Ruling, reaches: Mapping[str, Reach], counts: Mapping[str, Counted]) -> str:
    """What a person sees after a look."""
    furthest = max(
        (math.ceil(reaches[key].share * counts[key].clusters) for key in reaches if key in counts),
        default=0,
    )
    alone = all(reaches[key].largest == 1 for key in reaches)
    lines = [
        f"after {furthest} {'documents' if alone else 'clusters of documents'}: "
        f"{ruling.gates - ruling.open} of {ruling.gates} gates decided"
    ]
    return "\n  ".join([*lines, *ruling.standing])
