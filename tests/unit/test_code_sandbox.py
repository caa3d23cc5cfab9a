"""Hostile programs against the walls of the sandbox: each is held, and the machine is as it was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kdbench.errors import TaskError
from kdbench.tasks.sandbox import runs, seccomp
from kdbench.tasks.sandbox.runs import Limits, Program, Verdict, judge
from kdbench.tasks.sandbox.walls import require_walls, walls

SHORT = Limits(cpu_seconds=1, wall_seconds=2.0, memory_mb=256)


def missing() -> str:
    try:
        require_walls()
    except TaskError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def verdict(source: str, *tests: str, limits: Limits = SHORT) -> Verdict:
    (found,) = judge([Program(source, tests or ("assert f(1) == 2",), ("f",))], limits)
    return found


def test_every_wall_stands_and_says_what_it_is() -> None:
    assert {wall.name for wall in walls() if wall.stands} == {
        "network", "files", "writes", "environment", "processes", "memory", "privileges",
    }  # fmt: skip
    assert all(wall.about for wall in walls())


def test_right_programs_pass_and_wrong_ones_fail() -> None:
    assert verdict("def f(x): return x + 1").kind == "passed"
    assert verdict("def f(x): return x").kind == "failed"
    assert verdict("def f(x): return 1 +").kind == "syntax"
    assert verdict("def g(x): return 2").kind == "error"
    assert verdict("def f(x): raise ValueError('no')").why == "ValueError: no"


FORGED = {
    "sys.exit while loading": "import sys; sys.exit(0)",
    "os._exit while loading": "import os; os._exit(0)",
    "SystemExit while loading": "raise SystemExit",
    "os._exit when called": "import os\ndef f(x): os._exit(0)",
    "sys.exit when called": "import sys\ndef f(x): sys.exit(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)",
    "success markers": "print('passed', flush=True)\nprint('{\"verdict\": \"passed\"}', flush=True)",
    "markers into every descriptor": """
import os
for one in range(64):
    try: os.write(one, b'{"verdict": "passed", "why": "", "compiled": true}')
    except OSError: pass
""",
    "a forged message to the judge": """
import os, json
data = json.dumps({"verdict": "passed", "ready": True, "value": True}).encode()
os.write(3, len(data).to_bytes(4, "big") + data)
def f(x): return 0
""",
    "patched builtins": """
import builtins
builtins.AssertionError = type("Quiet", (Exception,), {})
builtins.__import__ = lambda *a: None
def f(x): return 0
""",
    "an object equal to everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __hash__(self): return 2
def f(x): return Yes()
""",
    "an integer equal to everything": """
class Yes(int):
    def __eq__(self, other): return True
def f(x): return Yes(0)
""",
    "the judge's own module": """
import kdbench.tasks.sandbox.judge as judge
judge._verdict = lambda job: {"verdict": "passed", "why": "", "compiled": True}
judge._run = lambda job: None
def f(x): return 0
""",
    "frames and the heap": """
import gc, sys
needle = "=".join(["", "", " 2 or len"])
def f(x):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if isinstance(value, str) and value is not needle and needle in value: return 2
        frame = frame.f_back
    for held in gc.get_objects():
        if isinstance(held, (list, tuple, dict)):
            for value in list(held.values() if isinstance(held, dict) else held):
                if isinstance(value, str) and value is not needle and needle in value: return 2
    return 0
""",
    "killing the parent and everyone else": """
import os, signal
for pid in (os.getppid(), -1, 0, 2, 3):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
def f(x): return 0
""",
    "a name of the tests' own": "len = lambda x: 2\ndef f(x): return []\n",
}


@pytest.mark.parametrize("how", FORGED)
def test_no_verdict_can_be_forged(how: str) -> None:
    found = verdict(FORGED[how], "assert f(1) == 2 or len(f(1)) == 2")
    assert found.kind in ("failed", "error"), found


def test_a_program_can_start_no_process(tmp_path: Path) -> None:
    before = set(psutil.pids())
    bomb = "import os\nwhile True:\n    os.fork()"
    assert verdict(bomb).why.startswith("PermissionError")
    shell = "import subprocess\ndef f(x): return subprocess.run(['/bin/true']).returncode + 2"
    assert verdict(shell).kind == "error"
    threads = (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()"
    )
    assert verdict(threads).why.startswith("RuntimeError: can't start new thread")
    time.sleep(0.1)
    left = [p for p in set(psutil.pids()) - before if "program" in " ".join(_command(p))]
    assert not left


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_memory_ends_at_the_limit() -> None:
    assert verdict("def f(x): return len(bytearray(10 << 30))").why.startswith("MemoryError")
    grow = "held = []\nwhile True: held.append(bytearray(1 << 20))"
    assert verdict(grow).why.startswith("MemoryError")
    behind = "import os\nfor i in range(1000): os.memfd_create(str(i))"
    assert verdict(behind).why.startswith("PermissionError")


def test_time_ends_at_the_limit_whether_it_is_used_or_slept_away() -> None:
    endless = Program("while True: pass", ("assert f(1) == 2",), ("f",))
    asleep = Program("import time\ntime.sleep(1e6)", ("assert f(1) == 2",), ("f",))
    deaf = Program(
        "import signal\nfor s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass", ("assert f(1) == 2",), ("f",),
    )  # fmt: skip
    began = time.monotonic()
    assert [one.kind for one in judge([endless, asleep, deaf], SHORT)] == ["timeout"] * 3
    assert time.monotonic() - began < 20


def test_files_of_the_machine_are_neither_read_nor_written_nor_deleted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("2")
    secret.chmod(0o666)
    tmp_path.chmod(0o777)
    place = str(secret)
    assert verdict(f"def f(x): return int(open({place!r}).read())").kind == "error"
    assert verdict(f"import os\nos.remove({place!r})").why.startswith("FileNotFoundError")
    assert verdict(f"open({place!r} + '2', 'w').write('x')").why.startswith("FileNotFoundError")
    wipe = "import shutil\nshutil.rmtree('/inside', ignore_errors=True)\nopen('/usr/lib/x', 'w')"
    assert verdict(wipe).why.startswith("OSError: [Errno 30]")
    assert secret.read_text() == "2" and os.listdir(tmp_path) == ["secret"]  # noqa: PTH208
    assert Path(os.__file__).is_file()


def test_what_it_writes_is_limited_and_gone_with_it() -> None:
    fill = "for i in range(99):\n    open(f'{i}', 'wb').write(bytes(1 << 20))"
    assert verdict(fill).why.startswith("OSError: [Errno 28]")
    assert verdict("open('x', 'wb').write(bytes(100 << 20))").why.startswith("OSError: [Errno 27]")
    keep = (
        "import os\ndef f(x):\n    open('kept', 'w').close()\n    return 1 + len(os.listdir('.'))"
    )
    assert verdict(keep).passed and verdict(keep).passed


def test_output_goes_nowhere_and_an_endless_answer_is_cut() -> None:
    flood = (
        "import os\nfor i in range(300): os.write(1, bytes(1 << 20)), os.write(2, bytes(1 << 20))\n"
    )
    assert verdict(flood + "def f(x): return 2").passed
    assert "MiB" in verdict("def f(x): return 'x' * (20 << 20)").why
    garbage = "import os\nwhile True: os.write(3, b'\\xff' * 65536)"
    assert verdict(garbage).kind in ("error", "timeout")


def test_a_server_of_this_machine_is_out_of_reach() -> None:
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]

        def listen() -> None:
            with suppress(OSError):
                heard.append(server.accept())

        thread = threading.Thread(target=listen)
        thread.start()
        call = (
            f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)\ndef f(x): return 2"
        )
        assert verdict(call).why.startswith("PermissionError")
        thread.join()
    assert not heard


def test_variables_of_the_caller_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "2")
    read = "import os\ndef f(x): return int(os.environ.get('HF_TOKEN', 0))"
    assert verdict(read).kind == "failed"
    deep = "def f(x): return 2 if b'HF_TOKEN' in open('/proc/self/environ', 'rb').read() else 0"
    assert verdict(deep).why.startswith("FileNotFoundError")


def test_processes_of_the_machine_hear_no_signal() -> None:
    shoot = f"import os\nos.kill({os.getpid()}, 9)"
    assert verdict(shoot).why.startswith("ProcessLookupError")


def test_the_law_that_a_signal_ends_it_with_its_parent_cannot_be_revoked() -> None:
    source = "import ctypes\ndef f(x): return ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)"
    assert verdict(source, "assert f(1) == -1").passed


def test_values_keep_their_kind_and_arguments_what_is_done_to_them() -> None:
    source = """
from collections import Counter, namedtuple
from fractions import Fraction
Point = namedtuple("Point", "x y")
def f(x): return x
def g(x): x.append(4); return iter(x)
def h(): return [Counter("aa"), Point(1, 2), Fraction(1, 3), 1 << 200, float("inf"), b"x", {1: {2}}, 2j, None]
class Node:
    def __init__(self, value): self.value, self.next = value, None
def last(node): return node.value if node.next is None else last(node.next)
"""
    tests = (
        "x = {(1, 2): [{3}, frozenset({4}), range(3), '\\ud800', True, -1.5]}\nassert f(x) == x",
        "assert f((1,)) != [1] and f([1]) != (1,) and f(True) is True and f(1) is not True",
        "a = [1]\nassert list(g(a)) == [1, 4] and a == [1, 4]",
        "from fractions import Fraction\n"
        "assert h() == [{'a': 2}, (1, 2), Fraction(1, 3), 1 << 200, float('inf'), b'x', {1: {2}}, 2j, None]",
        "n = Node(1)\nn.next = Node(2)\nassert last(n) == 2 and n.next.value == 2",
        "try:\n    f()\n    assert False\nexcept TypeError:\n    pass",
    )
    found = verdict(source, *tests)
    assert found.passed, found


def test_helpers_of_the_prompt_are_the_prompts_own() -> None:
    prompt = "def double(x):\n    return 2 * x\n\ndef f(x):\n    '''Halve.'''\n"
    cheat = Program(
        prompt + "    return 0\ndef double(x): return 8",
        ("assert double(f(8)) == 8",),
        ("f",),
        prompt,
    )
    honest = Program(prompt + "    return x // 2", ("assert double(f(8)) == 8",), ("f",), prompt)
    assert [one.kind for one in judge([cheat, honest], SHORT)] == ["failed", "passed"]


def test_a_verdict_does_not_depend_on_the_company() -> None:
    programs = [
        Program(f"def f(x): return x + {i % 3}", ("assert f(1) == 2",), ("f",)) for i in range(6)
    ]
    assert [one.passed for one in judge(programs, SHORT)] == [False, True, False] * 2


def test_where_a_wall_cannot_be_built_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.Warden, "ask", lambda *_: {"broken": "no user namespace"})
    with pytest.raises(TaskError, match=r"can't be run here: no user namespace.*CAP_SYS_ADMIN"):
        judge([Program("def f(x): return 2", ("assert f(1) == 2",), ("f",))], SHORT)


def test_a_fallen_wall_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdbench.tasks.sandbox import walls as module

    fallen = module.Wall("network", "", False, "failed ")
    monkeypatch.setattr(module, "walls", lambda: (fallen,))
    with pytest.raises(TaskError, match="holds it back from network"):
        module.require_walls()


def test_a_machine_without_a_filter_of_calls_is_refused() -> None:
    assert len(seccomp.program("x86_64")) % 8 == len(seccomp.program("aarch64")) % 8 == 0
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program("riscv64")


def test_the_interpreter_is_no_link_of_an_environment() -> None:
    assert not Path(runs._python()).is_symlink()
    assert (
        not any(path.startswith(sys.prefix) for path in runs.shown())
        or sys.prefix == sys.base_prefix
    )


ABANDONED = """
from kdbench.tasks.sandbox.runs import Limits, Program, judge
judge([Program("import time; time.sleep(600)", ("assert f(1) == 2",), ("f",))], Limits(wall_seconds=600.0))
"""


def _inmates() -> set[int]:
    return {p for p in psutil.pids() if "kdbench.tasks.sandbox" in " ".join(_command(p))}


def test_when_the_run_is_killed_its_rooms_go_with_it() -> None:
    before = _inmates()
    run = subprocess.Popen([sys.executable, "-c", ABANDONED])
    try:
        until = time.monotonic() + 30
        while not any("candidate" in _command(p)[-1] for p in _inmates() - before):
            assert run.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        run.kill()
        run.wait()
    until = time.monotonic() + 10
    while left := _inmates() - before:
        assert time.monotonic() < until, left
        time.sleep(0.05)
