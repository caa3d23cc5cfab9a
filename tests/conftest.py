"""Fixtures that several rooms of the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from kdbench.models import torchvision_on_cpu

torchvision_on_cpu.mend()  # for the peers that tests import by themselves

# Test processes share the cores: a moment's wait for one is no failure of what is tested.
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")

# One thread a process: test processes share the cores, and threads that wait for each other crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def parity_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the third-party package of tests/plugin is installed, metadata and all."""
    target = tmp_path_factory.mktemp("plugin")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--target", str(target), str(ROOT / "tests" / "plugin")],
        check=True,
    )  # fmt: skip
    return target


@pytest.fixture(scope="session")
def environment(parity_plugin: Path) -> dict[str, str]:
    """The environment of a kdbench process that sees the plugin."""
    path = os.pathsep.join([str(ROOT), str(parity_plugin)])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": programs,
        "PYTHONPATH": path,
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
    }


@pytest.fixture
def kdbench(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run the command line in `tmp_path`: kdbench("run", "suite.yaml") -> completed process."""

    def call(
        *arguments: str | Path, code: int | None = 0, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "kdbench", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call
