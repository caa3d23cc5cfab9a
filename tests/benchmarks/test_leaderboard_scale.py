"""A site of 2,000 pairs and 120,000 rows: how long it builds, and how soon a visitor sees and sorts it.

pytest tests/benchmarks/test_leaderboard_scale.py --benchmark-enable -s
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import leaderboard_scale
import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSER = ROOT / "tests" / "browser"

SORT = """async () => {
  const times = [];
  for (const key of ["retention", "student", "quality", "rank", "retention", "quality"]) {
    const start = performance.now();
    document.querySelector(`[data-sort=${key}]`).click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[3];
}"""


@pytest.mark.slow
def test_a_site_of_2000_pairs_builds_and_sorts(benchmark: object, tmp_path: Path) -> None:
    leaderboard_scale.rows(tmp_path / "results")
    command = [sys.executable, "-m", "kdbench", "leaderboard", "build", "results", "--out", "site"]

    def build() -> None:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    benchmark.pedantic(build, rounds=1)  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    sys.path.insert(0, str(BROWSER))
    from install_browser import installed
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=installed(), args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto((tmp_path / "site" / "index.html").as_uri())
        page.wait_for_selector("table.front tbody tr")
        first = page.evaluate("performance.now()")
        sort = page.evaluate(SORT)
        shown = page.locator(".count").inner_text()
        chromium.close()
    assert shown == "2000 students"
    size = sum(path.stat().st_size for path in (tmp_path / "site").rglob("*")) / 2**20
    sys.stdout.write(
        f"\n120,000 rows: site of {size:.0f} MiB, peak of the build {peak:.0f} MiB, "
        f"first view {first / 1000:.2f} s, a sort {sort:.0f} ms (median of 6)\n"
    )
