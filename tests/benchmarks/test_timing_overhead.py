"""What the timing core adds to a timed call.

pytest tests/benchmarks/test_timing_overhead.py --benchmark-enable -s
"""

from __future__ import annotations

import time

from kdbench.models.timing import CpuClock, Subject, interleaved

CALLS = 2000


def test_a_timed_call_costs_under_50_microseconds(benchmark: object) -> None:
    clock = CpuClock()
    subjects = [Subject(name, lambda mark: mark()) for name in ("teacher", "student")]

    def rounds() -> float:
        began = time.perf_counter()
        for _ in interleaved(subjects, clock, range(CALLS // 2), seed=0):
            pass
        return (time.perf_counter() - began) / CALLS

    benchmark(rounds)  # type: ignore[operator]
    best = min(rounds() for _ in range(5))
    print(f"\n{best * 1e6:.1f} microseconds a timed call, shuffle and marks included")  # noqa: T201
    assert best < 50e-6
