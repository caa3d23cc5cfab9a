"""Local slots: each keeps one worker process, which takes orders until there are none.

A worker that dies costs the cell that it was measuring; the rest of its order goes to a new one.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from kdbench.errors import StoreError
from kdbench.results.hardware import cpu_count

Event = dict[str, Any]
OnEvent = Callable[[Event], None]


def worker_threads(slots: int) -> int:
    """Threads that each of `slots` workers computes with: what the environment says, or a fair share."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(asked) if asked.isdecimal() else max(1, cpu_count() // slots)


def worker_environment(slots: int) -> dict[str, str]:
    """Environment of a worker: cores shared fairly, libraries quiet, this kdbench importable."""
    defaults = {
        "OMP_NUM_THREADS": str(worker_threads(slots)),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait stall a shared machine
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
    }
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**defaults, **os.environ, "PYTHONPATH": path}


class Slot:
    """One worker process at a time."""

    def __init__(self, environment: dict[str, str], log: IO[bytes]) -> None:
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def run(self, order: dict[str, Any]) -> Iterator[Event]:
        """Events of one order, up to "idle", "store", or "died" (with the exit status)."""
        process = self._alive()
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # a worker that died says so by the end of its output
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            event: Event = json.loads(line)
            yield event
            if event["event"] in ("idle", "store"):
                return
        self._process = None
        yield {"event": "died", "status": process.wait()}

    def finish(self) -> None:
        """Let an idle worker end."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.write("null\n")
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End the worker now; what it had stored stays stored."""
        process = self._process
        if process is not None:
            process.kill()

    def _alive(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kdbench.run.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the run alone, which then ends its workers
            )
        return self._process


class Workers:
    """Up to `slots` worker processes at a time, for one batch of orders after another.

    A slot takes whatever order is next. With `resident`, each set of models has a process of its own
    that stays between batches with the models loaded, and they take turns: as many processes as sets of
    models, of which `slots` compute.
    """

    def __init__(self, slots: int, log: Path, resident: bool = False) -> None:
        self._slots = max(1, slots)
        self._environment = worker_environment(slots)
        self._resident = resident
        self._file = log.open("wb")
        self._pool: dict[str, Slot] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for slot in self._pool.values():
            slot.kill() if kind else slot.finish()
        self._file.close()

    def execute(
        self,
        orders: Sequence[dict[str, Any]],
        on_event: OnEvent,
        stay: bool = False,
        alone: bool = False,
    ) -> None:
        """Work through `orders`, one at a time where they are to be `alone` on the machine; `on_event` is
        called in this thread. Processes `stay` where another batch follows.

        Besides the workers' own events it sees {"event": "failed", "lost": True, ...} for cells whose
        worker died. Raises `StoreError` when a worker can no longer store; KeyboardInterrupt ends the
        workers first.
        """
        waiting = deque(orders)
        events: queue.Queue[Event | BaseException | None] = queue.Queue()
        stopping = threading.Event()

        def serve(number: int) -> None:
            try:
                while not stopping.is_set():
                    try:
                        order = waiting.popleft()
                    except IndexError:
                        break
                    slot = self._slot(
                        json.dumps(order["models"]) if self._resident else str(number)
                    )
                    for event in _until_done(slot, order):
                        events.put(event)
                        if event["event"] == "store":
                            raise StoreError(event["reason"])
                if not (self._resident or stay):
                    self._slot(str(number)).finish()
            except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for events
                events.put(error)
            finally:
                events.put(None)

        threads = [
            threading.Thread(target=serve, args=(number,), daemon=True)
            for number in range(1 if alone else min(self._slots, len(orders)))
        ]
        for thread in threads:
            thread.start()
        running = len(threads)
        try:
            while running:
                event = events.get()
                if event is None:
                    running -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    on_event(event)
        except BaseException:
            stopping.set()
            for slot in self._pool.values():
                slot.kill()
            raise
        finally:
            for thread in threads:
                thread.join(timeout=10)

    def _slot(self, name: str) -> Slot:
        return self._pool.setdefault(name, Slot(self._environment, self._file))


def _until_done(slot: Slot, order: dict[str, Any]) -> Iterator[Event]:
    """Run an order, sending what is left of it to a new worker each time that one dies."""
    while order["cells"]:
        left = {cell["key"]: cell for cell in order["cells"]}
        current: str | None = None
        loading = False
        for event in slot.run(order):
            if event["event"] == "start":
                current = event["cell"]
            elif event["event"] in ("load", "loaded"):
                loading = event["event"] == "load"
            elif event["event"] in ("done", "failed", "foretold"):
                left.pop(event["cell"])
                current = None
            elif event["event"] == "died":
                lost = list(left) if loading or current is None else [current]
                reason = f"worker {death(event['status'])}" + (
                    " while it loaded " + ", ".join(order["models"]) if loading else ""
                )
                for key in lost:
                    yield {"event": "failed", "cell": key, "reason": reason, "lost": True}
                    left.pop(key)
                break
            yield event
        else:
            return
        order = {**order, "cells": list(left.values())}


def death(status: int) -> str:
    """An exit status in words; SIGKILL is what the system sends when memory runs out."""
    if status >= 0:
        return f"ended with exit status {status}"
    name = signal.Signals(-status).name
    hint = " (out of memory?)" if status == -signal.SIGKILL else ""
    return f"killed by {name}{hint}"
