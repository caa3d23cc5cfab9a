"""The openai adapter against a real llama.cpp server, compared with transformers on the same GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import published
import pytest
import tiny_models
from llama_cpp import MISSING, llama_server

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.openai_api import OpenAIAdapter, OpenAIParams
from kdbench.models.protocols import Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None,
        reason=MISSING,
    ),
]

REQUESTS = [
    Continuation("The capital of France is", " Paris"),
    Continuation("The capital of France is", " London"),
    Continuation("The capital of France is ", "the city of light"),
    Continuation("", "A student learns from its teacher."),
    Continuation("naïve café", " déjà vu"),
]
TEXTS = ["The sky is blue and the grass is green."]


@dataclass(frozen=True)
class Served:
    """A server and the transformers model of its file; `nats` is how far a token's score may differ."""

    url: str
    local: Any
    nats: float
    exact: bool

    def adapter(self, **params: Any) -> OpenAIAdapter:
        made = OpenAIParams(base_url=f"{self.url}/v1", model="any", **params)
        return OpenAIAdapter(made, Path(), LoadSettings())


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("tiny", id="tiny, float32"),
        pytest.param("smollm2", id="SmolLM2-135M, Q4_1", marks=pytest.mark.weights),
    ],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    # A quantised file is computed with 8-bit activations by llama.cpp, in float32 by transformers.
    nats, exact = 0.25, False
    if request.param == "tiny":
        folder = tmp_path_factory.mktemp("served")
        file = tiny_models.save_gguf(tiny_models.save_model(folder / "m"), folder / "tiny.gguf")
        nats, exact = 1e-4, True
    else:
        file = published.smollm2_gguf()
    context = 96 if exact else 256
    params = TransformersParams(path=str(file), max_length=context - 1)
    local = TransformersAdapter(params, file.parent, LoadSettings(device="cpu")).load()
    with llama_server(file, context) as url:
        yield Served(url, local, nats, exact)


def test_continuations_score_as_with_transformers(served: Served) -> None:
    scores = served.adapter().load().score_text(REQUESTS)
    expected = served.local.score_text(REQUESTS)
    for one, other in zip(scores, expected, strict=True):
        assert one.tokens == other.tokens
        assert abs(one.logprob - other.logprob) < served.nats * one.tokens
    if served.exact:
        assert [score.greedy for score in scores] == [score.greedy for score in expected]


def test_whole_texts_score_as_with_transformers(served: Served) -> None:
    texts = [*TEXTS, "one token at a time " * 20] if served.exact else TEXTS
    scores = served.adapter().load().score_rolling(texts)
    for one, other in zip(scores, served.local.score_rolling(texts), strict=True):
        assert one.tokens == other.tokens
        assert abs(one.logprob - other.logprob) < served.nats * one.tokens


def test_what_the_server_generates_is_greedy_for_it(served: Served) -> None:
    model = served.adapter().load()
    contexts = ["The capital of France is", "Answer:", "a student learns,", "One, two,"]
    answers = model.generate_text([Prompt(context, (), 1) for context in contexts])
    assert [answer.tokens for answer in answers] == [1] * len(contexts)
    pairs = zip(contexts, answers, strict=True)
    scores = model.score_text([Continuation(context, answer.text) for context, answer in pairs])
    # A generated token need not be the one that its text is encoded as.
    kept = [score for score in scores if score.tokens == 1]
    assert kept
    assert all(score.greedy for score in kept)


def test_greedy_text_is_that_of_transformers(served: Served) -> None:
    prompts = [Prompt("The capital of France is", (".",), 8), Prompt("One, two, three,", (), 5)]
    answers = served.adapter(concurrency=2).load().generate_text(prompts)
    expected = served.local.generate_text(prompts)
    if served.exact:
        assert [answer.text for answer in answers] == [answer.text for answer in expected]
    else:
        assert [answer.text.split()[0] for answer in answers] == [
            answer.text.split()[0] for answer in expected
        ]
    assert answers[1].finish == "length"
    assert answers[1].tokens == 5


def test_a_sample_is_repeated_by_its_seed(served: Served) -> None:
    model = served.adapter(concurrency=1).load()
    prompt = Prompt("Once upon a time", (), 12, temperature=1.0, seed=7)
    first, again = model.generate_text([prompt, prompt])
    assert first == again
    other = model.generate_text([Prompt("Once upon a time", (), 12, temperature=1.0, seed=8)])
    assert other[0].text != first.text


def test_the_chat_api_renders_on_the_server(served: Served) -> None:
    (answer,) = served.adapter(api="chat").load().generate_text([Prompt("Hello!", (), 6)])
    assert 0 < answer.tokens <= 6
    assert answer.finish in ("length", "stop")


def test_a_server_that_ignores_echo_is_found_out(served: Served) -> None:
    with pytest.raises(ModelError, match="no log-probabilities of prompts"):
        served.adapter(scores="echo").load().score_text(REQUESTS[:1])


def test_a_prompt_beyond_the_servers_context_is_refused_clearly(served: Served) -> None:
    model = served.adapter(retries=0).load()
    with pytest.raises(ModelError, match="HTTP 400"):
        model.generate_text([Prompt("word " * 2000, (), 4)])
