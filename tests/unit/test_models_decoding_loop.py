"""The decoding loop writes what transformers' `generate` writes for one prompt alone, in any batch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
import transformers

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits
from kdbench.models.generation import TextGenerator
from kdbench.models.protocols import Generated, Prompt
from kdbench.models.tokens import TextEncoder

CONTEXT = 160
SHARED = "Question: what is 2 plus 2? Answer: 4. the quick brown fox jumps over the lazy dog. " * 2
TEXTS = [
    *(
        SHARED + end
        for end in ("Question: what is 3 plus 5?", "a student", "naïve café déjà vu", "x")
    ),
    *(SHARED + f"the cat {number} sleeps" for number in range(6)),
]
ENDS = list(range(0, 40))
"""So many tokens end a text that a random model's answers have very different lengths."""

COMMON = {"vocab_size": 400, "eos_token_id": 0, "bos_token_id": 1, "initializer_range": 0.3}
SIZES = COMMON | {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "mistral": SIZES | {"sliding_window": 9},
    "qwen2": SIZES,
    "gemma2": SIZES | {"sliding_window": 9, "head_dim": 12, "query_pre_attn_scalar": 12},
    "gpt2": COMMON | {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    "bloom": COMMON | {"hidden_size": 48, "n_layer": 2, "n_head": 4},
    "mamba": COMMON | {"hidden_size": 48, "num_hidden_layers": 2, "state_size": 8},
}
OWN_LOOP = [name for name in SHAPES if name != "mamba"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder(tiny_models.save_tokenizer(tmp_path_factory.mktemp("words")), CONTEXT)


def _model(kind: str, **generation: Any) -> Any:
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **SHAPES[kind])
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.update(eos_token_id=ENDS, pad_token_id=0, **generation)
    return model


def _answers(
    model: Any, encoder: TextEncoder, prompts: list[Prompt], rows: int, tokens: int = 1 << 62
) -> list[Generated]:
    return TextGenerator(model, encoder, BatchLimits(rows, tokens, 1 << 40)).generate(prompts)


def _alone(model: Any, encoder: TextEncoder, text: str, count: int, **options: Any) -> list[int]:
    (tokens,) = encoder.prompts([text])
    ids = torch.tensor([tokens])
    found = model.generate(ids, do_sample=False, max_new_tokens=count, **options)
    return [int(token) for token in found[0, len(tokens) :]]


@pytest.mark.parametrize("kind", OWN_LOOP)
def test_greedy_answers_are_those_of_generate_for_one_prompt_in_batches_of_any_size(
    kind: str, encoder: TextEncoder
) -> None:
    model = _model(kind)
    expected = [_alone(model, encoder, text, 24) for text in TEXTS]
    assert len({len(tokens) for tokens in expected}) > 1
    prompts = [Prompt(text, (), 24) for text in TEXTS]
    for rows in (1, 3, 64):
        generator = TextGenerator(model, encoder, BatchLimits(rows, 1 << 62, 1 << 40))
        assert generator.loop is not None
        assert [list(answer.ids) for answer in generator.generate(prompts)] == expected


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_sampled_answers_are_the_same_in_any_batch_and_when_rows_wait_again(
    kind: str, encoder: TextEncoder
) -> None:
    model = _model(kind)
    prompts = [
        Prompt(text, ("e", "\n"), 24, temperature=1.2, top_p=0.95, top_k=50, seed=seed)
        for seed, text in enumerate(TEXTS * 2)
    ]
    alone = [_answers(model, encoder, [prompt], 1)[0] for prompt in prompts]
    assert _answers(model, encoder, prompts, 5) == alone
    assert _answers(model, encoder, prompts[::-1], 64) == alone[::-1]
    # room for two rows when they join, but not until they end
    assert _answers(model, encoder, prompts, 64, tokens=130) == alone


@pytest.mark.parametrize(
    "options", [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 7}]
)
@pytest.mark.parametrize("by_configuration", [False, True])
def test_penalties_are_those_of_generate_without_padding(
    options: dict[str, Any], by_configuration: bool, encoder: TextEncoder
) -> None:
    model = _model("llama")
    expected = [_alone(model, encoder, text, 16, **options) for text in TEXTS[:4]]
    if by_configuration:
        model.generation_config.update(**options)
    prompts = [Prompt(text, (), 16, options={} if by_configuration else options) for text in TEXTS]
    answers = _answers(model, encoder, prompts, 64)
    assert [list(answer.ids) for answer in answers[:4]] == expected


@pytest.mark.parametrize(
    ("kind", "generation", "reason"),
    [
        ("mamba", {}, "MambaForCausalLM keeps no cache that rows can join and leave"),
        (
            "llama",
            {"suppress_tokens": [77]},
            "sets suppress_tokens, which transformers' loop alone",
        ),
    ],
)
def test_what_the_loop_cannot_do_goes_to_generate_and_the_log_says_so(
    kind: str,
    generation: dict[str, Any],
    reason: str,
    encoder: TextEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _model(kind, **generation)
    with caplog.at_level(logging.WARNING):
        answers = _answers(model, encoder, [Prompt(text, (), 8) for text in TEXTS[:3]], 1)
    assert reason in caplog.text
    expected = [_alone(model, encoder, text, 8) for text in TEXTS[:3]]
    assert [list(answer.ids) for answer in answers] == expected


def test_rows_that_end_leave_the_batch_and_others_join(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("llama")
    prompts = [Prompt(f"{text} {end}", (), 24) for text in TEXTS for end in "abcd"]
    generator = TextGenerator(model, encoder, BatchLimits(8, 1 << 62, 1 << 40))
    assert generator.loop is not None
    decoded: list[int] = []
    step = generator.loop._step

    def watched(flight: Any) -> torch.Tensor:
        decoded.append(len(flight.rows))
        return step(flight)

    monkeypatch.setattr(generator.loop, "_step", watched)
    answers = generator.generate(prompts)
    assert sum(decoded) == sum(len(answer.ids) - 1 for answer in answers)
    assert max(decoded) <= 8


def test_equal_prompts_are_computed_once_where_nothing_is_drawn(encoder: TextEncoder) -> None:
    model = _model("llama")
    rows: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    generator = TextGenerator(model, encoder, BatchLimits(8, 1 << 62, 1 << 40))
    assert generator.loop is not None
    for temperature, most in ((0.0, 2), (1.0, 4)):
        prompts = [
            Prompt(text, (), 4, temperature=temperature, seed=seed)
            for seed, text in enumerate(["a student", "a student", "the cat", "a student"])
        ]
        rows.clear()
        answers = generator.generate(prompts)
        assert max(rows) == most
        assert len({answer.ids for answer in answers}) == most


def test_new_tokens_behind_a_cache_are_read_in_passes_of_their_own_limit(
    encoder: TextEncoder,
) -> None:
    model = _model("llama")
    prompts = [Prompt(f"a student {number} learns", (), 24) for number in range(30)]
    expected = _answers(model, encoder, prompts, 64)
    sizes: list[tuple[int, int]] = []
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    limits = BatchLimits(64, 1 << 62, 1 << 40, fresh=60)
    generator = TextGenerator(model, encoder, limits)
    assert generator.loop is not None
    sizes.clear()
    assert generator.generate(prompts) == expected
    assert max(rows * columns for rows, columns in sizes if columns > 1) <= 60
    assert max(rows for rows, columns in sizes if columns == 1) > 10


def test_a_beginning_that_all_prompts_share_is_computed_once(encoder: TextEncoder) -> None:
    model = _model("llama")
    generator = TextGenerator(model, encoder, BatchLimits(4, 1 << 62, 1 << 40))
    assert generator.loop is not None
    sent: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, args, kwargs: sent.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    prompts = [Prompt(text, (), 1) for text in TEXTS]
    generator.generate(prompts)
    lengths = [len(tokens) for tokens in encoder.prompts(TEXTS)]
    (shared,) = encoder.prompts([SHARED])
    assert sum(sent) < sum(lengths) / 3
    assert max(sent) >= len(shared) - 1


def test_memory_that_runs_out_in_the_middle_loses_no_token(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("llama")
    prompts = [Prompt(text, (), 24) for text in TEXTS]
    expected = _answers(model, encoder, prompts, 64)
    generator = TextGenerator(model, encoder, BatchLimits(64, 1 << 62, 1 << 40))
    assert generator.loop is not None
    whole, calls = model.forward, iter(range(1000))

    def tight(**given: Any) -> Any:
        if len(given["input_ids"]) > 2 and next(calls) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(**given)

    monkeypatch.setattr(model, "forward", tight)
    assert generator.generate(prompts) == expected
    assert generator.limits.rows is not None and generator.limits.rows <= 2


def test_a_single_row_that_does_not_fit_is_an_error_with_a_remedy(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = TextGenerator(_model("llama"), encoder, BatchLimits(4, 1 << 62, 1 << 40))
    assert generator.loop is not None

    def full(**_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generator.model, "forward", full)
    with pytest.raises(ModelError, match="out of device memory with a single row"):
        generator.generate([Prompt(text, (), 4) for text in TEXTS[:3]])


@pytest.mark.parametrize("name", ["teacher", "on-policy", "forward-kl", "scratch"])
def test_the_shipped_models_write_what_generate_writes(name: str) -> None:
    folder = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "models" / name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    encoder = TextEncoder(transformers.AutoTokenizer.from_pretrained(folder), 128)
    texts = [f"Tom has {n} apples and finds {7 - n} more. How many?" for n in range(7)]
    texts = [" and".join(texts[:n]) for n in (1, 3, 2, 1)] + texts
    answers = _answers(model, encoder, [Prompt(text, (), 20) for text in texts], 3)
    expected = [_alone(model, encoder, text[:], 20) for text in texts]
    assert [list(answer.ids) for answer in answers] == expected
