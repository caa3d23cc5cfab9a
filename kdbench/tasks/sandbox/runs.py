"""Programs and their tests in, verdicts out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Timer
from typing import Any

from kdbench.errors import TaskError
from kdbench.results.hardware import cpu_count

_PACKAGES = Path(__file__).resolve().parents[3]
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store")
_SPARE = 20.0
"""Seconds over a program's own limit after which the warden itself is given up."""


@dataclass(frozen=True, slots=True)
class Program:
    """`source` is run; `tests` then ask for `entries` (names that it defines) and compare.

    `preamble` is text of the problem that the tests may use; it runs beside them, so that a program that
    defines its names anew changes nothing.
    """

    source: str
    tests: tuple[str, ...]
    entries: tuple[str, ...]
    preamble: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may take. Wall time runs while the machine does other things: it is the laxer."""

    cpu_seconds: int = 5
    wall_seconds: float = 15.0
    memory_mb: int = 1024
    file_mb: int = 16
    threads: int = 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind`: "passed", "failed" (a comparison), "error", "syntax" (does not compile) or "timeout"."""

    kind: str
    why: str
    compiled: bool
    cpu: float
    wall: float

    @property
    def passed(self) -> bool:
        return self.kind == "passed"


def judge(programs: Sequence[Program], limits: Limits) -> list[Verdict]:
    """Run every program in a room of its own, as many at a time as there are cores.

    Raises `TaskError` where a room can't be built; no program has then run outside one.
    """
    at_once = max(1, min(cpu_count(), len(programs)))
    with (
        tempfile.TemporaryDirectory(prefix="kdbench-room-") as root,
        ExitStack() as stack,
        ThreadPoolExecutor(at_once) as pool,
    ):
        free: SimpleQueue[Warden] = SimpleQueue()
        for _ in range(at_once):
            free.put(stack.enter_context(Warden()))

        def one(program: Program) -> Verdict:
            warden = free.get()
            try:
                return _verdict(warden, program, limits, root)
            finally:
                free.put(warden)

        return list(pool.map(one, programs))


def _verdict(warden: Warden, program: Program, limits: Limits, root: str) -> Verdict:
    tests = {"tests": program.tests, "entries": program.entries, "preamble": program.preamble}
    told = warden.ask(
        {
            "program": program.source,
            "tests": json.dumps(tests),
            "root": root,
            "python": _python(),
            "shown": shown(),
            **asdict(limits),
        },
        limits.wall_seconds + _SPARE,
    )
    if "broken" in told:
        raise TaskError(f"generated code can't be run here: {told['broken']}. {REMEDY}")
    return Verdict(told["verdict"], told["why"], told["compiled"], told["cpu"], told["wall"])


REMEDY = (
    "Its sandbox needs Linux 5.12 on x86-64 or AArch64, and either root with CAP_SYS_ADMIN or unprivileged "
    "user namespaces (in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined; on "
    "Ubuntu 24.04: sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
)


class Warden:
    """The process that builds rooms, one at a time; it ends with this one, and they with it."""

    def __enter__(self) -> Warden:
        if sys.platform != "linux":
            raise TaskError(f"generated code can't be run on {sys.platform}. {REMEDY}")
        start = "from kdbench.tasks.sandbox.warden import main; main()"
        try:
            self._process = subprocess.Popen(
                [_python(), "-S", "-s", "-P", "-c", start],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": str(_PACKAGES), "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise TaskError(f"generated code can't be run here: {error}. {REMEDY}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What became of a job; "broken" where the warden does not answer in time."""
        assert self._process.stdin is not None and self._process.stdout is not None
        clock = Timer(seconds, self._process.kill)
        clock.start()
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            clock.cancel()
        told: dict[str, Any] = json.loads(line) if line else {"broken": "its warden has gone"}
        return told


def _python() -> str:
    """The interpreter itself, not the link of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def shown() -> list[str]:
    """What the room shows of the machine, parents before their children."""
    prefix = Path(sys.base_prefix)
    own = [Path(_python()), prefix / "lib", prefix / "lib64"]
    shown: list[Path] = []
    for path in sorted({path for path in (*map(Path, _LIBRARIES), *own) if path.exists()}):
        above = [one for one in shown if one in path.parents]
        linked = any(parent.is_symlink() for parent in path.parents)
        if not above and not linked:
            shown.append(path)
    return [str(path) for path in shown]
