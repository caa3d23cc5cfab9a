"""A whole run on a scripted clock: what is told before the first timing is what all of them take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kdbench.results.store import Store
from kdbench.run.plan import make_plan
from kdbench.run.runner import _measure
from kdbench.run.worker import Worker
from kdbench.suite import load_suite

MODULE = """
from contextlib import contextmanager
from dataclasses import dataclass

from fake_clock import FakeClock

from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.timing.text_run import TextWork

CLOCK = FakeClock()


@dataclass(eq=False)
class Model:
    "Takes `each` seconds for a token or an image, `fixed` for a call, `first` for its first call."
    each: float
    fixed: float = 0.0
    first: float = 0.0

    @contextmanager
    def time_text(self, shape, seed, how):
        yield Run(self, shape.batch, shape.prompt_tokens, shape.new_tokens)

    @contextmanager
    def time_classifier(self, batch, seed):
        yield Run(self, batch, batch, 1)

    def spend(self, seconds):
        CLOCK.advance(self.first + seconds)
        self.first = 0.0


@dataclass
class Run:
    model: Model
    batch: int
    prompt: int
    new_tokens: int
    clock = CLOCK
    device = "cpu"

    def __call__(self, mark, new_tokens=None):
        self.model.spend(self.model.fixed + self.model.each * self.prompt)
        mark()
        mark()
        self.model.spend(self.model.each * ((new_tokens or self.new_tokens) - 1))

    def parts(self, call):
        return {}

    def facts(self):
        return {"flops_per_image": 1}

    def work(self):
        return Both(1, 1)

    def ceilings(self):
        return Ceilings(1e9, 1e9)


@dataclass(frozen=True)
class Both(Work):
    @property
    def prefill(self):
        return self

    decode = prefill
"""
SUITE = """
name: scripted
models:
  slow: {{{own}, options: {{each: 4, fixed: 40}}}}
  fast: {{{own}, options: {{each: 2, first: 300}}}}
  even: {{{own}, options: {{each: 4, fixed: 20}}}}
pairs: [{{teacher: slow, student: fast}}, {{teacher: slow, student: even}}]
tasks:
  - {{task: efficiency.text, batch: [1], prompt_tokens: [3], new_tokens: [5, 40], {rounds}, min_seconds: 0}}
  - {{task: efficiency.classifier, batch: [2, best], most: 16, {rounds}, min_seconds: 2000}}
settings: {{device: cpu}}
"""


class InThisProcess:
    """Workers that are one, here, whose clock can be looked at."""

    def __init__(self, on: list[dict[str, Any]]) -> None:
        self.worker = Worker(lambda event, **told: on.append({"event": event, **told}))
        self.events = on

    def execute(self, orders: Sequence[dict[str, Any]], on_event: Any, **how: Any) -> None:
        for order in orders:
            self.worker.run(order)
            events, self.events[:] = list(self.events), []
            for event in events:
                on_event(event)


def run(folder: Path, rounds: int, budget: float | None = None) -> tuple[list[Any], float, Store]:
    """Events of a run, seconds on the scripted clock behind the prediction, and its results."""
    (folder / "scripted_clock_models.py").write_text(MODULE)
    target = 'target: "scripted_clock_models:Model", verbs: [time_text, time_classifier]'
    text = SUITE.format(own=f"adapter: callable, {target}", rounds=f"rounds: {rounds}")
    (folder / "scripted.yaml").write_text(text)
    suite, store = load_suite(folder / "scripted.yaml"), Store(folder / "results")
    seen: list[Any] = []
    told: list[float] = []

    def clock() -> float:
        now: float = sys.modules["scripted_clock_models"].CLOCK.now
        return now

    def on_event(event: dict[str, Any]) -> None:
        seen.append(event)
        if event["event"] == "predicted":
            told.append(clock())

    workers: Any = InThisProcess([])
    _measure(make_plan(suite, store), store, workers, 1, budget, on_event)
    return seen, clock() - told[0], store


@pytest.mark.parametrize("rounds", [6, 40])
def test_the_total_of_a_run_is_within_25_percent_search_first_calls_and_blocks_included(
    tmp_path: Path, rounds: int
) -> None:
    seen, took, _ = run(tmp_path, rounds)
    assert [event for event in seen if event["event"] == "failed"] == []
    (predicted,) = (event for event in seen if event["event"] == "predicted")
    assert predicted["timings"] == 8 and not predicted["unknown"]
    assert predicted["seconds"] == pytest.approx(took, rel=0.1)
    first = next(n for n, event in enumerate(seen) if event["event"] == "items")
    assert seen.index(predicted) < first


def test_what_a_budget_lets_in_takes_no_longer_than_it(tmp_path: Path) -> None:
    seen, took, store = run(tmp_path, 6, budget=12_000.0)
    (predicted,) = (event for event in seen if event["event"] == "predicted")
    out = [event["cell"] for event in seen if event["event"] == "left_out"]
    assert 0 < predicted["left_out"] == len(out) < 8
    assert took == pytest.approx(predicted["seconds"], rel=0.1)
    assert took <= 12_000 * 1.1
    records = [store.cell(key).record() for key in out]
    assert {record.status for record in records if record} == {"skipped"}
