"""Clocks: what stands between two marks in the work of a device, in seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol


class Clock(Protocol):
    """Marks places in the work of a device and tells how far apart they are.

    A stamp costs next to nothing and never waits; only `settle` and `seconds` wait for the device.
    """

    name: str
    """How it measures, for the protocol id."""

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        ...

    def stamp(self) -> Any:
        """A mark behind all work that was sent to the device so far."""
        ...

    def seconds(self, stamps: Sequence[Any]) -> list[float]:
        """Seconds from the first of `stamps` to each of the others, once the device has passed them."""
        ...


class CpuClock:
    """`time.perf_counter_ns`: monotonic, and work on the CPU is done when its call returns."""

    name = "perf_counter_ns"

    def settle(self) -> None:
        return None

    def stamp(self) -> int:
        return time.perf_counter_ns()

    def seconds(self, stamps: Sequence[int]) -> list[float]:
        first = stamps[0]
        return [(stamp - first) * 1e-9 for stamp in stamps[1:]]


class CudaClock:
    """CUDA events in the device's current stream; their resolution is about half a microsecond.

    Calls on a GPU return before their work is done, so a host clock without synchronisation measures how
    fast work is sent. Between `settle` and the last stamp the device's own time and the host's agree but
    for the time that the last synchronisation takes.
    """

    name = "CUDA events"

    def __init__(self, device: Any) -> None:
        """`device` is a torch device, or its name."""
        import torch

        self._cuda: Any = torch.cuda
        self._device = torch.device(device)

    def settle(self) -> None:
        self._cuda.synchronize(self._device)

    def stamp(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        return event

    def seconds(self, stamps: Sequence[Any]) -> list[float]:
        stamps[-1].synchronize()
        return [stamps[0].elapsed_time(stamp) * 1e-3 for stamp in stamps[1:]]


def clock_for(device: Any) -> Clock:
    """The clock that is right for a torch `device`, or for its name ("cpu", "cuda:1")."""
    return CudaClock(device) if str(device).startswith("cuda") else CpuClock()
