"""lm-eval's model classes speak kdbench's verbs; vLLM itself needs a GPU and is not run here."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tiny_models

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.lm_eval_bridge import LmEvalModel
from kdbench.models.protocols import CHAT_TEMPLATE, Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.vllm import VllmAdapter, VllmParams

REQUESTS = [
    Continuation("the quick ", "brown fox"),
    Continuation("Question:", " what is"),
    Continuation("", "a student learns"),
]
TEXTS = ["the cat sleeps", "one token at a time " * 20]
PROMPTS = [Prompt("the quick brown", ("\n", "e"), 12), Prompt("Answer:", (), 6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_model(tmp_path_factory.mktemp("model") / "student")


@pytest.fixture(scope="module")
def hflm(folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)


class Recorder:
    """The smallest model class: says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def tok_encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) for letter in text]

    def generate_until(self, instances: list[Any]) -> list[str]:
        self.asked += [instance.args for instance in instances]
        return ["abc" for _ in instances]

    def loglikelihood_rolling(self, instances: list[Any]) -> list[tuple[float, bool]]:
        return [(-2.0, False) for _ in instances]

    def loglikelihood(self, instances: list[Any]) -> list[tuple[float, bool]]:
        return []


def test_a_bridged_model_answers_as_the_adapter_does(folder: Path, hflm: Any) -> None:
    bridged = LmEvalModel(hflm)
    settings = LoadSettings(device="cpu", batch_size=1)
    own = TransformersAdapter(TransformersParams(path=str(folder)), folder, settings).load()
    for one, other in zip(bridged.score_text(REQUESTS), own.score_text(REQUESTS), strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert (one.greedy, one.tokens) == (other.greedy, other.tokens)
    for one, other in zip(bridged.score_rolling(TEXTS), own.score_rolling(TEXTS), strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert (one.greedy, one.tokens) == (False, other.tokens)
    texts = [answer.text for answer in own.generate_text(PROMPTS)]
    assert [answer.text for answer in bridged.generate_text(PROMPTS)] == texts
    messages = [{"role": "user", "content": "hi"}]
    assert bridged.apply_chat_template(messages) == own.apply_chat_template(messages)


def test_no_requests_are_no_question(hflm: Any) -> None:
    assert LmEvalModel(hflm).score_text([]) == []


def test_sampling_without_a_seed_for_each_request_is_refused(hflm: Any) -> None:
    with pytest.raises(ModelError, match="HFLM takes no seed for each request"):
        LmEvalModel(hflm).generate_text([Prompt("x", (), 4, temperature=0.5)])


def test_sampling_settings_travel_with_their_seed() -> None:
    recorder = Recorder()
    prompt = Prompt("x", ("\n", ""), 3, temperature=0.5, top_p=0.9, top_k=7, seed=2**62 + 5)
    (answer,) = LmEvalModel(recorder, seed_key="seed").generate_text([prompt])
    assert recorder.asked == [
        ("x", {"until": ["\n"], "max_gen_toks": 3, "do_sample": True, "temperature": 0.5,
               "seed": 5, "top_p": 0.9, "top_k": 7})
    ]  # fmt: skip
    assert (answer.text, answer.tokens, answer.finish) == ("abc", 3, "length")
    (roomy,) = LmEvalModel(recorder).generate_text([Prompt("x", (), 4)])
    assert (roomy.tokens, roomy.finish) == (3, "stop")


def test_pairs_that_some_releases_return_for_whole_texts_are_understood() -> None:
    (score,) = LmEvalModel(Recorder()).score_rolling(["abcd"])
    assert (score.logprob, score.greedy, score.tokens) == (-2.0, False, 4)


def test_missing_answers_are_an_error() -> None:
    with pytest.raises(ModelError, match="gave 0 answers to 3 requests"):
        LmEvalModel(Recorder()).score_text(REQUESTS)


def test_unknown_generation_options_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="no generation option num_beams"):
        LmEvalModel(Recorder()).generate_text([Prompt("x", (), 3, options={"num_beams": 2})])


def test_a_model_class_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ModelError, match="has no tok_encode"):
        LmEvalModel(object())


def _vllm(folder: Path, **params: Any) -> VllmAdapter:
    return VllmAdapter(VllmParams(path="student", **params), folder.parent, LoadSettings())


def test_the_vllm_adapter_describes_a_model_without_loading_it(folder: Path) -> None:
    adapter = _vllm(folder)
    assert CHAT_TEMPLATE in adapter.verbs()
    before = adapter.fingerprint()
    assert before["dtype"] == "float32"
    after = _vllm(folder, tensor_parallel_size=2).fingerprint()
    assert {name for name in after if after[name] != before[name]} == {"tensor_parallel_size"}
    assert adapter.downloads() == []


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed here")
def test_without_vllm_the_adapter_says_what_to_install(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"pip install 'kdbench\[vllm\]'"):
        _vllm(folder).check()


def test_the_vllm_adapter_hands_lm_evals_backend_what_the_suite_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Backend(Recorder):
        def __init__(self, **arguments: Any) -> None:
            super().__init__()
            seen.update(arguments)

    # lm-eval's module itself needs vllm to be imported.
    stand_in = ModuleType("lm_eval.models.vllm_causallms")
    stand_in.VLLM = Backend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr("kdbench.models.vllm.require", lambda *_, **__: None)
    model = _vllm(folder, max_length=64, add_bos_token=True).load()
    assert seen["pretrained"] == str(folder)
    assert (seen["dtype"], seen["max_model_len"], seen["add_bos_token"]) == ("float32", 64, True)
    assert seen["trust_remote_code"] is False
    model.generate_text([Prompt("x", (), 3, temperature=1.0, seed=4)])
    assert model.lm.asked[0][1]["seed"] == 4
