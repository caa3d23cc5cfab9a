"""lighteval's own metric cases, where kdbench computes the same number.

Left out are metrics that kdbench does not have, and the cases of bits_per_byte, byte_perplexity and
(target_, prediction_)perplexity: their expected values do not follow from their log-probabilities by any
formula (all are 1.0, for logarithms above 0), lighteval's included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kdbench.metrics.sampling import majority, pass_at_k
from kdbench.models.protocols import Continuation, Scored
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.reasoning import Reasoning, ReasoningParams
from kdbench.tasks.sampled import _reader
from kdbench.tasks.task import Context

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("KDBENCH_SHARED_DATA") or ROOT.parent / "shared" / "data")


def cases(name: str) -> list[dict]:
    path = SHARED / "lighteval_metric_cases" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {SHARED}; set KDBENCH_SHARED_DATA to where it is")
    found = json.loads(path.read_text(encoding="utf-8"))["test_cases"]
    assert found
    return found


def gold(doc: dict) -> str:
    """The right answer; of several the first, which is the one that lighteval compares with."""
    index = doc["gold_index"]
    return doc["choices"][index[0] if isinstance(index, list) else index]


@pytest.mark.parametrize("name", ["pass_at_k", "avg_at_k", "maj_at_k", "exact_match"])
def test_answers_as_text_score_as_in_lighteval(name):
    for case in cases(name):
        read, same, right = _reader("text", gold(case["doc"]))
        params = case["metric_params"]
        k = params.get("k", 1)
        texts = case["model_response"]["text"][: params.get("n", k)]
        answers = [read(text) for text in texts]
        count = sum(one is not None and same(right, one) for one in answers)
        voted = majority(answers, same)
        if name == "pass_at_k":
            ours = pass_at_k(len(texts), count, k)
        elif name == "maj_at_k":
            ours = float(voted is not None and same(right, voted))
        else:
            ours = count / len(texts)
        (expected,) = case["expected_output"].values()
        assert ours == pytest.approx(expected, abs=case["tolerance"]), case["name"]


def test_word_perplexity_of_a_corpus_is_lightevals():
    """Its words are those of the query, which is the text that such a task of lighteval scores."""
    for case in cases("word_perplexity"):
        pairs = [
            [sum(response["logprobs"]), len(doc["query"].split())]
            for doc, response in zip(case["docs"], case["model_responses"], strict=True)
        ]
        found = aggregate("weighted_perplexity", pairs, [str(i) for i in range(len(pairs))], 0.95)
        assert found.value == pytest.approx(case["expected_output"], abs=case["tolerance"])


class Told:
    """Scores continuations in the order in which it is told to."""

    def __init__(self, logprobs: Iterator[float]) -> None:
        self.logprobs = logprobs

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        return [Scored(next(self.logprobs), False, 1) for _ in requests]


TASK = """
task: cases
dataset_path: json
dataset_kwargs: {data_files: {test: cases.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


def test_accuracy_by_likelihood_is_lightevals(tmp_path):
    chosen = [
        case for case in cases("loglikelihood_acc") if isinstance(case["doc"]["gold_index"], int)
    ]
    assert len(chosen) >= 10
    docs = [
        {**case["doc"], "gold": case["doc"]["gold_index"], "row": i}
        for i, case in enumerate(chosen)
    ]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (tmp_path / "cases.yaml").write_text(TASK)
    task = Reasoning(ReasoningParams(lm_eval="cases.yaml"), tmp_path)
    told = Told(iter([p for case in chosen for p in case["model_response"]["logprobs"]]))
    samples = task.measure(told, task.items(None), Context(0))
    ours = [sample.scores["acc"] for sample in samples]
    assert ours == [case["expected_output"]["acc"] for case in chosen]
