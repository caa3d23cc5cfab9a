"""The sampled task: what several answers score, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from kdbench.errors import TaskError
from kdbench.models.protocols import Generated, Prompt
from kdbench.tasks.sampled import Sampled, SampledParams
from kdbench.tasks.task import Context

TASKS = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "tasks"
WORD_PROBLEMS = str(TASKS / "word_problems.yaml")


class Scripted:
    """Says what it is told, in turn, and remembers what it was asked."""

    def __init__(self, answers: Sequence[Generated]) -> None:
        self.answers = answers
        self.asked: list[Prompt] = []

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        self.asked += prompts
        return [self.answers[i % len(self.answers)] for i in range(len(prompts))]


def task(**given: object) -> Sampled:
    return Sampled(SampledParams(lm_eval=WORD_PROBLEMS, **given), TASKS)


def test_scores_follow_from_which_answers_are_right() -> None:
    asked = task(samples=4, k=[1, 2])
    (item,) = asked.items(1)
    right = str(item.payload.target).strip()
    texts = [
        (right, 10, "stop"),
        ("I give up", 50, "length"),
        (right, 20, "stop"),
        ("-7", 30, "stop"),
    ]
    model = Scripted([Generated(*one) for one in texts])
    (sample,) = asked.measure(model, [item], Context(0))
    assert sample.scores["avg@4"] == 0.5 and sample.scores["pass@1"] == 0.5
    assert sample.scores["pass@2"] == pytest.approx(1 - 1 / 6)
    assert sample.scores["maj@4"] == 1
    assert sample.scores["tokens"] == 27.5 and sample.scores["tokens_right"] == [30, 2]
    assert sample.scores["extraction_rate"] == 0.75 and sample.scores["truncation_rate"] == 0.25
    assert sample.extra["right"] == [1, 0, 1, 0]


def test_every_answer_has_a_seed_of_its_own_that_its_company_does_not_change() -> None:
    asked = task(samples=3)
    items = asked.items(4)
    together, alone = Scripted([Generated("1", 1, "stop")]), Scripted([Generated("1", 1, "stop")])
    asked.measure(together, items, Context(7))
    asked.measure(alone, items[2:3], Context(7))
    seeds = [prompt.seed for prompt in together.asked]
    assert len(set(seeds)) == len(seeds) == 12
    assert [prompt.seed for prompt in alone.asked] == seeds[6:9]
    assert {(p.temperature, p.top_p) for p in together.asked} == {(0.6, 0.95)}


def test_an_answer_as_text_is_right_only_word_for_word() -> None:
    asked = task(samples=1, answer="text")
    (item,) = asked.items(1)
    right = str(item.payload.target).strip()
    for text, expected in ((f" {right}\n", 1.0), (f"{right}.0", 0.0)):
        (sample,) = asked.measure(Scripted([Generated(text, 1, "stop")]), [item], Context(0))
        assert sample.scores["pass@1"] == expected


@pytest.mark.parametrize("given", [{"k": [9]}, {"k": [0]}, {"temperature": 0.0}, {"samples": 0}])
def test_settings_that_contradict_each_other_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SampledParams(lm_eval="gsm8k", **{"samples": 8, **given})


def test_a_task_that_scores_texts_is_refused() -> None:
    asked = Sampled(SampledParams(lm_eval=str(TASKS / "reading.yaml")), TASKS)
    with pytest.raises(TaskError, match="sampled ones are generated"):
        asked.verbs()


def test_sampling_is_part_of_the_protocol() -> None:
    one, other = task().protocol(), task(temperature=1.0).protocol()
    assert one != other and one["samples"] == "8"
