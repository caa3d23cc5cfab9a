"""Models of one's own that sleep for a known time, timed through the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kdbench.results.table import read_csv

MODULE = """
import os, signal, time
from contextlib import contextmanager
from dataclasses import dataclass

from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.timing import CpuClock
from kdbench.models.timing.text_run import TextWork


@dataclass(eq=False)
class Sleeper:
    token: float
    fixed: float = 0.0

    @contextmanager
    def time_text(self, shape, seed, how):
        yield Run(self.token, shape)

    @contextmanager
    def time_classifier(self, batch, seed):
        yield Classifying(batch, self.fixed + self.token * batch)


@dataclass
class Classifying:
    batch: int
    seconds: float
    clock = CpuClock()
    device = "cpu"

    def __call__(self, mark):
        time.sleep(self.seconds)

    def parts(self, call):
        return {}

    def facts(self):
        return {"flops_per_image": 1}

    def work(self):
        return Work(1, 1)

    def ceilings(self):
        return Ceilings(1e9, 1e9)


@dataclass
class Run:
    token: float
    shape: object
    clock = CpuClock()
    device = "cpu"

    def __call__(self, mark, new_tokens=None):
        if self.shape.batch > 8:
            os.kill(os.getpid(), signal.SIGKILL)
        mark()
        mark()
        time.sleep(self.token * ((new_tokens or self.shape.new_tokens) - 1))

    def work(self):
        return TextWork(Work(1, 1), Work(1, 1))

    def ceilings(self):
        return Ceilings(1e9, 1e9)
"""
SUITE = """
name: asleep
models:
  slow: {adapter: callable, target: "sleepers:Sleeper", verbs: [time_text], options: {token: 0.01}}
  fast: {adapter: callable, target: "sleepers:Sleeper", verbs: [time_text], options: {token: 0.005}}
pairs: [{teacher: slow, student: fast}]
tasks:
  - {task: efficiency.text, batch: [1, 64], prompt_tokens: [8], new_tokens: [5], rounds: 12, min_seconds: 0}
settings: {device: cpu}
"""


@pytest.mark.slow
def test_a_known_time_is_measured_and_a_pilot_that_kills_its_process_costs_its_own_shape(
    kdbench, tmp_path: Path
) -> None:
    (tmp_path / "sleepers.py").write_text(MODULE)
    (tmp_path / "asleep.yaml").write_text(SUITE)
    kdbench("run", "asleep.yaml", code=1)
    rows = read_csv(tmp_path / "results" / "asleep" / "metrics.csv")
    found = {(row.task.rpartition("/")[2], row.metric): row for row in rows}
    speedup = found["b1-p8-n5", "speedup"]
    assert speedup.ci_low is not None and speedup.ci_high is not None
    # a sleep never ends early; how late depends on the machine and falls on both
    assert speedup.ci_low <= 2.0 * 1.01 and speedup.ci_high >= 2.0 * 0.85
    took = found["b1-p8-n5", "latency.teacher"]
    assert took.value == pytest.approx(0.04, rel=0.25) and took.value >= 0.04
    killed = found["b64-p8-n5", "speedup"]
    assert killed.status == "failed" and "SIGKILL" in killed.reason


FORETOLD = """
name: foretold
models:
  slow: {adapter: callable, target: "sleepers:Sleeper", verbs: [time_text, time_classifier],
         options: {token: 0.004, fixed: 0.012}}
  fast: {adapter: callable, target: "sleepers:Sleeper", verbs: [time_text, time_classifier],
         options: {token: 0.002, fixed: 0.006}}
  even: {adapter: callable, target: "sleepers:Sleeper", verbs: [time_text, time_classifier],
         options: {token: 0.004, fixed: 0.004}}
pairs:
  - {teacher: slow, student: fast}
  - {teacher: slow, student: even}
tasks:
  - {task: efficiency.text, batch: [1], prompt_tokens: [8], new_tokens: [9], rounds: 6, min_seconds: 0.4}
  - {task: efficiency.classifier, batch: [2, best], most: 8, rounds: 6, min_seconds: 0}
settings: {device: cpu}
"""


@pytest.mark.slow
def test_the_total_is_told_before_the_first_timing_and_known_to_the_next_dry_run(
    kdbench, tmp_path: Path
) -> None:
    (tmp_path / "sleepers.py").write_text(MODULE)
    (tmp_path / "foretold.yaml").write_text(FORETOLD)
    plan = kdbench("run", "foretold.yaml", "--dry-run").stdout
    assert "6 timings among them, at least 1.6 s by their settings" in plan
    said = kdbench("run", "foretold.yaml").stdout
    total = re.search(
        r"^timings: 6, about ([0-9.]+) s besides loading; trying them took", said, re.M
    )
    assert total and total.start() < said.index("samples in")
    record = json.loads((tmp_path / "results" / "foretold" / "run.json").read_text())
    took = sum(cell["seconds"]["measure"] for cell in record["cells"])
    assert took / 2 < float(total[1]) < 2 * took  # a busy machine wakes its sleepers late
    again = kdbench("run", "foretold.yaml", "--seed", "1", "--dry-run").stdout
    assert f"; all took {took:.1f} s on this hardware before" in again
