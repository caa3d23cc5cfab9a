"""What every interleaved timing of a pair records, whatever the two models do.

A sample is a round, and each round holds both models. A run that was cut short is finished by measuring the
rounds that are missing, in another process: `extra.session` says which one. Ratios stay sound, as each is
taken within a round; a model's own time then spans two processes, which its noise shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psutil

from kdbench import stats
from kdbench.metrics.roofline import (
    Ceilings,
    Work,
    bandwidth_utilization,
    flops_utilization,
    lower_bound,
)
from kdbench.models.timing import Clock, Round, Subject, WarmUp, interleaved, repeats_for, warm_up
from kdbench.models.timing.conditions import conditions, warnings
from kdbench.models.timing.energy import LEAST_SECONDS, EnergyMeter, NoMeter, energy_meter
from kdbench.results.sample import Sample
from kdbench.tasks.task import Item

NOTED = ("speedup", "latency.teacher", "latency.student")
"""Metrics that carry what a reader must know of the machine."""

NOISY = 0.05
"""A machine is called noisy where rounds of the same work spread by more than this fraction."""


@dataclass
class Timed:
    """Rounds of a pair, with all that is recorded beside them."""

    rounds: list[Round]
    device: str
    repeats: Mapping[str, int]
    warmed: Mapping[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    meter: str
    no_meter: str = ""
    notes: list[str] = field(default_factory=list)


def time_pair(
    subjects: Sequence[Subject],
    clock: Clock,
    device: str,
    items: Sequence[Item],
    seed: int,
    rounds: int,
    min_seconds: float,
) -> Timed:
    """Warm both up at their very shape, then time them in turns, a round for each item.

    Each is called so often in a round that all `rounds` of it last `min_seconds`.
    """
    before = conditions(device)
    warmed = {subject.name: warm_up(subject, clock, WarmUp()) for subject in subjects}
    repeats = {name: repeats_for(one.last, rounds, min_seconds) for name, one in warmed.items()}
    meter, reason = _meter(device)
    found = list(
        interleaved(
            subjects, clock, [item.index for item in items], seed, repeats,
            meter.joules if meter else None,
        )
    )  # fmt: skip
    after = conditions(device)
    timed = Timed(
        found, device, repeats, warmed, before, after, meter.name if meter else "", reason
    )
    timed.notes = _notes(timed)
    return timed


def _meter(device: str) -> tuple[EnergyMeter | None, str]:
    try:
        return energy_meter(device), ""
    except NoMeter as error:
        return None, str(error)


def _notes(timed: Timed) -> list[str]:
    """What a reader of the table must know."""
    said = warnings(timed.before, timed.after)
    for name, one in timed.warmed.items():
        if not one.stable:
            said.append(f"{name} was still getting faster after {one.calls} calls of warm-up")
    for name in timed.repeats:
        spread = stats.noise([one.seconds(name) for one in timed.rounds])
        if spread > NOISY:
            said.append(f"noisy machine: rounds of the {name} spread by {spread:.0%}")
    return said


def unsupported_percentiles(
    percentiles: Sequence[int], rounds: int, repeats: Mapping[str, int]
) -> dict[str, str]:
    """Metrics of percentiles (99 for p99) that so many calls can't carry, with the reason."""
    found = {}
    for name, count in repeats.items():
        calls = rounds * count
        for percentile in percentiles:
            if not stats.supported(calls, percentile / 100):
                needed = stats.observations_needed(percentile / 100)
                found[f"latency.p{percentile}.{name}"] = (
                    f"a p{percentile} needs {needed} calls, and {calls} were timed; raise rounds or "
                    "min_seconds"
                )
    return found


def energy_scores(one: Round, name: str, units: float) -> dict[str, list[float]]:
    """[joules, tokens or images] of a round, where its window was long enough for the counter."""
    window = sum(call[-1] for call in one.calls[name])
    if name not in one.joules or window < LEAST_SECONDS:
        return {}
    return {f"energy.{name}": [one.joules[name], units * len(one.calls[name])]}


def energy_skipped(timed: Timed) -> dict[str, str]:
    reason = timed.no_meter or (
        f"rounds last under {LEAST_SECONDS:g} s, too short for the {timed.meter}; raise min_seconds"
    )
    return {f"energy.{name}": reason for name in timed.repeats}


def against_ceilings(work: Work, seconds: float, most: Ceilings) -> dict[str, float]:
    """Operations, bytes, what was achieved of the ceilings, and the bound, of one phase."""
    return {
        "flops": work.flops,
        "moved": work.moved,
        "mfu": flops_utilization(work, seconds, most),
        "mbu": bandwidth_utilization(work, seconds, most),
        "lower_bound": lower_bound(work, most),
    }


def sample_of(item: Item, one: Round, scores: dict[str, Any], timed: Timed, skipped: dict[str, str],
              more: dict[str, Any]) -> Sample:  # fmt: skip
    """The round as a sample: its scores, its order and session, and what the machine was doing."""
    extra = {
        "order": list(one.order),
        "session": session(),
        "repeats": dict(timed.repeats),
        "skipped": {name: why for name, why in skipped.items() if name not in scores},
        "notes": {name: timed.notes for name in NOTED if timed.notes},
        **more,
    }
    if one is timed.rounds[0]:  # the same for all rounds of a session
        extra["conditions"] = {"before": timed.before, "after": timed.after}
        extra["warm_up"] = {
            name: {"calls": w.calls, "seconds": round(w.seconds, 6), "stable": w.stable}
            for name, w in timed.warmed.items()
        }
        extra["energy"] = timed.meter or timed.no_meter
    return Sample(item.id, item.index, item.cluster, scores, extra=extra)


@cache
def session() -> str:
    """Names the process that timed: when it began, and its number."""
    return f"{psutil.Process().create_time():.0f}-{os.getpid()}"
