"""Peak memory of a process of its own, its children included."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

EVERY = 0.002
"""Seconds between two looks at a process tree."""


class Watched:
    """`peak` is the most bytes that the processes held at once, so far."""

    def __init__(self) -> None:
        self.peak = 0


@contextmanager
def watched(pid: int) -> Iterator[Watched]:
    """Watch the process `pid` and its children for as long as the context is open.

    Resident sets are added up every two milliseconds, so pages that processes share count for each of them,
    and a peak that lasts less may be missed.
    """
    found, over = Watched(), threading.Event()
    thread = threading.Thread(target=_watch, args=(pid, found, over), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _watch(pid: int, found: Watched, over: threading.Event) -> None:
    try:
        root = psutil.Process(pid)
        family, looked = [root], 0.0
        while not over.wait(EVERY):
            now = time.monotonic()
            if now - looked > 10 * EVERY:  # finding children costs far more than reading sizes
                family, looked = [root, *root.children(recursive=True)], now
            found.peak = max(found.peak, sum(map(_resident, family)))
    except psutil.NoSuchProcess:  # it has ended, so its peak is known
        return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


class Resident:
    """The resident set of this process, now and at its peak since `begin`."""

    def begin(self) -> None:
        """Start a phase: forget the peak so far. Where the system can't, the peak is that of the process's
        life."""
        place = Path("/proc/self/clear_refs")
        if place.exists() and os.access(place, os.W_OK):
            place.write_text("5")

    def now(self) -> int:
        return int(psutil.Process().memory_info().rss)

    def peak(self) -> int:
        status = Path("/proc/self/status")
        if status.is_file():
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
