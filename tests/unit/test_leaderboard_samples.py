"""Samples in chunks, panels, and what history says."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import publish, samples_of

from kdbench.leaderboard import build, history, panels, samples
from kdbench.leaderboard.data_files import DataFiles
from kdbench.leaderboard.folders import RunFolder, find
from kdbench.results.sample import Sample
from kdbench.results.table import Row
from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels import categories, lengths, reliability
from kdbench.tasks.task import Metric


def run_of(folder: Path) -> RunFolder:
    with ExitStack() as stack:
        return find([str(folder)], stack).runs[0]


def data(site: Path, path: str) -> Any:
    text = (site / path).read_text(encoding="utf-8")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def written(tmp_path: Path, **given: Any) -> tuple[Path, dict[str, Any], str]:
    publish(tmp_path / "results", tasks=["reasoning/one"], **given)
    site = tmp_path / "site"
    boards = samples.write(DataFiles(site), run_of(tmp_path / "results"))
    board = boards["reasoning/one", "harness=made 1"]
    return site, data(site, board.index), board.index.removesuffix("index.js")


def test_chunks_hold_every_sample_in_the_teachers_order(tmp_path: Path) -> None:
    site, index, folder = written(tmp_path, n=250)
    stored = samples_of("reasoning/one", "teacher", 250, 0.9)
    docs = [data(site, f"{folder}docs-{k}.js") for k in range(3)]
    assert [id for chunk in docs for id in chunk["id"]] == [s.id for s in stored]
    assert [len(chunk["id"]) for chunk in docs] == [100, 100, 50]
    place = [model["name"] for model in index["models"]].index("poor")
    scores = data(site, f"{folder}scores-{place}.js")["acc"]
    assert scores == [s.scores["acc"] for s in samples_of("reasoning/one", "poor", 250, 0.4)]
    column = index["tags"]["category"]
    assert [column["values"][code] for code in column["codes"]] == [
        s.tags["category"] for s in stored
    ]


def test_models_in_another_order_or_with_other_documents_are_put_in_place(tmp_path: Path) -> None:
    own = samples_of("reasoning/one", "good", 150, 0.8)
    fewer = list(reversed(own[20:]))
    new = Sample("f" * 16, 999, "c999", {"acc": 1.0}, prompt="a document of its own")
    site, index, folder = written(
        tmp_path, n=150, students={"good": 0.8}, samples={("reasoning/one", "good"): [*fewer, new]}
    )
    assert index["n"] == 151
    good = index["models"][1]
    assert good["name"] == "good" and good["present"] == [0] * 20 + [1] * 131
    assert index["models"][0]["present"] == [1] * 150 + [0]
    scores = data(site, f"{folder}scores-1.js")["acc"]
    assert scores == [None] * 20 + [s.scores["acc"] for s in own[20:]] + [1.0]
    assert data(site, f"{folder}docs-1.js")["prompt"][-1] == "a document of its own"
    assert data(site, f"{folder}out-1-0.js")["output"][20] == own[20].output


def test_numbers_that_json_lacks_become_null_and_torn_text_stays_text(tmp_path: Path) -> None:
    odd = [
        Sample(
            "a" * 16, 0, "c0", {"acc": math.nan}, prompt="\ud800 torn", extra={"logprob": -math.inf}
        ),
        Sample("b" * 16, 1, "c1", {"acc": 1.0}),
    ]
    site, _, folder = written(
        tmp_path, students={"good": 0.5},
        samples={("reasoning/one", m): odd for m in ("teacher", "good")},
    )  # fmt: skip
    assert data(site, f"{folder}scores-0.js")["acc"] == [None, 1.0]
    assert data(site, f"{folder}out-0-0.js")["details"][0] == {"logprob": None}
    assert data(site, f"{folder}docs-0.js")["prompt"][0].endswith(" torn")


@pytest.mark.parametrize(
    ("aggregation", "score", "expected"),
    [
        ("mean", 1, 1.0),
        ("perplexity", -2.0, math.exp(2)),
        ("weighted_perplexity", [-3.0, 2], math.exp(1.5)),
        ("bits_per_byte", [-math.log(2) * 8, 4], 2.0),
        ("bits_per_byte", [-1.0, 0], None),
        ("perplexity", -1e6, None),
        ("f1", [1, 0], None),
        ("mean", None, None),
    ],
)
def test_one_samples_score_is_in_its_metrics_unit(
    aggregation: str, score: Any, expected: float | None
) -> None:
    found = samples.score_of_one(aggregation, score)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


# ---- panels


def given(pairs: list[tuple[Sample, Sample]], metric: str = "acc") -> PanelInput:
    metrics = [Metric(metric, "fraction", "higher", "", "mean")]
    own = [other for _, other in pairs]
    return PanelInput("reasoning/one", metrics, 0.95, lambda: iter(pairs), lambda: iter(own))


def choice(index: int, logprobs: list[float], gold: int) -> Sample:
    return Sample(
        f"{index:016x}", index, str(index), {"acc": 1.0}, extra={"logprobs": logprobs, "gold": gold}
    )


def test_categories_are_the_means_of_their_samples() -> None:
    pairs = list(zip(samples_of("t", "a", 80, 0.9), samples_of("t", "b", 80, 0.5), strict=True))
    found = categories.data(given(pairs))
    rows = {row["category"]: row for row in found["tags"][0]["rows"]}
    even = [(one.scores["acc"], other.scores["acc"]) for one, other in pairs[::2]]
    assert rows["even"]["teacher"]["value"] == pytest.approx(np.mean([a for a, _ in even]))
    assert rows["even"]["gap"]["value"] == pytest.approx(np.mean([b - a for a, b in even]))
    assert rows["even"]["lost"] == sum(a > b for a, b in even)


def test_one_category_is_no_panel() -> None:
    pairs = list(zip(samples_of("t", "a", 9, 0.9), samples_of("t", "b", 9, 0.5), strict=True))
    assert categories.data(given(pairs)) is None, "each of its two categories has too few samples"


def test_a_model_that_knows_what_it_knows_lies_on_the_diagonal() -> None:
    draws = np.random.default_rng(0)
    pairs = []
    for index in range(4000):
        p = draws.uniform(0.5, 1)
        gold = int(draws.random() > p)  # choice 0 has probability p and is right so often
        sample = choice(index, [math.log(p), math.log(1 - p)], gold)
        certain = choice(index, [0.0, -30.0], gold)
        pairs.append((sample, certain))
    found = reliability.data(given(pairs))
    assert len(found["teacher"]["bins"]) == 10
    for part in found["teacher"]["bins"]:
        assert part["accuracy"]["value"] == pytest.approx(part["confidence"], abs=0.08)
    assert abs(found["teacher"]["overconfidence"]["value"]) < 0.03
    assert found["student"]["overconfidence"]["value"] == pytest.approx(0.25, abs=0.03)


def test_the_brier_score_is_scikit_learns_for_two_choices() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(1)
    shares, gold = draws.uniform(0.05, 0.95, 200), draws.integers(0, 2, 200)
    pairs = [
        (choice(i, [math.log(p), math.log(1 - p)], int(g)),) * 2
        for i, (p, g) in enumerate(zip(shares, gold, strict=True))
    ]
    found = reliability.data(given(pairs))["teacher"]["brier"]["value"]
    assert found == pytest.approx(2 * sklearn.brier_score_loss(gold == 0, shares))


def test_scored_answers_have_no_lengths_and_generated_ones_do() -> None:
    def sample(tokens: int, finish: str | None) -> Sample:
        extra: dict[str, Any] = {"tokens": tokens} | ({"finish": finish} if finish else {})
        return Sample("a", 0, str(tokens), {"acc": 1.0}, extra=extra)

    assert lengths.data(given([(sample(1, None), sample(2, None))] * 3)) is None
    found = lengths.data(given([(sample(1, "stop"), sample(k, "length")) for k in (2, 2, 4)]))
    assert found["student"]["counts"] == [[2, 2], [4, 1]]
    assert found["teacher"]["cut"]["value"] == 0 and found["student"]["cut"]["value"] == 1


def test_a_task_that_is_not_installed_and_a_panel_that_fails_cost_only_the_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: PanelInput) -> Any:
        raise ZeroDivisionError("by nought")

    publish(tmp_path / "a" / "x", suite="x", task_name="nobody")
    publish(tmp_path / "a" / "y", suite="y")
    monkeypatch.setattr(panels, "_panels", _with_fault(panels._panels, fail))
    built = build([str(tmp_path / "a")], tmp_path / "site")
    assert built.pairs == 4
    said = "\n".join(built.notices)
    assert "no task named 'nobody'" in said
    assert "ZeroDivisionError: by nought" in said


def _with_fault(real: Any, fail: Any) -> Any:
    from dataclasses import replace

    def changed(site: DataFiles, cell: dict[str, Any]) -> Any:
        return [replace(panel, data=fail) for panel in real(site, cell)]

    return changed


# ---- history


def point(value: float, low: float, high: float, protocol: str = "p") -> Row:
    return Row(
        "s", "t", protocol, "acc", "fraction", "higher", "x", "m", "student", "x", value, low, high,
        "wilson", 9, 9, 0, "ok", "", None, "", "", "",
    )  # fmt: skip


def test_a_shift_is_an_interval_that_left_the_one_before_it() -> None:
    points = [point(0.5, 0.4, 0.6), point(0.55, 0.45, 0.65), None, point(0.8, 0.7, 0.9)]
    assert history.marks(points) == [None, None, None, "shift"]
    assert history.marks([point(0.5, 0.4, 0.6), point(0.9, 0.8, 1, "q")]) == [None, "protocol"]


def test_what_changed_between_runs_is_named(tmp_path: Path) -> None:
    publish(tmp_path / "a")
    before = run_of(tmp_path / "a")
    publish(
        tmp_path / "b", students={"good": 0.8, "third": 0.5},
        record={"packages": {"torch": "2.1"}, "kdbench": {"version": "0.2.0", "git": None}},
    )  # fmt: skip
    after = run_of(tmp_path / "b")
    assert history.changes(before, before) == []
    assert set(history.changes(before, after)) == {
        "kdbench 0.1.0 → 0.2.0", "torch 2.0 → 2.1", "third: new", "poor: gone"
    }  # fmt: skip
