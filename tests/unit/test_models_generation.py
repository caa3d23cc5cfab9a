"""Generated text depends on its prompt, its settings and its seed, never on its neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny_models
import torch
from scipy import stats

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.batches import BatchLimits
from kdbench.models.causal_lm import CausalLM
from kdbench.models.generation import TextGenerator, finished
from kdbench.models.protocols import Prompt
from kdbench.models.sampling import gumbel_noise
from kdbench.models.tokens import TextEncoder
from kdbench.models.transformers import TransformersAdapter, TransformersParams

TEXTS = ["the quick brown", "Question: what is", "a student learns", "naïve", "x", "one token at a"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    folder = tiny_models.save_model(tmp_path_factory.mktemp("model"))
    settings = LoadSettings(device="cpu")
    return TransformersAdapter(TransformersParams(path=str(folder)), folder, settings).load()


def _with_batch(lm: CausalLM, rows: int) -> TextGenerator:
    return TextGenerator(lm.model, lm.encoder, BatchLimits.for_device("cpu", rows))


def _greedy(lm: CausalLM, text: str, count: int) -> list[int]:
    """Token by token with the plain model."""
    (tokens,) = lm.encoder.prompts([text])
    new: list[int] = []
    for _ in range(count):
        with torch.inference_mode():
            new.append(int(lm.model(torch.tensor([tokens + new])).logits[0, -1].argmax()))
        if new[-1] == 0:
            break
    return new


def test_greedy_text_is_the_argmax_of_every_step(lm: CausalLM) -> None:
    for text in TEXTS:
        (answer,) = lm.generate_text([Prompt(text, (), 12)])
        tokens = _greedy(lm, text, 12)
        ended = tokens[-1] == 0
        assert answer.text == lm.encoder.decode(tokens)
        assert answer.finish == ("stop" if ended else "length")
        assert answer.tokens == len(tokens) - ended


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
def test_the_batch_does_not_change_the_text(lm: CausalLM, temperature: float) -> None:
    prompts = [
        Prompt(text, (" ",), 16, temperature=temperature, top_p=0.95, top_k=50, seed=seed)
        for seed, text in enumerate(TEXTS * 3)
    ]
    alone = [_with_batch(lm, 1).generate([prompt])[0] for prompt in prompts]
    assert _with_batch(lm, 7).generate(prompts) == alone
    assert _with_batch(lm, 64).generate(prompts[::-1]) == alone[::-1]


def test_another_seed_gives_another_sample_and_the_same_seed_the_same(lm: CausalLM) -> None:
    prompt = Prompt("the quick", (), 16, temperature=1.0, seed=1)
    first, again, other = lm.generate_text([prompt, prompt, replace(prompt, seed=2)])
    assert first == again
    assert first.text != other.text


def test_samples_follow_the_model_distribution(lm: CausalLM) -> None:
    draws, text = 2000, "the quick brown"
    prompts = [Prompt(text, (), 1, temperature=1.5, top_k=5, seed=seed) for seed in range(draws)]
    (tokens,) = lm.encoder.prompts([text])
    with torch.inference_mode():
        logits = lm.model(torch.tensor([tokens])).logits[0, -1] / 1.5
    best = logits.topk(5)
    names = [lm.encoder.decode([token]) for token in best.indices.tolist()]
    texts = [answer.text for answer in _with_batch(lm, 500).generate(prompts)]
    observed = [texts.count(name) for name in names]
    assert sum(observed) == draws
    expected = (best.values.softmax(-1) * draws).tolist()
    scale = draws / sum(expected)
    assert stats.chisquare(observed, [value * scale for value in expected]).pvalue > 1e-4


def test_a_small_top_p_leaves_the_most_probable_token(lm: CausalLM) -> None:
    greedy, narrow = lm.generate_text(
        [
            Prompt("one token", (), 8),
            Prompt("one token", (), 8, temperature=1.0, top_p=1e-6, seed=3),
        ]
    )
    assert narrow.text == greedy.text


def test_noise_is_standard_gumbel_and_independent_of_its_neighbours() -> None:
    seeds = torch.tensor([3, 2**62 + 5, 3])
    noise = gumbel_noise(seeds, step=4, vocabulary=20_000)
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(gumbel_noise(seeds[1:2], 4, 500)[0], noise[1, :500])
    assert stats.kstest(noise[0].numpy(), "gumbel_r").pvalue > 1e-4
    assert stats.kstest(noise[1].numpy(), "gumbel_r").pvalue > 1e-4
    assert abs(float(torch.corrcoef(noise[:2])[0, 1])) < 0.03
    following = gumbel_noise(seeds[:1], step=5, vocabulary=20_000)
    assert abs(float(torch.corrcoef(torch.cat([noise[:1], following]))[0, 1])) < 0.03
    assert torch.isfinite(noise).all()


def test_a_stop_string_ends_its_row_and_is_cut_out(lm: CausalLM) -> None:
    (free,) = lm.generate_text([Prompt("Question: what is", (), 30)])
    stop = free.text[8:10]
    (cut,) = lm.generate_text([Prompt("Question: what is", (stop,), 30)])
    assert cut.text == free.text.split(stop)[0]
    assert cut.finish == "stop"
    assert cut.tokens < free.tokens


def test_rows_of_one_batch_keep_their_own_stop_strings(lm: CausalLM) -> None:
    free = [answer.text for answer in lm.generate_text([Prompt(text, (), 20) for text in TEXTS])]
    stops = [text[5:7] for text in free]
    answers = lm.generate_text(
        [Prompt(text, (stop,), 20) for text, stop in zip(TEXTS, stops, strict=True)]
    )
    assert [answer.text for answer in answers] == [
        text.split(stop)[0] for text, stop in zip(free, stops, strict=True)
    ]


class _Words:
    """Tokens are words: 0 ends the text, 9 is a special token that decoding leaves out."""

    words = ("<eos>", "a", "b", "c", "\n", "d", "e", "f", "g", "<eot>")

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        hidden = {0, 9} if skip_special_tokens else set()
        return "".join(self.words[token] for token in tokens if token not in hidden)


@pytest.mark.parametrize(
    ("tokens", "stops", "text", "count", "finish"),
    [
        ([1, 2, 0, 5], (), "ab", 2, "stop"),
        ([1, 2, 3], (), "abc", 3, "length"),
        ([1, 2, 4, 3, 5], ("\n",), "ab", 2, "stop"),
        ([1, 2, 3, 5, 6], ("cd", "e"), "ab", 2, "stop"),
        ([1, 2, 9, 5, 6], ("<eot>",), "ab", 3, "stop"),
        ([1, 9, 4, 5], ("<eot>\n",), "a\n", 3, "stop"),
        ([2, 1], ("b",), "", 0, "stop"),
    ],
)
def test_an_answer_ends_at_the_first_end_or_stop(
    tokens: list[int], stops: tuple[str, ...], text: str, count: int, finish: str
) -> None:
    answer = finished(TextEncoder(_Words(), 64), tokens, stops, frozenset({0}))
    assert (answer.text, answer.tokens, answer.finish) == (text, count, finish)


def test_a_long_prompt_keeps_its_end(lm: CausalLM) -> None:
    long = "the lazy dog " * 60 + "a student learns"
    (tokens,) = lm.encoder.prompts([long])
    kept = lm.encoder.decode(tokens[-(96 - 8) :])
    answers = lm.generate_text([Prompt(long, (), 8), Prompt(kept, (), 8)])
    assert answers[0] == answers[1]


def test_more_new_tokens_than_context_are_refused(lm: CausalLM) -> None:
    with pytest.raises(ModelError, match="max_new_tokens is 96, and the model's context only 96"):
        lm.generate_text([Prompt("x", (), 96)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"num_beams": 4}}, "no generation option num_beams"),
        ({"options": {"top_k": "many", "min_p": "x"}}, "no generation option top_k"),
        ({"options": {"min_p": "x"}}, "min_p: 'x' is no number"),
        ({"options": {"do_sample": True}}, "do_sample: True contradicts temperature"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_by_name(
    lm: CausalLM, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        lm.generate_text([replace(Prompt("x", (), 4), **change)])


def test_known_options_reach_the_decoding_loop(lm: CausalLM) -> None:
    plain = Prompt("the quick brown", (), 30)
    free, bound = lm.generate_text(
        [plain, replace(plain, options={"no_repeat_ngram_size": 1, "do_sample": False})]
    )
    assert bound.text != free.text
    tokens = lm.encoder.tokenizer.encode(bound.text, add_special_tokens=False)
    assert bound.tokens == 30
    assert len(tokens) >= 28


def test_nan_in_a_decoding_step_is_an_error_with_a_remedy(lm: CausalLM) -> None:
    model = type(lm.model)(lm.model.config).eval()
    model.lm_head.weight.data[3] = float("nan")
    generator = TextGenerator(model, lm.encoder, BatchLimits.for_device("cpu", 4))
    with pytest.raises(ModelError, match="NaN or infinite in dtype float32"):
        generator.generate([Prompt("the", (), 4)])


def test_memory_running_out_while_generating_halves_the_batch(
    lm: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt(text, (), 6) for text in TEXTS]
    expected = lm.generate_text(prompts)
    generator = _with_batch(lm, 6)
    assert generator.loop is not None
    tried: list[int] = []
    whole = lm.model.forward

    def tight(**given: Any) -> Any:
        tried.append(len(given["input_ids"]))
        if tried[-1] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(**given)

    monkeypatch.setattr(lm.model, "forward", tight)
    assert generator.generate(prompts) == expected
    assert tried[:3] == [6, 3, 1]
    assert set(tried[3:]) == {1}
