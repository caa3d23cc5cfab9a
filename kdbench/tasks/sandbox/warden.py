"""Builds the walls, puts candidate and judge behind them, watches the clock, and reports.

`main` reads jobs (a line of JSON each) from standard input and answers with a line each: a verdict, or which
wall could not be built ("broken"). A fork does each job, so that nothing is left of it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kdbench.tasks.sandbox import judge, kernel, seccomp

_INSIDE = ("wire", "candidate")
_UIDS = range(61184, 65520)
"""Where systemd takes the users of a service from: they belong to nobody (root only)."""

_WALLS = kernel.NEW_MOUNTS | kernel.NEW_NETWORK | kernel.NEW_IPC | kernel.NEW_UTS


_GRACE = 0.5
_NEVER_BEGAN = 113


@dataclass
class Inmate:
    """A process behind the walls: `pid` for signals, `watch` tells how it ended."""

    pid: int
    stem: int
    watch: int


def main() -> None:
    kernel.die_with_parent(signal.SIGKILL)
    with suppress(OSError):  # out of memory, these go first
        Path("/proc/self/oom_score_adj").write_text("1000")
    for line in sys.stdin.buffer:
        pid = os.fork()
        if not pid:
            _report(line)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            os.write(1, json.dumps({"broken": "its warden failed"}).encode() + b"\n")


def _report(line: bytes) -> NoReturn:
    kernel.die_with_parent(signal.SIGKILL)
    try:
        told = _run(json.loads(line))
    except OSError as error:
        told = {"broken": error.strerror or str(error)}
    except BaseException:  # noqa: BLE001 - this fork must not go on as its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os.write(1, json.dumps(told).encode() + b"\n")
    os._exit(0)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    uid = _separate()
    _build_root(job)
    calls = seccomp.program()
    theirs, ours = socket.socketpair()
    verdict_read, verdict_write = os.pipe()
    program, tests = (
        _held(job["program"].encode("utf-8", "surrogatepass")),
        _held(job["tests"].encode()),
    )
    began = time.monotonic()
    candidate = _start(job, "candidate", [program, theirs.fileno()], uid, calls)
    judging = _start(job, "judge", [tests, ours.fileno(), verdict_write], uid, calls)
    theirs.close()
    ours.close()
    os.close(verdict_write)
    until = began + job["wall_seconds"]
    verdict = _read(verdict_read, until)
    late = time.monotonic() >= until
    found = json.loads(verdict) if verdict else {"verdict": "ended", "why": "", "compiled": True}
    # a program that has hung up is given a moment to end, since how it ends is told
    patience = _GRACE if verdict and found["verdict"] == "ended" else 0.0
    judged, _ = _ended(judging, _GRACE if verdict else 0.0)
    ended, used = _ended(candidate, patience)
    told = _told(found, late, ended, used, job)
    if _NEVER_BEGAN in (os.waitstatus_to_exitcode(judged), *([] if found["compiled"] else [
        os.waitstatus_to_exitcode(ended)
    ])):  # fmt: skip
        return {"broken": "Python does not start behind the walls"}
    return {**told, "cpu": round(used, 3), "wall": round(time.monotonic() - began, 3)}


def _told(
    found: dict[str, Any], late: bool, ended: int, used: float, job: dict[str, Any]
) -> dict[str, Any]:
    """The judge's verdict; where it has none, because the program has gone, what became of it."""
    if found["verdict"] != "ended":
        return found
    code = os.waitstatus_to_exitcode(ended)
    if late:
        kind, why = "timeout", f"more than {job['wall_seconds']:g} s"
    elif used >= job["cpu_seconds"]:
        kind, why = "timeout", f"more than {job['cpu_seconds']} s of the processor"
    elif code < 0:
        kind, why = "error", f"the program was ended by {signal.Signals(-code).name}"
    else:
        kind, why = "error", f"the program ended (exit code {code}) before its tests"
    return {**found, "verdict": kind, "why": why}


def _separate() -> int | None:
    """Leave the machine's namespaces. As root the user to become, else None (a user namespace)."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with suppress(PermissionError):
            kernel.unshare(_WALLS, "namespaces")
            return _UIDS[os.getpid() % len(_UIDS)]
    kernel.unshare(kernel.NEW_USER | _WALLS, "user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid or 1000} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid or 1000} {gid} 1")
    return None


def _build_root(job: dict[str, Any]) -> None:
    """Python, the libraries that it loads, three files of kdbench and /dev/null, all read-only."""
    kernel.mount("none", "/", "", kernel.RECURSIVE | kernel.PRIVATE)
    root = Path(job["root"])
    flags = kernel.NO_SUID | kernel.NO_DEVICES
    kernel.mount("room", str(root), "tmpfs", flags, "size=4m,nr_inodes=2k,mode=755")
    for path in map(Path, job["shown"]):
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            place.symlink_to(path.readlink())
            continue
        place.mkdir() if path.is_dir() else place.touch()
        kernel.mount(str(path), str(place), "", kernel.BIND | kernel.RECURSIVE)
    here = Path(__file__).parent
    inside = root / "inside/kdbench/tasks/sandbox"
    inside.mkdir(parents=True)
    for package in (inside, *inside.parents[:2]):
        (package / "__init__.py").touch()
    for name in _INSIDE:
        (inside / f"{name}.py").write_bytes((here / f"{name}.py").read_bytes())
    for folder in ("work", "dev"):
        (root / folder).mkdir()
    (root / "dev/null").touch()
    (root / "dev/urandom").touch()
    kernel.lock(str(root))
    for device in ("null", "urandom"):
        kernel.mount(f"/dev/{device}", str(root / "dev" / device), "", kernel.BIND)
    kernel.mount(
        "work", str(root / "work"), "tmpfs", flags, f"size={job['file_mb']}m,nr_inodes=1k,mode=1777"
    )
    kernel.enter(str(root))


def _held(data: bytes) -> int:
    """A descriptor from which `data` can be read, with no name."""
    held = os.memfd_create("held")
    os.write(held, data)
    os.lseek(held, 0, os.SEEK_SET)
    return held


def _start(
    job: dict[str, Any], role: str, descriptors: Sequence[int], uid: int | None, calls: bytes
) -> Inmate:
    """Start a role as the only process of a PID namespace: descriptors 0, 3, 4 as given.

    A stem stands between, as the namespace begins with a process's children; it tells their pid and end.
    """
    watch, tell = os.pipe()
    stem = os.fork()
    if stem:
        os.close(tell)
        told = os.read(watch, 16).decode()
        if not told.strip().isdigit():
            raise OSError(0, told + os.read(watch, 1000).decode())
        return Inmate(int(told), stem, watch)
    try:
        kernel.die_with_parent(signal.SIGKILL)
        kernel.unshare(kernel.NEW_PIDS, "PID namespace")
        pid = os.fork()
        if pid == 0:
            _become(job, role, descriptors, uid, calls)
        os.closerange(3, tell)
        os.write(tell, f"{pid:<16}".encode())
        _, status, usage = os.wait4(pid, 0)
        os.write(tell, f"{status} {usage.ru_utime + usage.ru_stime}".encode())
    except OSError as error:
        os.write(tell, f"{error.strerror:<16}".encode())
    finally:
        os._exit(0)


def _become(
    job: dict[str, Any], role: str, descriptors: Sequence[int], uid: int | None, calls: bytes
) -> NoReturn:
    try:
        os.setsid()
        high = [os.dup(one) for one in descriptors]  # out of the way of those that are replaced
        spare = os.open("/dev/null", os.O_RDWR)
        os.dup2(spare, 1)
        os.dup2(spare, 2)
        for target, one in zip((0, 3, 4), high, strict=False):
            os.dup2(one, target)
        os.closerange(2 + len(descriptors), 1024)
        os.chdir("/work" if role == "candidate" else "/")
        _limit(job)
        kernel.empty_bounding_set()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        kernel.drop_capabilities()
        kernel.die_with_parent(signal.SIGKILL)  # after the change of user, which forgets it
        kernel.filter_calls(calls)
        if role == "judge":  # needs no interpreter of its own: the tests are no stranger's
            os.environ.clear()
            judge.main()
        start = "from kdbench.tasks.sandbox.candidate import main; main()"
        os.execve(
            job["python"],
            [job["python"], "-S", "-s", "-B", "-P", "-c", start],
            {"PYTHONPATH": "/inside", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "HOME": "/work",
             "TMPDIR": "/work", "PATH": "/nowhere"},
        )  # fmt: skip
    finally:
        os._exit(_NEVER_BEGAN)


def _limit(job: dict[str, Any]) -> None:
    memory, files, cpu = job["memory_mb"] << 20, job["file_mb"] << 20, job["cpu_seconds"]
    for what, soft, hard in (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, files, files),
        (resource.RLIMIT_NPROC, job["threads"], job["threads"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, 64, 64),
    ):
        ceiling = resource.getrlimit(what)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(what, (soft, hard))


def _read(descriptor: int, until: float) -> bytes:
    """What comes until the other end is closed, or time is up."""
    parts = []
    while (left := until - time.monotonic()) > 0 and select.select([descriptor], [], [], left)[0]:
        part = os.read(descriptor, 1 << 16)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def _ended(inmate: Inmate, patience: float) -> tuple[int, float]:
    """Wait status of a process and the seconds of processor that it took; killed after `patience` (s)."""
    if not select.select([inmate.watch], [], [], patience)[0]:
        with suppress(ProcessLookupError):
            os.kill(inmate.pid, signal.SIGKILL)
    status, used = os.read(inmate.watch, 100).split()
    os.waitpid(inmate.stem, 0)
    return int(status), float(used)
