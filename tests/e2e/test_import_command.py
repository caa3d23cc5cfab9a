"""`kdbench import`: from another tool's files to the table and the leaderboard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import publish

from kdbench.cli import main
from kdbench.results.table import read_csv

Call = Callable[..., tuple[int, str, str]]
PAIR = ("--teacher", "target", "--student", "heads", "--method", "Medusa", "--prompts", "made")


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run the command line in `tmp_path`, in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return run


def answers(path: Path, slower: float = 1.0) -> Path:
    """An answer file of Spec-Bench: 12 questions of two categories, two turns each."""
    lines = []
    for number in range(12):
        lengths = [[1 + (number + step) % 4 for step in range(6 + turn)] for turn in (0, 1)]
        choice = {
            "index": 0, "turns": ["one", "two"], "decoding_steps": [6, 7],
            "new_tokens": [sum(own) for own in lengths],
            "wall_time": [slower * (0.5 + number / 20), slower * 0.7],
            "accept_lengths": lengths[0] + lengths[1],
        }  # fmt: skip
        lines.append({
            "question_id": number, "category": ("qa", "rag")[number % 2], "answer_id": "x",
            "model_id": "m", "choices": [choice], "tstamp": 1700000000.0 + number,
        })  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def site_data(site: Path, path: str) -> Any:
    text = (site / path).read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def test_repeated_runs_become_rows_a_table_and_a_site(call: Call, tmp_path: Path) -> None:
    runs = [answers(tmp_path / f"run_{n}.jsonl", 1 + n / 100) for n in (1, 2, 3)]
    options = ("--gamma", 3, "--hardware", "Abacus x2", "--conditions", "greedy, fp16, batch 1")
    code, out, err = call("import", *runs, *PAIR, *options)
    assert (code, err) == (0, "") and "measured by Spec-Bench" in out
    folder = tmp_path / "results" / "imported-heads"
    rows = {row.metric: row for row in read_csv(folder / "metrics.csv")}
    tau = rows["tau@3"]
    lengths = [1 + (q + step) % 4 for q in range(12) for turn in (6, 7) for step in range(turn)]
    assert tau.value == pytest.approx(sum(lengths) / len(lengths), rel=1e-9)
    assert (tau.n, tau.n_clusters, tau.status, tau.role) == (36, 12, "ok", "pair")
    assert (tau.hardware, tau.created) == ("Abacus x2", "2023-11-14T22:13:31+00:00")
    assert tau.ci_method == "fieller (clustered)" and tau.ci_low < tau.value < tau.ci_high
    for part in (
        "measured by=Spec-Bench",
        "tau=with bonus token",
        "conditions=greedy, fp16, batch 1",
    ):
        assert part in tau.protocol.split("; ")
    categories = {
        f"{name}@3[category={c}]" for name in ("tau", "acceptance") for c in ("qa", "rag")
    }
    assert {*categories, "acceptance@3", "conditional_acceptance_at_3@3"} <= set(rows)
    assert rows["tau@3[category=qa]"].n_clusters == 6

    before = (folder / "metrics.csv").read_bytes()
    (folder / "metrics.csv").unlink()
    code, out, _ = call("table", folder, "--rebuild", "--metric", "tau@3", "--format", "csv")
    assert code == 0 and out.count("\n") == 2 and "Abacus" in out
    assert (folder / "metrics.csv").read_bytes() == before

    code, out, err = call("leaderboard", "build", "results", "--out", "site")
    assert (code, err) == (0, "") and out.startswith("site/index.html: 1 pairs, ")
    assert {row.metric for row in read_csv(tmp_path / "site" / "metrics.csv")} == set(rows)
    (pair,) = (tmp_path / "site" / "data" / "pairs").iterdir()
    page = site_data(tmp_path / "site", f"data/pairs/{pair.name}")
    shown = {entry["metric"]: entry["pair"]["value"] for entry in page["own"]}
    assert (page["teacher"], page["method"]) == ("target", "Medusa") and shown["tau@3"] == tau.value
    (panel,) = page["panels"]
    drawn = site_data(tmp_path / "site", panel["data"])
    assert (panel["panel"], drawn["gammas"], len(drawn["categories"])) == ("acceptance", [3], 2)
    assert drawn["drafts"][0]["tau"][0]["value"] == pytest.approx(tau.value)


def test_a_tree_fills_the_front_page_and_an_import_replaces_an_import(
    call: Call, tmp_path: Path
) -> None:
    path = answers(tmp_path / "run.jsonl")
    for _ in range(2):
        code, out, _ = call("import", path, *PAIR, "--out", "made", "--json")
        told = json.loads(out)
        assert code == 0 and told["folder"] == "made" and told["tool"] == "Spec-Bench"
        assert {row["status"] for row in told["rows"]} == {"ok"}
        assert len(list((tmp_path / "made" / "samples").iterdir())) == 1
    (tau,) = (row["value"] for row in told["rows"] if row["metric"] == "tau")
    call("leaderboard", "build", "made", "--out", "site")
    front = site_data(tmp_path / "site", "data/front.js")["columns"]
    assert front["block_efficiency"]["value"] == [tau]
    assert front["family"]["values"] == ["speculative.imported"], (
        "never among what kdbench measured"
    )


def test_an_import_beside_a_measured_run_leaves_the_run_as_it_is(
    call: Call, tmp_path: Path
) -> None:
    publish(tmp_path / "results" / "made")
    measured = (tmp_path / "results" / "made" / "metrics.csv").read_bytes()
    path = answers(tmp_path / "run.jsonl")
    code, _, err = call("import", path, *PAIR, "--out", "results/made")
    assert code == 3 and "holds results of another kind; choose another folder with --out" in err
    assert (tmp_path / "results" / "made" / "metrics.csv").read_bytes() == measured
    assert call("import", path, *PAIR)[0] == 0
    code, out, _ = call("leaderboard", "build", "results", "--out", "site")
    assert code == 0 and ": 3 pairs, " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompts", "a; b"), "--prompts 'a; b': no semicolons"),
        (("--name", "a;b"), "--name 'a;b': no semicolons"),
        (("--student", "target"), "--teacher and --student are both 'target'"),
        (("--format", "medusae"), "no format named 'medusae' (did you mean 'medusa'?)"),
        (("--bonus", "maybe"), "--bonus 'maybe': choose in, out"),
        (("--gamma", "2"), "a pass accepted 3 drafts, more than --gamma 2"),
        (("--questions", "none.jsonl"), "none.jsonl: no such file"),
        (("cut.jsonl",), "cut.jsonl:1: not JSON"),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    call: Call, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    path = answers(tmp_path / "run.jsonl")
    (tmp_path / "cut.jsonl").write_text(path.read_text()[:70])
    code, out, err = call("import", path, *PAIR, *options)
    assert (code, out) == (3, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_help_shows_examples_and_every_format(call: Call) -> None:
    _, out, _ = call("import", "--help")
    text = " ".join(out.split())
    assert "Examples: kdbench import run_1.jsonl" in text
    assert "spec-bench, eagle, medusa, llama.cpp, vllm, vllm- counters" in text
