"""Medusa's own answer files: tokens, passes and speeds as read from them by its authors' convention."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kdbench.results.imports import read
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.speculative.imported import metrics_of, samples_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("KDBENCH_SHARED_DATA") or ROOT.parent / "shared" / "data")
MODELS = ("vicuna-7b-v1.3", "vicuna-13b-v1.3", "vicuna-33b-v1.3")


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {SHARED}; set KDBENCH_SHARED_DATA to where it is")
    return path


def golden() -> dict[str, dict[str, Any]]:
    text = shared("golden/golden_values.json").read_text(encoding="utf-8")
    return json.loads(text)["medusa_acceptance"]


@pytest.mark.parametrize("model", MODELS)
def test_every_answer_file_gives_its_tokens_passes_and_speeds(model):
    expected = {name: one for name, one in golden().items() if model in name}
    assert len(expected) == 3
    for name, one in expected.items():
        found = read([shared(f"medusa_answers/{name}")], failed="keep")
        assert found.tool == "Medusa" and found.gamma is None
        (answers,) = found.files
        assert len(answers) == 80
        assert sum(answer.tokens for answer in answers) == one["new_tokens"]
        assert sum(answer.passes for answer in answers) == one["steps"]
        samples = samples_of(found, "mt_bench")
        kinds = {metric.name: metric.aggregation for metric in metrics_of(found, samples)}
        for metric, value in (
            ("tau", one["tokens_per_step"]),
            ("tokens_per_second", one["tokens_per_second"]),
        ):
            scores = [sample.scores[metric] for sample in samples]
            estimate = aggregate(kinds[metric], scores, [s.cluster for s in samples])
            assert estimate.value == pytest.approx(value, rel=1e-12)
            assert estimate.low < value < estimate.high and estimate.n_clusters == 80


def test_only_a_turn_that_failed_stands_between_our_numbers_and_the_authors():
    for name, one in golden().items():
        found = read([shared(f"medusa_answers/{name}")])
        (answers,) = found.files
        tokens, passes = (sum(getattr(a, of) for a in answers) for of in ("tokens", "passes"))
        # the 13B model ran out of room on the second turn of question 154: its counts, to the last digit
        # of the seconds, are those of the first turn
        stale = (1015, 380) if "13b" in name else (0, 0)
        assert (one["new_tokens"] - tokens, one["steps"] - passes) == stale
        assert bool(found.notices) == ("13b" in name)


def test_greedy_repetitions_add_nothing_to_what_is_known_of_tau():
    names = [name for name in golden() if "7b" in name]
    once = samples_of(read([shared(f"medusa_answers/{names[0]}")]), "mt_bench")
    thrice = samples_of(read([shared(f"medusa_answers/{name}") for name in names]), "mt_bench")
    assert len({sample.id for sample in thrice}) == 3 * len(once)
    one, three = (
        aggregate("weighted_mean", [s.scores["tau"] for s in own], [s.cluster for s in own])
        for own in (once, thrice)
    )
    assert (three.n, three.n_clusters) == (240, 80)
    assert (one.value, one.low, one.high) == pytest.approx((three.value, three.low, three.high))


def test_the_mean_of_runs_is_that_of_the_answers_own_speeds():
    paths = [shared(f"medusa_answers/{name}") for name in golden() if "13b" in name]
    by_hand = []
    for path in paths:
        own = []
        for line in path.read_text(encoding="utf-8").splitlines():
            choice = json.loads(line)["choices"][0]
            own.append(sum(choice["new_tokens"]) / sum(choice["wall_time"]))
        by_hand.append(sum(own) / len(own))
    samples = samples_of(read(paths), "mt_bench")
    scores = [sample.scores["tokens_per_second_of_prompts"] for sample in samples]
    assert aggregate("mean", scores).value == pytest.approx(sum(by_hand) / 3, rel=1e-12)


def test_questions_give_answers_their_categories():
    (name, *_) = golden()
    questions = shared("mt_bench/mt_bench_question.jsonl")
    found = read([shared(f"medusa_answers/{name}")], questions=questions)
    samples = samples_of(found, "mt_bench")
    assert {metric.name for metric in metrics_of(found, samples) if metric.by == "category"} == {
        "tau", "tokens_per_second",
    }  # fmt: skip
    counts = Counter(sample.tags["category"] for sample in samples if "tau" in sample.scores)
    assert len(counts) == 8 and set(counts.values()) == {10}
    assert samples[0].prompt.startswith('["Compose an engaging travel blog post')
