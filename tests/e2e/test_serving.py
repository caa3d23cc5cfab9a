"""Endpoints under load through the command line: two servers with scripts, and two of llama.cpp's."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from llama_cpp import MISSING, llama_server
from serving_server import ScriptedServer, serving

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.openai_api import OpenAIAdapter, OpenAIParams
from kdbench.results.sample import Sample
from kdbench.results.table import read_csv
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.efficiency.serving import EfficiencyServing, ServingParams
from kdbench.tasks.task import Context

SUITE = """
name: served
models:
  teacher: {{adapter: openai, base_url: {teacher}, model: m{more}}}
  student: {{adapter: openai, base_url: {student}, model: m{more}}}
pairs: [{{teacher: teacher, student: student, method: KL}}]
tasks:
  - task: efficiency.serving
    concurrency: [2]
    rate: [20]
    prompt_tokens: 12
    new_tokens: 4
    requests: 4
    rounds: 6
    max_ttft: 2.0
gates:
  - speedup on efficiency/serving/c2-* >= 0.01
"""


def suite(folder: Path, teacher: str, student: str, more: str = "") -> None:
    text = SUITE.format(teacher=teacher, student=student, more=more)
    (folder / "served.yaml").write_text(text)


def rows(folder: Path, task: str) -> dict[str, Any]:
    found = read_csv(folder / "results" / "served" / "metrics.csv")
    return {row.metric: row for row in found if row.task == task}


@pytest.mark.slow
def test_two_endpoints_are_measured_gated_and_drawn(kdbench: Any, tmp_path: Path) -> None:
    from kdbench.leaderboard import build

    with serving(ScriptedServer(0.06, 0.02)) as slow, serving(ScriptedServer(0.03, 0.01)) as fast:
        suite(tmp_path, slow.url, fast.url, ", hardware: Abacus")
        done = kdbench("run", "served.yaml")
    assert "timings: 2, about" in done.stdout
    closed = rows(tmp_path, "efficiency/serving/c2-p12-n4")
    assert closed["speedup"].status == "ok" and closed["speedup"].n == 6
    assert closed["speedup"].hardware == "Abacus"
    assert closed["ttft.teacher"].value >= 0.058 and closed["ttft.student"].value >= 0.028
    assert "load=closed, 2 clients" in closed["ttft.teacher"].protocol
    opened = rows(tmp_path, "efficiency/serving/r20-p12-n4")
    assert "latency=from when a request is due" in opened["ttft.teacher"].protocol
    assert opened["goodput.student"].value > 0
    done = kdbench("check", "served.yaml", code=None)
    assert "MISSING" not in done.stdout and done.returncode in (0, 2)
    build([str(tmp_path / "results")], tmp_path / "site")
    drawn = [path.read_text() for path in (tmp_path / "site" / "data" / "panels").glob("*.js")]
    assert any('"open, 20/s"' in one and '"closed, 2 clients"' in one for one in drawn)


def writes_text(folder: Path) -> Path:
    """The model in `folder` without a wish for anything but letters: random weights may write nothing but
    halves of characters, which no server sends as text."""
    import json

    from safetensors.torch import load_file, save_file

    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    silent = [place for word, place in words.items() if not (word.isascii() and word.isalpha())]
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][silent] = 0  # some letter's score is above
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.skipif(find_spec("xllamacpp") is None, reason=MISSING)
def test_llama_cpps_server_streams_counts_and_ignores_an_end_of_text(tmp_path: Path) -> None:
    def measured(prompt_tokens: int) -> list[Sample]:
        given = {"concurrency": [2], "new_tokens": 4, "requests": 2, "rounds": 6}
        params = ServingParams.model_validate(given | {"prompt_tokens": prompt_tokens})
        own = EfficiencyServing(params, tmp_path)
        named = OpenAIParams(base_url=f"{url}/v1", model="any")
        models = [OpenAIAdapter(named, tmp_path, LoadSettings()).load() for _ in range(2)]
        return own.measure(models[0], models[1], own.items(None), Context(0))

    file = tiny_models.save_gguf(
        writes_text(tiny_models.save_model(tmp_path / "m")), tmp_path / "tiny.gguf"
    )
    with llama_server(file, 96, threads=1) as url:
        samples = measured(12)
        with pytest.raises(ModelError, match=r"teacher: .*HTTP 400.*about 500 tokens of prompt"):
            measured(500)
    told = [each for sample in samples for each in sample.extra["endpoints"].values()]
    assert not [kind for each in told for kind in each["failures"]]
    for sample in samples:
        assert sample.scores["early_stops.teacher"][0] == 0
        assert sample.extra["endpoints"]["teacher"]["tokens_by"] == ["usage"]
        assert 0 < sample.scores["ttft.teacher"] < sample.scores["latency.teacher"]
    lengths = [sample.scores["prompt_tokens.teacher"] for sample in samples]
    assert abs(sum(lengths) / len(lengths) - 12) <= 4  # its words cost one token to seven
    # a server beside itself: neither is faster
    speedup = aggregate("median_ratio", [sample.scores["speedup"] for sample in samples])
    assert speedup.low <= 1.2 and speedup.high >= 1 / 1.2
