"""Requests become the token rows that lm-eval makes of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.errors import ModelError
from kdbench.models.protocols import Continuation, Scored
from kdbench.models.tokens import TextEncoder, context_length, pair_row, rolled, rolling_rows


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_models.save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def bos_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_models.save_tokenizer(tmp_path_factory.mktemp("bos"), adds_bos=True)


@settings(deadline=None)
@given(st.lists(st.integers(2, 99), max_size=60), st.integers(1, 20))
def test_rolling_windows_hold_the_tokens_that_lm_eval_gives_the_model(
    tokens: list[int], length: int
) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    expected = []
    for window in get_rolling_token_windows(tokens, 1, length, 1):
        context, scored = make_disjoint_window(window)
        expected.append((tuple((context + scored)[-(length + 1) :]), len(scored)))
    assert [(row.tokens, row.scored) for row in rolling_rows(tokens, 1, length)] == expected


@settings(deadline=None)
@given(st.lists(st.integers(2, 99), min_size=1, max_size=60), st.integers(1, 20))
def test_rolling_windows_score_every_token_once_and_in_order(
    tokens: list[int], length: int
) -> None:
    rows = list(rolling_rows(tokens, 1, length))
    assert [token for row in rows for token in row.tokens[-row.scored :]] == tokens
    assert all(row.scored < len(row.tokens) <= length + 1 for row in rows)


def test_a_long_context_loses_tokens_on_its_left() -> None:
    row = pair_row(range(10), [90, 91], max_length=4)
    assert row.tokens == (7, 8, 9, 90, 91)
    assert row.scored == 2


def test_a_continuation_longer_than_the_context_window_is_refused() -> None:
    with pytest.raises(ModelError, match="5 tokens does not fit the model's 4 tokens"):
        pair_row([1], [2] * 5, max_length=4)


def test_spaces_at_the_end_of_the_context_belong_to_the_continuation(tokenizer: Any) -> None:
    encoder = TextEncoder(tokenizer, 64)
    rows = encoder.continuations(
        [Continuation("the quick ", "brown"), Continuation("the quick", " brown")]
    )
    assert rows[0] == rows[1]
    assert encoder.decode(rows[0].tokens[-rows[0].scored :]) == " brown"


def test_an_empty_context_stands_for_the_beginning_of_text_token(tokenizer: Any) -> None:
    (row,) = TextEncoder(tokenizer, 64).continuations([Continuation("", "the dog")])
    assert row.tokens[0] == tokenizer.bos_token_id
    assert row.scored == len(row.tokens) - 1


def test_a_continuation_that_begins_with_the_prefix_token_does_not_get_it_twice(
    tokenizer: Any,
) -> None:
    (row,) = TextEncoder(tokenizer, 64).continuations([Continuation("", "<bos>the dog")])
    assert row.tokens.count(tokenizer.bos_token_id) == 1
    assert row.scored == len(row.tokens) - 1


def test_without_a_beginning_of_text_token_the_end_of_text_token_is_the_prefix(
    tmp_path: Path,
) -> None:
    bare = tiny_models.save_tokenizer(tmp_path, bos=False)
    assert TextEncoder(bare, 64).prefix == bare.eos_token_id


def test_a_tokenizer_without_either_is_refused_by_what_needs_it() -> None:
    nameless = SimpleNamespace(bos_token_id=None, eos_token_id=None)
    with pytest.raises(ModelError, match="neither a beginning-of-text nor an end-of-text token"):
        _ = TextEncoder(nameless, 64).prefix


def test_text_that_begins_with_the_bos_token_is_not_given_another(bos_tokenizer: Any) -> None:
    encoder = TextEncoder(bos_tokenizer, 64)
    plain, marked = encoder.prompts(["the dog", "<bos>the dog"])
    assert plain == marked
    assert plain.count(bos_tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(("policy", "count"), [(None, 1), (True, 1), (False, 0)])
def test_add_bos_token_overrides_the_tokenizer(
    bos_tokenizer: Any, policy: bool | None, count: int
) -> None:
    (prompt,) = TextEncoder(bos_tokenizer, 64, policy).prompts(["the dog"])
    assert prompt.count(bos_tokenizer.bos_token_id) == count


def test_an_empty_continuation_has_no_tokens_to_score(tokenizer: Any) -> None:
    rows = TextEncoder(tokenizer, 64).continuations([Continuation("the", ""), Continuation("", "")])
    assert [row.scored for row in rows] == [0, 0]


def test_a_continuation_that_the_tokenizer_merges_away_is_refused() -> None:
    def merging(texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[7] for _ in texts]}

    merging.bos_token_id = merging.eos_token_id = 1  # type: ignore[attr-defined]
    merging.decode = lambda *_, **__: "<s>"  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="'b' into its context"):
        TextEncoder(merging, 64).continuations([Continuation("a", "b")])


def test_an_empty_prompt_becomes_the_prefix_token(tokenizer: Any) -> None:
    assert TextEncoder(tokenizer, 64).prompts([""]) == [[tokenizer.bos_token_id]]


def test_the_text_part_of_a_configuration_says_how_long_the_context_is() -> None:
    tokenizer = SimpleNamespace(model_max_length=int(1e30))
    nested = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=32), n_ctx=8)
    assert context_length(nested, tokenizer) == 32
    assert context_length(SimpleNamespace(n_positions=16), tokenizer) == 16
    assert context_length(SimpleNamespace(), SimpleNamespace(model_max_length=77)) == 77
    assert context_length(SimpleNamespace(), tokenizer) == 2048


def test_windows_of_several_texts_are_summed_text_by_text() -> None:
    windows = [list(rolling_rows([5, 6, 7], 1, 2)), [], list(rolling_rows([8], 1, 2))]
    sums = rolled(
        windows, lambda rows: [Scored(-float(row.scored), True, row.scored) for row in rows]
    )
    assert sums == [Scored(-3.0, False, 3), Scored(0.0, False, 0), Scored(-1.0, False, 1)]
