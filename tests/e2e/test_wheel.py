"""What pip installs holds the suites that ship, and runs outside of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_an_installed_package_validates_the_shipped_suite_by_its_name(tmp_path):
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--target", str(target), str(ROOT)],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "validate", "quickstart"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "suite quickstart: 3 pairs" in done.stdout
    assert "blocked" not in done.stdout
    results = ROOT / "results" / "quickstart"
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "leaderboard", "build", str(results), "--out", "page"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "script" / "core.js").is_file()
    assert (tmp_path / "page" / "panels" / "categories.js").is_file()
