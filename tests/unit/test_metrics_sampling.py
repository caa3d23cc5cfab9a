"""pass@k against every subset, votes against counting."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.metrics.sampling import majority, pass_at_k
from kdbench.tasks.math_answers import found_in, right_answer, same

SHARED = os.environ.get("KDBENCH_SHARED_DATA")
DATA = Path(SHARED) if SHARED else Path(__file__).resolve().parents[3] / "shared" / "data"


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n, data):
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    answers = [True] * right + [False] * (n - right)
    subsets = list(combinations(answers, k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "right", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (2, -1, 1)])
def test_what_cannot_be_told_is_refused(n, right, k):
    with pytest.raises(ValueError, match="can't be told"):
        pass_at_k(n, right, k)


def test_the_vote_goes_to_the_largest_group_and_of_equals_to_the_first():
    def equal(one: str, other: str) -> bool:
        return one.lower() == other.lower()

    assert majority(["a", "B", "b", None, "c"], equal) == "B"
    assert majority(["x", "y"], equal) == "x"
    assert majority([None, None], equal) is None


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("18", "So she makes $18 every day."),
        ("#### 1,000", "The total is 1000.\n#### 1000"),
        ("\\frac{1}{2}", "<think>maybe 3?</think>The answer is $\\boxed{0.5}$."),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "$\\boxed{(3, \\pi/2)}$"),
        ("204", "Thus $\\boxed{204}$"),
    ],
)
def test_answers_are_compared_by_what_they_mean(target, text):
    assert same(right_answer(target), found_in(text))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("18", "The answer is 81."),
        ("\\frac{1}{2}", "$\\boxed{2}$"),
        ("7", "<think>7</think> It is 8"),
    ],
)
def test_other_answers_are_wrong(target, text):
    assert not same(right_answer(target), found_in(text))


def test_a_text_without_an_answer_has_none():
    assert found_in("I do not know, sorry") is None


def _lines(name: str) -> list[dict]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not here; it comes from the hub")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_solutions_of_gsm8k_are_judged_as_their_authors_did():
    judged = agreed = 0
    for problem in _lines("gsm8k/example_model_solutions.jsonl"):
        gold = right_answer(problem["ground_truth"].rpartition("A:")[2].replace(",", "").strip())
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            answer = problem[model]["solution"].rpartition("A:")[2].replace(",", "")
            judged += 1
            agreed += same(gold, found_in(answer)) == problem[model]["is_correct"]
    assert judged == 4 * 1319
    assert agreed / judged > 0.995


def test_every_answer_of_math_500_equals_itself_in_a_box():
    problems = _lines("math500/test.jsonl")
    missed = [
        problem["answer"]
        for problem in problems
        if not same(right_answer(problem["answer"]), found_in(f"$\\boxed{{{problem['answer']}}}$"))
    ]
    assert len(missed) <= 0.01 * len(problems), missed


@pytest.mark.parametrize("name", ["pass_at_k_math", "avg_at_k_math"])
def test_the_cases_of_lighteval_come_out_as_there(name):
    path = DATA / "lighteval_metric_cases" / f"{name}.json"
    if not path.is_file():
        pytest.skip("lighteval's metric cases are not here")
    for case in json.loads(path.read_text())["test_cases"]:
        gold = right_answer(case["doc"]["choices"][case["doc"]["gold_index"]])
        k = case["metric_params"]["k"]
        n = case["metric_params"].get("n", k)
        read = [found_in(text) for text in case["model_response"]["text"][:n]]
        right = sum(one is not None and same(gold, one) for one in read)
        ours = pass_at_k(n, right, k) if name.startswith("pass") else right / n
        (expected,) = case["expected_output"].values()
        assert ours == pytest.approx(expected, abs=case["tolerance"]), case["name"]
