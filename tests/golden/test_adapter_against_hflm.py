"""The transformers adapter gives lm-eval's numbers: HFLM 0.4.13 on the same files, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import published
import pytest
import tiny_models

from kdbench.models.adapter import LoadSettings
from kdbench.models.protocols import Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams

TOLERANCE = 1e-4
"""Nats, float32: what different batch shapes do to sums of logarithms."""

LONG = "the lazy dog sleeps and the quick brown fox jumps over it, one token at a time. " * 12
REQUESTS = [
    *(Continuation("Question: what is 2 plus 2?\nAnswer:", choice) for choice in (" 4", " 5", " 44")),
    *(Continuation("The capital of France is", f" {city}") for city in ("Paris", "London", "Rome.")),
    Continuation("The capital of France is ", "Paris"),
    Continuation("trailing space and newline \n", "then more"),
    Continuation("", "A text without context."),
    Continuation("", " begins with a space"),
    Continuation("naïve café", " déjà vu — ünïcödé"),
    Continuation("a", "b c d e f g h i j k l m n o p q r s t u v w x y z"),
    Continuation(LONG, " the end."),
    Continuation("same input", " x y"),
    Continuation("same input x", " y"),
    Continuation("same input", " x y"),
]
TEXTS = ["A short text.", LONG, "naïve café\n\n déjà vu", "x"]
STOPS = ["\n\n", "Question:", ".", "e "]


@dataclass(frozen=True)
class Case:
    """One model, loaded twice; `longest` new tokens are generated."""

    folder: Path
    hflm: Any
    longest: int
    options: dict[str, Any]

    def adapter(self, batch_size: int | None) -> Any:
        settings = LoadSettings(device="cpu", dtype="float32", batch_size=batch_size)
        params = TransformersParams(path=str(self.folder), **self.options)
        return TransformersAdapter(params, self.folder, settings).load()


def _hflm(folder: Path, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **options)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("plain", id="tiny"),
        pytest.param("adds_bos", id="tiny, tokenizer adds BOS"),
        pytest.param("forced_bos", id="tiny, BOS forced on"),
        pytest.param("no_bos", id="tiny, no BOS token"),
        pytest.param(
            "smollm2", id="SmolLM2-135M", marks=[pytest.mark.weights, pytest.mark.slow]
        ),
    ],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "smollm2":
        options: dict[str, Any] = {"max_length": 160}
        folder = published.smollm2_folder()
        return Case(folder, _hflm(folder, **options), 24, options)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    tiny_models.save_model(
        folder, bos=request.param != "no_bos", adds_bos=request.param == "adds_bos"
    )
    options = {"add_bos_token": True} if request.param == "forced_bos" else {}
    return Case(folder, _hflm(folder, **options), 24, options)


def _instances(verb: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(verb, {}, given, index) for index, given in enumerate(arguments)]


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_continuations_score_as_in_lm_eval(case: Case, batch_size: int | None) -> None:
    pairs = [(request.context, request.text) for request in REQUESTS]
    expected = case.hflm.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
    scores = case.adapter(batch_size).score_text(REQUESTS)
    differences = [abs(s.logprob - lp) for s, (lp, _) in zip(scores, expected, strict=True)]
    assert max(differences) < TOLERANCE, differences
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]


def test_greedy_continuations_are_flagged_as_in_lm_eval(case: Case) -> None:
    model = case.adapter(4)
    contexts = ["The capital of France is", "one token at"]
    texts = [a.text for a in model.generate_text([Prompt(text, (), 3) for text in contexts])]
    pairs = list(zip(contexts, texts, strict=True))
    pairs += [(context, text + " zebra") for context, text in pairs]
    expected = case.hflm.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
    scores = model.score_text([Continuation(*pair) for pair in pairs])
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]
    assert not all(score.greedy for score in scores)


def test_whole_texts_score_as_in_lm_eval(case: Case) -> None:
    expected = case.hflm.loglikelihood_rolling(
        _instances("loglikelihood_rolling", [(text,) for text in TEXTS]), disable_tqdm=True
    )
    scores = case.adapter(5).score_rolling(TEXTS)
    for score, logprob in zip(scores, expected, strict=True):
        # A sum over hundreds of tokens keeps the tolerance of each.
        assert abs(score.logprob - logprob) < TOLERANCE * max(1, score.tokens / 20)


def test_generated_text_is_that_of_lm_eval(case: Case) -> None:
    contexts = ["Question: what is 2 plus 2?\nAnswer:", "The capital of France is", "one", LONG]
    for stops in ([], STOPS):
        asked = [(text, {"until": list(stops), "max_gen_toks": case.longest}) for text in contexts]
        expected = case.hflm.generate_until(_instances("generate_until", asked), disable_tqdm=True)
        prompts = [Prompt(text, tuple(stops), case.longest) for text in contexts]
        assert [a.text for a in case.adapter(4).generate_text(prompts)] == expected


def test_chat_messages_are_rendered_as_in_lm_eval(case: Case) -> None:
    model = case.adapter(1)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "4 is"}]
    for prompt in (True, False):
        expected = case.hflm.apply_chat_template(messages, add_generation_prompt=prompt)
        assert model.apply_chat_template(messages, add_generation_prompt=prompt) == expected


def test_the_batch_size_changes_nothing(case: Case) -> None:
    """Scores within 1e-5 nats a token; the same greedy flags and the same texts, sampled ones too."""
    prompts = [
        Prompt(text, ("\n",), 16, temperature=temperature, top_p=0.9, top_k=40, seed=seed)
        for seed, text in enumerate(["The capital of", "one", "Question: what", "a student"])
        for temperature in (0.0, 0.8)
    ]
    found = []
    for batch_size in (1, 7, 64):
        model = case.adapter(batch_size)
        found.append((model.score_text(REQUESTS), model.generate_text(prompts)))
    (scores, texts), *others = found
    for other_scores, other_texts in others:
        assert other_texts == texts
        assert [score.greedy for score in other_scores] == [score.greedy for score in scores]
        for one, other in zip(scores, other_scores, strict=True):
            assert abs(one.logprob - other.logprob) < 1e-5 * max(1, one.tokens)


def test_a_model_of_half_precision_scores_as_in_lm_eval_with_a_float32_softmax(
    tmp_path: Path,
) -> None:
    folder = tiny_models.save_model(tmp_path / "model", dtype="bfloat16")
    from lm_eval.models.huggingface import HFLM

    hflm = HFLM(pretrained=str(folder), device="cpu", batch_size=1, softmax_dtype="float32")
    pairs = [(request.context, request.text) for request in REQUESTS]
    expected = hflm.loglikelihood(_instances("loglikelihood", pairs), disable_tqdm=True)
    settings = LoadSettings(device="cpu", batch_size=1)
    model = TransformersAdapter(TransformersParams(path=str(folder)), tmp_path, settings).load()
    for score, (logprob, greedy) in zip(model.score_text(REQUESTS), expected, strict=True):
        assert score.greedy == greedy
        assert abs(score.logprob - logprob) < 1e-3 * score.tokens
