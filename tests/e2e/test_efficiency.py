"""Efficiency through the command line, with the models that ship."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdbench.results.table import read_csv

# tied embeddings of 950 x 128, three layers of attention, gated feed-forward and two norms, a last norm
PARAMETERS = 950 * 128 + 3 * (4 * 128 * 128 + 3 * 128 * 352 + 2 * 128) + 128
ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "suites" / "quickstart" / "models"
SUITE = f"""
name: fast
models: {{teacher: {MODELS / "teacher"}, kl: {MODELS / "forward-kl"}}}
pairs: [{{teacher: teacher, student: kl, method: KL}}]
tasks:
  - task: efficiency.text
    batch: [1, 4]
    prompt_tokens: [32, 600]
    new_tokens: [8]
    rounds: 16
    min_seconds: 0.4
    threads: 1
  - {{task: efficiency.footprint, prompt_tokens: 32, new_tokens: 4, loads: 1}}
settings: {{device: cpu, dtype: float32}}
gates:
  - speedup on efficiency/text/b4-p32-n8 >= 0.2
  - parameters.ratio on efficiency/footprint/* <= 0.7
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Any:
    """A finished run, in its folder, with what it said."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("fast")
    (folder / "fast.yaml").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "run", "fast.yaml"], cwd=folder, check=False,
        env={**environment, "KDBENCH_CACHE": str(folder / "cache")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_a_run_times_a_grid_and_says_beforehand_how_long_it_takes(measured: Any) -> None:
    folder, said = measured
    rows = read_csv(folder / "results" / "fast" / "metrics.csv")
    speedups = {row.task: row for row in rows if row.metric == "speedup"}
    timed = speedups["efficiency/text/b1-p32-n8"]
    assert timed.ci_low is not None and timed.ci_low <= timed.value <= timed.ci_high  # type: ignore[operator]
    assert timed.n == 16
    assert "loaded_dtype=float32" in timed.protocol and "threads=1" in timed.protocol
    too_long = speedups["efficiency/text/b1-p600-n8"]
    assert too_long.status == "skipped"
    assert "teacher: 600 tokens of prompt and 8 new ones do not fit" in too_long.reason
    assert re.search(
        r"^timings: 2, about [0-9.]+ s besides loading; trying them took [0-9.]+ s; how long ",
        said,
        re.M,
    )
    assert said.index("timings: 2, about") < said.index("samples in")


@pytest.mark.slow
def test_the_prediction_is_within_25_percent_of_what_the_timings_took(measured: Any) -> None:
    folder, said = measured
    predicted = float(re.search(r"timings: 2, about ([0-9.]+) s", said)[1])  # type: ignore[index]
    record = json.loads((folder / "results" / "fast" / "run.json").read_text())
    own = [cell for cell in record["cells"] if cell["label"].startswith("efficiency/text")]
    took = sum(cell["seconds"]["measure"] for cell in own)
    samples = (folder / "results" / "cells").glob("*/samples.jsonl")
    noisy = any('"busy machine' in path.read_text() for path in samples)
    bound = 1.0 if noisy else 0.25  # nobody foretells what a neighbour will do
    assert abs(took - predicted) / took <= bound


@pytest.mark.slow
def test_a_footprint_counts_and_measures_in_a_process_of_its_own(measured: Any) -> None:
    folder, _ = measured
    rows = {
        (row.metric, row.model): row
        for row in read_csv(folder / "results" / "fast" / "metrics.csv")
        if row.task.startswith("efficiency/footprint")
    }
    teacher = rows["parameters", "teacher"]
    assert teacher.value == teacher.ci_low == teacher.ci_high == PARAMETERS
    assert (
        rows["disk_bytes", "teacher"].value == (MODELS / "teacher/model.safetensors").stat().st_size
    )
    ratio = rows["parameters.ratio", "kl"].value
    assert ratio == pytest.approx(rows["parameters", "kl"].value / PARAMETERS)  # type: ignore[operator]
    assert rows["peak_memory", "teacher"].value > 50 * 2**20  # type: ignore[operator]
    assert not [name for name, _ in rows if name.startswith("load_time.")]


@pytest.mark.slow
def test_gates_speak_of_the_interleaved_ratio(measured: Any, kdbench: Any, tmp_path: Path) -> None:
    folder, _ = measured
    results = folder / "results"
    done = kdbench("check", folder / "fast.yaml", "--results", results, code=None)
    assert "speedup on efficiency/text/b4-p32-n8" in done.stdout
    assert done.returncode in (0, 2) and "MISSING" not in done.stdout
    unpaired = SUITE.replace(
        "speedup on efficiency/text/b4-p32-n8 >=", "retention of load_time on efficiency/* >="
    )
    (tmp_path / "fast.yaml").write_text(unpaired)
    done = kdbench("check", "fast.yaml", "--results", results, code=1)
    assert "not timed in the same rounds, so it has no retention" in done.stdout


@pytest.mark.slow
def test_timings_of_another_machine_are_left_out_by_name(
    measured: Any, kdbench: Any, tmp_path: Path
) -> None:
    folder, _ = measured
    shutil.copytree(folder / "results" / "fast", tmp_path / "before")
    record = json.loads((tmp_path / "before" / "run.json").read_text())
    for cell in record["cells"]:
        cell["hardware"] = cell["ingredients"]["hardware"] = "Abacus x2"
    (tmp_path / "before" / "run.json").write_text(json.dumps(record))
    done = kdbench("compare", "before", folder / "results" / "fast", code=3)
    assert "timings of two runs are not paired" in done.stderr
    assert "before: Abacus x2" in done.stderr
    assert "efficiency/footprint/b1-p32-n4" in done.stderr


@pytest.mark.slow
def test_a_budget_takes_the_most_telling_shapes_and_a_later_run_the_rest(
    measured: Any, kdbench: Any, tmp_path: Path
) -> None:
    suite = SUITE.partition("  - {task: efficiency.footprint")[0]
    suite = suite.replace("[32, 600]", "[32]") + "settings: {device: cpu, dtype: float32}\n"
    (tmp_path / "fast.yaml").write_text(suite)
    cache = str(measured[0] / "cache")
    done = kdbench("run", "fast.yaml", "--budget", "1ms", code=3)
    assert "write a duration like 90s, 10m or 2h" in done.stderr
    done = kdbench("run", "fast.yaml", "--budget", "0.01s", KDBENCH_CACHE=cache)
    assert "0, about 0.0 s besides loading; 2 left out by the budget" in done.stdout
    rows = read_csv(tmp_path / "results" / "fast" / "metrics.csv")
    assert {row.status for row in rows} == {"skipped"}
    assert "left out by --budget" in rows[0].reason
    kdbench("run", "fast.yaml", KDBENCH_CACHE=cache)
    rows = read_csv(tmp_path / "results" / "fast" / "metrics.csv")
    assert {row.status for row in rows if row.metric == "speedup"} == {"ok"}
    again = kdbench("run", "fast.yaml", KDBENCH_CACHE=cache)
    assert "nothing to do" in again.stdout


@pytest.mark.slow
def test_the_first_page_shows_speed_and_memory_and_ranks_nobody_by_them(
    measured: Any, tmp_path: Path
) -> None:
    from kdbench.leaderboard import build

    folder, _ = measured
    build([str(folder / "results")], tmp_path / "site")
    text = (tmp_path / "site" / "data" / "front.js").read_text()
    front = json.loads(text[text.index(",") + 1 : text.rindex(")")])["columns"]
    assert front["family"]["values"] == ["efficiency"]
    assert front["quality"]["value"] == [None] and front["rank_low"] == [None]
    assert front["speedup"]["low"][0] <= front["speedup"]["value"][0]
    assert front["memory"][0] > 50 * 2**20 and front["parameters"][0] > 0
    panels = sorted(path.name for path in (tmp_path / "site" / "panels").glob("*.js"))
    assert panels == ["latency-grid.js", "memory.js", "roofline.js"]
    drawn = [path.read_text() for path in (tmp_path / "site" / "data" / "panels").glob("*.js")]
    assert any('"ceilings"' in one for one in drawn) and any('"shapes"' in one for one in drawn)
