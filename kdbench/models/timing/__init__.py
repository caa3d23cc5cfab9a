"""Timing that a ratio can be believed of: clocks, warm-up, interleaved rounds, and what the machine allows.

    clock = clock_for(device)                     # perf_counter_ns, or CUDA events
    subjects = [Subject("teacher", step), Subject("student", other_step)]
    for subject in subjects:
        warm_up(subject, clock)
    for round in interleaved(subjects, clock, indices=range(16), seed=0):
        round.seconds("teacher"), round.seconds("student")

A subject's `call` does the work once. It takes a `mark` that it may call at places whose time is wanted (the
first token, say); the clock marks the beginning and the end.
"""

from kdbench.models.timing.clock import Clock, CpuClock, CudaClock, clock_for
from kdbench.models.timing.rounds import (
    Round,
    Subject,
    Warmed,
    WarmUp,
    interleaved,
    repeats_for,
    timed,
    warm_up,
)

__all__ = [
    "Clock",
    "CpuClock",
    "CudaClock",
    "Round",
    "Subject",
    "WarmUp",
    "Warmed",
    "clock_for",
    "interleaved",
    "repeats_for",
    "timed",
    "warm_up",
]
