"""Generated text beside lm-eval's HFLM at its best batch size: same model, same prompts, same texts.

Prints the ratio of times, and how many of the tokens that go through each model are thrown away:
padding, and steps of rows that had ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published
import pytest
from test_scoring_against_hflm import STORY, Sent, seconds, show

from kdbench.models.adapter import LoadSettings
from kdbench.models.protocols import Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams

pytestmark = pytest.mark.slow

QUICKSTART = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
QUESTIONS = (
    "Question: What is the capital of {}?\nAnswer: The capital is",
    "Question: Tell a long story about {}.\nAnswer: Once upon a time,",
    "Question: Is {} a country? Answer yes or no.\nAnswer:",
    "Question: List facts about {}, with reasons.\nAnswer: 1.",
)
PLACES = ("France", "Japan", "Brazil", "Kenya", "Norway", "Peru")


def of_all_lengths() -> list[tuple[str, list[str], int]]:
    """Answers of a word to the limit, in prompts of 12 to 200 tokens."""
    return [
        (f"{STORY * (index % 4)}{question.format(place)}", ["\n", "Question:"], 96)
        for index, place in enumerate(PLACES)
        for question in QUESTIONS
    ]


def few_shot() -> list[tuple[str, list[str], int]]:
    """One header of 450 tokens before every question, as five-shot tasks have it."""
    header = "".join(
        f"Question: {STORY} Where is {place}?\nAnswer: In the world.\n\n" for place in PLACES
    )
    return [
        (f"{header}Question: Where is {place}, and is it number {n}?\nAnswer:", ["\n"], 16)
        for place in PLACES
        for n in range(2)
    ]


def word_problems() -> list[tuple[str, list[str], int]]:
    """The quickstart's own task."""
    lines = (QUICKSTART / "data" / "word_problems.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    return [(f"Question: {question}\nAnswer:", ["\n"], 8) for question in questions]


@pytest.mark.parametrize(
    ("title", "asked", "weights"),
    [
        ("answers of all lengths, SmolLM2", of_all_lengths, "smollm2"),
        ("few-shot, shared header, SmolLM2", few_shot, "smollm2"),
        ("word problems, quickstart teacher", word_problems, "teacher"),
    ],
)
def test_generating(
    capsys: pytest.CaptureFixture[str],
    benchmark: Any,
    title: str,
    asked: Callable[[], list[tuple[str, list[str], int]]],
    weights: str,
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = QUICKSTART / "models" / weights
    folder = published.smollm2_folder() if weights == "smollm2" else folder
    ours = TransformersAdapter(
        TransformersParams(path=str(folder)), folder, LoadSettings(device="cpu")
    ).load()
    hflm = HFLM(pretrained=str(folder), device="cpu", batch_size=1, dtype="float32")
    given = asked()
    prompts = [Prompt(text, tuple(stops), count) for text, stops, count in given]
    requests = [
        Instance("generate_until", {}, (text, {"until": stops, "max_gen_toks": count}), index)
        for index, (text, stops, count) in enumerate(given)
    ]

    def work() -> float:
        ours.generate_text(prompts[:2])  # what is found out once per model
        best, theirs, size, sent = float("inf"), None, 0, 0
        for batch_size in (16, 64) if weights == "teacher" else (8, 16):
            hflm.batch_size_per_gpu = batch_size
            with Sent(hflm.model) as tokens:
                took, found = seconds(lambda: hflm.generate_until(requests, disable_tqdm=True))
            if took < best:
                best, theirs, size, sent = took, found, batch_size, tokens.tokens
        with Sent(ours.model) as own:
            took, answers = seconds(lambda: ours.generate_text(prompts))
        assert theirs is not None
        same = sum(a.text == b for a, b in zip(answers, theirs, strict=True))
        lengths = sorted(len(answer.ids) for answer in answers)
        show(
            capsys,
            f"{title}: {best / took:.2f} x HFLM (batch {size}: {best:.1f} s, {sent} tokens; kdbench "
            f"{took:.1f} s, {own.tokens} tokens); answers of {lengths[0]} to {lengths[-1]} tokens, "
            f"{sum(lengths)} in all; {same} of {len(answers)} texts are equal",
        )
        # other batch shapes round differently, and a text that meets a near tie goes another way
        assert same >= 0.95 * len(answers)
        return best / took

    assert benchmark.pedantic(work, rounds=1, iterations=1) > 1
