"""Which walls stand on this machine: tried from inside, by a program that runs against each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kdbench.errors import TaskError
from kdbench.tasks.sandbox import runs

WALLS = {
    "network": "no interface, no address family; a server of this machine can't be reached",
    "files": "no home, no /proc, no /etc; nothing but Python and its libraries, read-only",
    "writes": "into a memory disk of its own alone, of limited size",
    "environment": "none of the caller's variables",
    "processes": "none can be started, seen or signalled",
    "memory": "a limit that an allocation can't pass",
    "privileges": "an unprivileged user without capabilities, and no namespaces of its own",
}

PROBE = """
import ctypes, os, socket

def refused(act):
    try:
        act()
    except (OSError, MemoryError):
        return True
    return False

def network():
    return refused(lambda: socket.socket(socket.AF_INET)) and refused(lambda: socket.socket(socket.AF_UNIX))

def files():
    return set(os.listdir("/")) == SHOWN and set(os.listdir("/dev")) == {"null", "urandom"}

def writes():
    elsewhere = all(refused(lambda: open(place, "w")) for place in ("/x", "/inside/x", "/dev/x", os.__file__))
    with open("/work/x", "wb") as file:
        full = refused(lambda: [file.write(bytes(1 << 20)) and file.flush() for _ in range(100)])
    return elsewhere and full

def environment():
    return set(os.environ) == {"PYTHONPATH", "PYTHONHASHSEED", "LANG", "HOME", "TMPDIR", "PATH"}

def processes():
    return os.getpid() == 1 and os.getppid() == 0 and refused(os.fork) and refused(lambda: os.kill(2, 0))

def memory():
    return refused(lambda: bytearray(4 << 30))

def privileges():
    libc = ctypes.CDLL(None)
    none = os.getuid() != 0 and libc.prctl(39, 0, 0, 0, 0) == 1 and libc.prctl(21, 0, 0, 0, 0) == 2
    return none and libc.unshare(0x10000000) == -1 and refused(lambda: os.setuid(0))
"""


@dataclass(frozen=True, slots=True)
class Wall:
    """`stands` where a program that ran against it was held; `why` says what happened where it was not."""

    name: str
    about: str
    stands: bool
    why: str


@cache
def walls() -> tuple[Wall, ...]:
    """Every wall, tried once in this process. Raises `TaskError` where no room can be built at all."""
    tops = {Path(path).parts[1] for path in runs.shown()} | {"inside", "work", "dev"}
    source = f"SHOWN = {tops!r}\n{PROBE}"
    programs = [runs.Program(source, (f"assert {name}() is True",), (name,)) for name in WALLS]
    verdicts = runs.judge(programs, runs.Limits())
    return tuple(
        Wall(name, about, verdict.passed, "" if verdict.passed else f"{verdict.kind} {verdict.why}")
        for (name, about), verdict in zip(WALLS.items(), verdicts, strict=True)
    )


def require_walls() -> None:
    """Raises `TaskError` unless every wall stands: generated code runs behind all of them or not at all."""
    fallen = [f"{wall.name} ({wall.why.strip()})" for wall in walls() if not wall.stands]
    if fallen:
        raise TaskError(
            f"generated code can't be run here: no wall holds it back from {', '.join(fallen)}. "
            f"{runs.REMEDY}"
        )
