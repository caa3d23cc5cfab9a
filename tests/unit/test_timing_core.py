"""The timing core on a scripted device, and on the real clock."""

from __future__ import annotations

import gc
import math
import time
from statistics import median

import pytest
from fake_clock import FakeClock

from kdbench import stats
from kdbench.models.timing import (
    CpuClock,
    Subject,
    WarmUp,
    interleaved,
    repeats_for,
    timed,
    warm_up,
)


def test_a_call_is_timed_to_each_of_its_marks_and_to_its_end() -> None:
    clock = FakeClock()
    assert timed(clock.subject("a", 2.0, 3.0, 5.0), clock) == [2.0, 5.0, 10.0]
    assert clock.settled == 1


def test_warm_up_ends_when_calls_stop_getting_faster() -> None:
    clock = FakeClock()
    durations = iter([8.0, 4.0, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    warmed = warm_up(
        Subject("a", lambda mark: clock.advance(next(durations))), clock, WarmUp(most_seconds=99)
    )
    assert warmed.stable
    assert warmed.calls == 8
    assert warmed.last == 1.0


def test_warm_up_that_never_settles_ends_at_its_cap_and_says_so() -> None:
    clock = FakeClock()
    durations = (0.9**n for n in range(100))
    warmed = warm_up(
        Subject("a", lambda mark: clock.advance(next(durations))), clock, WarmUp(most_calls=7)
    )
    assert (warmed.calls, warmed.stable) == (7, False)


def test_a_slow_call_is_warmed_up_no_longer_than_the_cap_of_seconds() -> None:
    clock = FakeClock()
    assert warm_up(clock.subject("slow", 60.0), clock).calls == 1


def test_every_round_holds_every_subject_in_an_order_drawn_from_the_seed() -> None:
    clock = FakeClock()
    subjects = [clock.subject(name, 1.0) for name in "abc"]
    found = list(interleaved(subjects, clock, range(50), seed=3))
    assert {frozenset(one.order) for one in found} == {frozenset("abc")}
    assert len({one.order for one in found}) == 6
    later = list(interleaved(subjects, clock, range(40, 50), seed=3))
    assert [one.order for one in later] == [one.order for one in found[40:]]
    assert [one.order for one in interleaved(subjects, clock, range(50), seed=4)] != [
        one.order for one in found
    ]


def test_repeats_last_the_minimum_duration_with_the_minimum_count() -> None:
    assert repeats_for(0.001, rounds=10, min_seconds=1.0) == 100
    assert repeats_for(5.0, rounds=10, min_seconds=1.0) == 1
    clock = FakeClock()
    (only,) = interleaved([clock.subject("a", 0.5)], clock, [0], 0, {"a": 3})
    assert only.calls["a"] == [[0.5], [0.5], [0.5]]
    assert only.seconds("a") == 0.5


def test_drift_of_30_percent_leaves_the_paired_ratio_unbiased_and_the_unpaired_one_off() -> None:
    drift = FakeClock(speed=lambda now: 1.0 if now < 45 else 1.3)  # half way, the clock rate falls
    teacher, student = drift.subject("teacher", 2.0), drift.subject("student", 1.0)
    rounds = list(interleaved([teacher, student], drift, range(30), seed=0))
    paired = stats.median_ratio(
        [one.seconds("teacher") for one in rounds], [one.seconds("student") for one in rounds]
    )
    assert paired.value == pytest.approx(2.0, rel=1e-9)
    assert paired.low <= 2.0 <= paired.high

    apart = FakeClock(speed=lambda now: 1.0 if now < 60 else 1.3)
    alone = [
        [one.seconds(name) for one in interleaved([apart.subject(name, work)], apart, range(30), 0)]
        for name, work in (("teacher", 2.0), ("student", 1.0))
    ]
    assert median(alone[0]) / median(alone[1]) == pytest.approx(2 / 1.3)


def test_drift_of_30_percent_within_rounds_is_covered_by_the_interval() -> None:
    clock = FakeClock(speed=lambda now: 1 + 0.3 * math.sin(now / 7))  # a round lasts 3 s
    subjects = [clock.subject("teacher", 2.0), clock.subject("student", 1.0)]
    rounds = list(interleaved(subjects, clock, range(16), seed=1))
    paired = stats.median_ratio(
        [one.seconds("teacher") for one in rounds], [one.seconds("student") for one in rounds]
    )
    assert paired.low <= 2.0 <= paired.high


def test_work_that_sleeps_a_known_time_is_measured_within_its_interval() -> None:
    def asleep(seconds: float) -> Subject:
        return Subject(f"{seconds}", lambda mark: time.sleep(seconds))

    subjects = [asleep(0.02), asleep(0.01)]
    rounds = list(interleaved(subjects, CpuClock(), range(16), seed=0))
    ratio = stats.median_ratio(
        [one.seconds("0.02") for one in rounds], [one.seconds("0.01") for one in rounds]
    )
    took = stats.quantile([one.seconds("0.02") for one in rounds], 0.5)
    # a sleep ends late by what the system's timer needs, never early
    assert took.low >= 0.02 and took.value == pytest.approx(0.02, rel=0.25)
    assert ratio.low <= 2.0 * 1.01 and ratio.high >= 2.0 * 0.9
    assert ratio.value == pytest.approx(2.0, rel=0.25)


def test_garbage_is_not_collected_within_a_call_and_is_after_it() -> None:
    seen: list[bool] = []
    subject = Subject("a", lambda mark: seen.append(gc.isenabled()))
    list(interleaved([subject], CpuClock(), range(2), seed=0))
    assert seen == [False, False]
    assert gc.isenabled()
