"""The shipped students as drafts of the shipped teacher, through the command line to the site."""

from __future__ import annotations

import json
from pathlib import Path

from suites import rows, value

QUICKSTART = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
SUITE = """\
name: drafts
models:
  teacher: {folder}/models/teacher
  scratch: {folder}/models/scratch
  forward-kl: {folder}/models/forward-kl
  lookup: {{adapter: prompt_lookup}}
pairs:
  - teacher: teacher
    students: {{{students}}}
    baseline: scratch
tasks:
  - task: speculative.replay
    lm_eval: {folder}/tasks/openings.yaml
    category: category
    max_new_tokens: 64
    gamma: [1, 3]
  - task: speculative.loop
    lm_eval: {folder}/tasks/openings.yaml
    temperature: [0]
    max_new_tokens: 64
    gamma: [3]
    rounds: 1
    limit: 2
settings: {{seed: 0, dtype: float32, device: cpu, limit: 24}}
"""


def write(folder: Path, students: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(folder=QUICKSTART, students=students), encoding="utf-8")
    return path


def test_drafts_are_measured_on_one_text_and_end_as_panels_of_the_site(kdbench, tmp_path):
    suite = write(tmp_path, "scratch: cross-entropy, lookup: prompt lookup")
    kdbench("run", suite)
    logs = {
        path.parent: path.read_bytes() for path in (tmp_path / "results").glob("cells/*/*.jsonl")
    }
    # a draft that comes later is judged on the text that is there
    write(tmp_path, "scratch: cross-entropy, lookup: prompt lookup, forward-kl: forward KL")
    shown = kdbench("run", suite).stdout
    assert "tau@3" in shown and "category=" not in shown
    assert all((folder / "samples.jsonl").read_bytes() == log for folder, log in logs.items())

    table = tmp_path / "results" / "drafts" / "metrics.csv"
    found = rows(table)
    assert {row["status"] for row in found} == {"ok", "skipped"}
    for drawn in ("greedy", "temperature1"):
        where = {"task": f"speculative.replay/quickstart_openings/{drawn}"}
        tau = {
            name: float(value(found, "tau@3", pair=name, **where)["value"])
            for name in ("scratch", "forward-kl", "lookup")
        }
        assert 1 <= tau["lookup"] < tau["scratch"] < tau["forward-kl"] < 4
        gain = value(found, "tau@3.gain_over_baseline", pair="forward-kl", **where)
        assert abs(float(gain["value"]) - (tau["forward-kl"] - tau["scratch"])) < 1e-9
        assert float(gain["ci_low"]) < float(gain["value"]) < float(gain["ci_high"])
        told = [row for row in found if row["metric"].startswith("tau@3[category=")]
        own = [row for row in told if row["pair"] == "forward-kl" and row["task"] == where["task"]]
        assert len(own) >= 2 and sum(int(row["n"]) for row in own) == 24
    loop = {"task": "speculative.loop/quickstart_openings/greedy", "pair": "forward-kl"}
    assert float(value(found, "conformance@3", **loop)["value"]) == 0
    assert float(value(found, "lossless@3", **loop)["value"]) == 1
    assert float(value(found, "speedup@3", **loop)["value"]) > 0

    # the table follows from the samples alone, without torch
    before = table.read_text()
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    kdbench(
        "table", "results/drafts", "--rebuild", PYTHONPATH=f"{tmp_path}:{QUICKSTART.parents[1]}"
    )
    assert table.read_text() == before
    (tmp_path / "torch.py").unlink()
    name = own[0]["metric"]
    listed = kdbench("table", "results/drafts", "--metric", name, "--format", "csv").stdout
    assert listed.count(name) == sum(row["metric"] == name for row in found) > 1

    kdbench("leaderboard", "build", "results", "--out", "site")
    panels = {}
    for path in (tmp_path / "site" / "data" / "panels").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        data = json.loads(text[text.index("{", text.index("(")) : text.rindex("}") + 1])
        panels[path.name] = data
    drafts = [data for data in panels.values() if "drafts" in data]
    assert {len(data["drafts"]) for data in drafts} == {3}
    assert all(len(data["categories"]) >= 2 for data in drafts)
    speed = [data for data in panels.values() if "rows" in data and "best" in data]
    assert len(speed) == 3 and all(data["rows"][0]["predicted_speedup"] for data in speed)
