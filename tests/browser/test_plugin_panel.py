"""A panel that another package brings, from a real run to the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT, OpenPage
from playwright.sync_api import expect

SUITE = """
name: parity
models:
  teacher: {adapter: parity, wrong: 0.05, salt: t}
  good: {adapter: parity, wrong: 0.3, salt: g}
pairs:
  - {teacher: teacher, student: good, method: forward-kl}
tasks:
  - {task: parity, count: 60}
  - {task: parity.pair, count: 60}
"""


def test_a_plugins_panel_stands_on_its_pairs_page(
    kdbench: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, open_page: OpenPage
) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE, encoding="utf-8")
    kdbench("run", "suite.yaml", "-q")
    kdbench("leaderboard", "build", "results", "--out", "site")
    page = open_page("/", folder=tmp_path / "site")
    page.get_by_role("link", name="good").first.click()
    digits = page.locator("[data-panel=parity-digits]")
    digits.scroll_into_view_if_needed()
    expect(digits.locator("p").last).to_contain_text("student")
    shares = [float(x) for x in digits.locator("p").nth(-2).inner_text().split()[1:]]
    assert len(shares) == 10 and 0.8 < sum(shares) / 10 <= 1
    expect(page.locator("[data-panel=parity-agreement]")).to_contain_text("of 60 answers are equal")

    # without the plugin the site still builds, and says what it lacks
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "leaderboard", "build", "results", "--out", "bare"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no task named 'parity'" in done.stderr
    assert not (tmp_path / "bare" / "panels" / "parity-digits.js").exists()
