"""Warm-up until it is stable, then rounds in which the subjects take turns."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean, median

from kdbench.models.timing.clock import Clock

Mark = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to time. `call` does the work once and calls the mark it is given where it likes."""

    name: str
    call: Callable[[Mark], object]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """When a warm-up is over: the median of the last `window` calls is no more than `tolerance` (a
    fraction) below that of the `window` before, so calls have stopped getting faster; or a cap is met.
    """

    window: int = 2
    tolerance: float = 0.05
    most_calls: int = 20
    most_seconds: float = 10.0

    def seconds_for(self, call: float) -> float:
        """What a warm-up takes as a rule, where a call takes `call` seconds: a call more than the least that
        can be stable, within the caps.
        """
        usual = min(2 * self.window + 1, self.most_calls)
        return call * min(usual, max(1, math.ceil(self.most_seconds / call))) if call > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Warmed:
    """How a warm-up went; `last` is the seconds of a call at its end, the median of the last window."""

    calls: int
    seconds: float
    stable: bool
    last: float


@dataclass(frozen=True, slots=True)
class Round:
    """One round: `calls[name]` holds, for each call, the seconds from its beginning to each mark and
    to its end (the last one). `order` is the order in which the subjects came; `joules` the energy of each
    one's calls together, where there was a meter.
    """

    index: int
    order: tuple[str, ...]
    calls: Mapping[str, list[list[float]]]
    joules: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, name: str, mark: int = -1) -> float:
        """Mean over the round's calls of `name`, to `mark` (an index into a call's marks)."""
        return fmean(call[mark] for call in self.calls[name])


def timed(subject: Subject, clock: Clock) -> list[float]:
    """Seconds from the beginning of one call to each of its marks, and to its end."""
    clock.settle()
    stamps = [clock.stamp()]
    subject.call(lambda: stamps.append(clock.stamp()))
    stamps.append(clock.stamp())
    return clock.seconds(stamps)


def warm_up(subject: Subject, clock: Clock, rule: WarmUp | None = None) -> Warmed:
    """Call `subject` until `rule` says that it is warm; at least one call is made whatever the caps."""
    rule = rule or WarmUp()
    found: list[float] = []
    with _undisturbed():
        while True:
            found.append(timed(subject, clock)[-1])
            recent = found[-rule.window :]
            before = found[-2 * rule.window : -rule.window]
            stable = len(before) == rule.window and median(recent) >= (1 - rule.tolerance) * median(
                before
            )
            if stable or len(found) >= rule.most_calls or sum(found) >= rule.most_seconds:
                return Warmed(len(found), sum(found), stable, median(recent))


def repeats_for(call_seconds: float, rounds: int, min_seconds: float) -> int:
    """Calls in each of `rounds` rounds, so that they last `min_seconds` together; at least one."""
    if call_seconds <= 0:
        return 1
    return max(1, math.ceil(min_seconds / (rounds * call_seconds)))


def interleaved(
    subjects: Sequence[Subject],
    clock: Clock,
    indices: Iterable[int],
    seed: int,
    repeats: Mapping[str, int] | None = None,
    meter: Callable[[], float] | None = None,
) -> Iterator[Round]:
    """Rounds in which every subject is timed, `repeats` calls of each in a row (default: one).

    The order within a round is drawn from (`seed`, its index), so a round that is measured later has
    the order that it would have had. What changes from round to round (clocks, temperature, a neighbour)
    falls on all subjects of a round alike, so ratios within rounds are free of it. `meter` reads a counter
    of energy in joules.
    """
    for index in indices:
        order = list(subjects)
        random.Random(f"{seed}:{index}").shuffle(order)
        calls: dict[str, list[list[float]]] = {}
        joules: dict[str, float] = {}
        with _undisturbed():
            for subject in order:
                count = repeats[subject.name] if repeats else 1
                before = meter() if meter else 0.0
                calls[subject.name] = [timed(subject, clock) for _ in range(count)]
                if meter:
                    joules[subject.name] = meter() - before
        yield Round(index, tuple(subject.name for subject in order), calls, joules)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No collection of garbage in the middle of a call."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
