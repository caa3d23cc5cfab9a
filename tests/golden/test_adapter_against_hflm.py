"""The transformers adapter gives lm-eval's numbers: HFLM 0.4.13 on the same files, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import published
import pytest
import tiny_models

from kdbench.models.adapter import LoadSettings
from kdbench.models.causal_lm import CausalLM
from kdbench.models.protocols import Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams

TOLERANCE = 1e-4
"""Nats, float32: what different batch shapes do to sums of logarithms."""

LONG = "the lazy dog sleeps and the quick brown fox jumps over it, one token at a time. " * 12
REQUESTS = [
    *(
        Continuation("Question: what is 2 plus 2?\nAnswer:", choice)
        for choice in (" 4", " 5", " 44")
    ),
    *(
        Continuation("The capital of France is", f" {city}")
        for city in ("Paris", "London", "Rome.")
    ),
    Continuation("The capital of France is ", "Paris"),
    Continuation("trailing space and newline \n", "then more"),
    Continuation("", "A text without context."),
    Continuation("", " begins with a space"),
    Continuation("naïve café", " déjà vu — ünïcödé"),
    Continuation("a", "b c d e f g h i j k l m n o p q r s t u v w x y z"),
    Continuation(LONG, " the end."),
    Continuation("asked twice", " x y"),
    Continuation("asked twice", " x y"),
]
TEXTS = ["A short text.", LONG, "naïve café\n\n déjà vu", "x"]
LONGEST = 20
STOPS = ["\n\n", "Question:", ".", "e "]


@dataclass(frozen=True)
class Case:
    """One model, loaded by lm-eval and by the adapter; HFLM answers each question once."""

    hflm: Any
    loaded: CausalLM
    answers: dict[str, list[Any]] = field(default_factory=dict)

    def with_batch(self, batch_size: int | None) -> CausalLM:
        """The adapter's model with another batch size, without loading it again."""
        return CausalLM(self.loaded.model, self.loaded.encoder, batch_size)

    def lm_eval(self, verb: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What HFLM answers."""
        from lm_eval.api.instance import Instance

        question = f"{verb}: {arguments}"
        if question not in self.answers:
            asked = [Instance(verb, {}, given, index) for index, given in enumerate(arguments)]
            self.answers[question] = getattr(self.hflm, verb)(asked, disable_tqdm=True)
        return self.answers[question]


def _case(folder: Path, **options: Any) -> Case:
    from lm_eval.models.huggingface import HFLM

    hflm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **options)
    settings = LoadSettings(device="cpu", dtype="float32")
    params = TransformersParams(path=str(folder), **options)
    return Case(hflm, TransformersAdapter(params, folder, settings).load())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("plain", id="tiny"),
        pytest.param("adds_bos", id="tiny, tokenizer adds BOS"),
        pytest.param("forced_bos", id="tiny, BOS forced on"),
        pytest.param("no_bos", id="tiny, no BOS token"),
        pytest.param("smollm2", id="SmolLM2-135M", marks=[pytest.mark.weights, pytest.mark.slow]),
    ],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "smollm2":
        return _case(published.smollm2_folder(), max_length=96)
    folder = tmp_path_factory.mktemp(request.param) / "model"
    tiny_models.save_model(
        folder, bos=request.param != "no_bos", adds_bos=request.param == "adds_bos"
    )
    return _case(folder, **({"add_bos_token": True} if request.param == "forced_bos" else {}))


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_continuations_score_as_in_lm_eval(case: Case, batch_size: int | None) -> None:
    pairs = [(request.context, request.text) for request in REQUESTS]
    expected = case.lm_eval("loglikelihood", pairs)
    scores = case.with_batch(batch_size).score_text(REQUESTS)
    differences = [abs(s.logprob - lp) for s, (lp, _) in zip(scores, expected, strict=True)]
    assert max(differences) < TOLERANCE, differences
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]


def test_two_splits_of_one_text_score_as_each_does_alone_in_lm_eval(case: Case) -> None:
    """Asked together, HFLM 0.4.13 reads the shorter continuation's logits at the longer one's first
    positions: it gathers from the front of a slice that is aligned at its end.
    """
    pairs = [("same input", " x y"), ("same input x", " y")]
    expected = [case.lm_eval("loglikelihood", [pair])[0] for pair in pairs]
    scores = case.with_batch(4).score_text([Continuation(*pair) for pair in pairs])
    for score, (logprob, greedy) in zip(scores, expected, strict=True):
        assert abs(score.logprob - logprob) < TOLERANCE
        assert score.greedy == greedy


def test_greedy_continuations_are_flagged_as_in_lm_eval(case: Case) -> None:
    model = case.with_batch(4)
    contexts = ["The capital of France is", "one token at"]
    texts = [a.text for a in model.generate_text([Prompt(text, (), 3) for text in contexts])]
    pairs = list(zip(contexts, texts, strict=True))
    pairs += [(context, text + " zebra") for context, text in pairs]
    expected = case.lm_eval("loglikelihood", pairs)
    scores = model.score_text([Continuation(*pair) for pair in pairs])
    assert [score.greedy for score in scores] == [greedy for _, greedy in expected]
    assert not all(score.greedy for score in scores)


def test_whole_texts_score_as_in_lm_eval(case: Case) -> None:
    expected = case.lm_eval("loglikelihood_rolling", [(text,) for text in TEXTS])
    scores = case.with_batch(5).score_rolling(TEXTS)
    for score, logprob in zip(scores, expected, strict=True):
        # A sum over hundreds of tokens keeps the tolerance of each.
        assert abs(score.logprob - logprob) < TOLERANCE * max(1, score.tokens / 20)


def test_generated_text_is_that_of_lm_eval(case: Case) -> None:
    contexts = ["Question: what is 2 plus 2?\nAnswer:", "The capital of France is", "one", LONG]
    for stops in ([], STOPS):
        asked = [(text, {"until": list(stops), "max_gen_toks": LONGEST}) for text in contexts]
        expected = case.lm_eval("generate_until", asked)
        prompts = [Prompt(text, tuple(stops), LONGEST) for text in contexts]
        assert [a.text for a in case.with_batch(4).generate_text(prompts)] == expected


def test_chat_messages_are_rendered_as_in_lm_eval(case: Case) -> None:
    model = case.with_batch(1)
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
        model = case.with_batch(batch_size)
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
    settings = LoadSettings(device="cpu", batch_size=1)
    params = TransformersParams(path=str(folder))
    case = Case(hflm, TransformersAdapter(params, tmp_path, settings).load())
    pairs = [(request.context, request.text) for request in REQUESTS]
    scores = case.with_batch(1).score_text(REQUESTS)
    for score, (logprob, greedy) in zip(scores, case.lm_eval("loglikelihood", pairs), strict=True):
        assert score.greedy == greedy
        # bfloat16 keeps 8 bits of each hidden state, and where a text stands in a row moves the last
        assert abs(score.logprob - logprob) < 2**-8 * score.tokens
