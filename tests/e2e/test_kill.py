"""SIGKILL at any moment, then the same command: the table of an undisturbed run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from suites import parity_suite, without_timestamps


@pytest.mark.slow
def test_sigkill_at_twenty_random_moments_loses_nothing(environment, tmp_path):
    suite = parity_suite(tmp_path, count=480, seconds=0.02)

    def start(root: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "kdbench", "run", str(suite), "--results", str(root), "-q"],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    began = time.monotonic()
    undisturbed = start(tmp_path / "whole")
    assert undisturbed.wait() == 0
    whole_seconds = time.monotonic() - began
    expected = without_timestamps(tmp_path / "whole" / "parity" / "metrics.csv")

    def killed_and_run_again(moment: int) -> int:
        """Blocks that were stored when the run was killed."""
        root = tmp_path / f"killed-{moment}"
        run = start(root)
        time.sleep(moments[moment] * whole_seconds)
        run.send_signal(signal.SIGKILL)
        run.wait()
        logs = [path.read_bytes() for path in root.glob("cells/*/samples.jsonl")]
        again = start(root)
        assert again.wait() == 0, again.stderr.read()
        assert without_timestamps(root / "parity" / "metrics.csv") == expected, f"moment {moment}"
        return sum(log.count(b'"commit"') for log in logs)

    draw = random.Random(20)
    moments = [draw.uniform(0.05, 1.4) for _ in range(20)]  # two at a time take longer than one
    with ThreadPoolExecutor(2) as pool:
        stored_when_killed = list(pool.map(killed_and_run_again, range(20)))
    everything = 3 * 480 // 32
    assert any(0 < blocks < everything for blocks in stored_when_killed), stored_when_killed


def test_ctrl_c_exits_130_and_keeps_what_was_measured(environment, kdbench, tmp_path):
    suite = parity_suite(tmp_path, count=960, seconds=0.1)
    run = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "run", str(suite)],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    logs = tmp_path / "results" / "cells"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(b'"commit"' in log.read_bytes() for log in logs.glob("*/samples.jsonl")):
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=20)
    assert run.returncode == 130, output
    assert "everything measured so far is stored" in output
    assert "Traceback" not in output
    kept = {log: log.read_bytes() for log in logs.glob("*/samples.jsonl")}
    assert any(b'"commit"' in text for text in kept.values())
    assert not (tmp_path / "results" / "parity" / "metrics.csv").exists()
    kdbench("run", suite)
    for log, text in kept.items():
        assert log.read_bytes().startswith(text[: text.rfind(b'"commit"')])


def test_a_worker_ends_when_its_run_is_killed(environment, tmp_path):
    suite = parity_suite(tmp_path, count=3200, seconds=0.2)
    run = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "run", str(suite), "-q"], cwd=tmp_path, env=environment
    )
    logs = tmp_path / "results" / "cells"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(logs.glob("*/samples.jsonl")):
        time.sleep(0.02)
    run.kill()
    run.wait()
    time.sleep(1.0)
    sizes = [log.stat().st_size for log in sorted(logs.glob("*/samples.jsonl"))]
    time.sleep(1.0)
    assert sizes == [log.stat().st_size for log in sorted(logs.glob("*/samples.jsonl"))]
