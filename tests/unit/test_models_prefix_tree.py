"""Sequences as trees: nothing twice that is cheaper once, and every token sees its own past alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.models.batches import BatchLimits
from kdbench.models.prefix_tree import LEAST_PREFIX, Layout, TreeRow
from kdbench.models.scoring import TokenScorer
from kdbench.models.tokens import TokenRow

SEQUENCES = st.lists(
    st.lists(st.integers(0, 2), max_size=8).map(lambda tokens: (7, 7, *tokens)),
    min_size=1,
    max_size=12,
)
PACKED = Layout(1e9, 1 << 20, prefixes=False, least=0)


def walked(row: TreeRow) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Each sequence of a row as its prefix and nodes spell it."""
    return {
        one: (*row.prefix, *(row.tokens[node] for node in path)) for one, path in row.paths.items()
    }


@given(SEQUENCES)
def test_a_packed_tree_spells_every_sequence_with_each_prefix_once(sequences):
    (row,) = PACKED.rows(dict.fromkeys(sequences, 1))
    assert walked(row) == {one: one for one in sequences}
    distinct = {one[: end + 1] for one in sequences for end in range(len(one))}
    assert len(row.tokens) == len(distinct)


@given(SEQUENCES)
def test_a_token_sees_what_stands_before_it_in_its_own_sequence_and_nothing_else(sequences):
    (row,) = PACKED.rows(dict.fromkeys(sequences, 1))
    seen = row.sees()
    for path in row.paths.values():
        for depth, node in enumerate(path):
            assert set(np.flatnonzero(seen[node])) == set(path[: depth + 1])
            assert row.positions[node] == depth


def test_rows_that_share_little_stay_whole():
    sequences = [(*range(number, number + 20), *range(9)) for number in range(0, 200, 40)]
    for shared, packed in ((1, False), (12, True)):
        needed = dict.fromkeys(((*range(500, 500 + shared), *one) for one in sequences), 1)
        rows = Layout(1e9, 1 << 20).rows(needed)
        assert (len(rows) == 1) == packed
        assert sorted(path for row in rows for path in row.paths) == sorted(needed)


@settings(deadline=None)
@given(SEQUENCES, st.floats(1, 1e4), st.integers(1, 20), st.booleans())
def test_however_rows_are_cut_every_sequence_is_there_once(sequences, cost, most, prefixes):
    stem = tuple(range(LEAST_PREFIX + 3))
    needed = {(*stem, *one): 1 for one in sequences}
    rows = Layout(cost, most, prefixes=prefixes).rows(needed)
    spelled = [one for row in rows for one in walked(row).items()]
    assert sorted(spelled) == sorted((one, one) for one in needed)
    for row in rows:
        assert all(len(one) - needed[one] >= len(row.prefix) for one in row.paths)


def test_choices_of_one_document_are_packed_and_documents_share_a_header_in_the_cache():
    header = tuple(range(1000, 2000))
    documents = [(*header, *range(i * 50, i * 50 + 40)) for i in range(20)]
    choices = {(*one, 5000 + c, 5001 + c): 2 for one in documents for c in range(4)}
    rows = Layout(3456.0, 4096).rows(choices)
    assert len(rows) == 20 and {len(row.prefix) for row in rows} == {1000}
    assert all(len(row.tokens) == 40 + 4 * 2 and row.branches for row in rows)


def test_nothing_is_kept_for_a_prefix_that_is_short():
    sequences = {(1, 2, *range(i * 100, i * 100 + 90)): 1 for i in range(10)}
    assert {row.prefix for row in Layout(3456.0, 4096).rows(sequences)} == {()}


# ------------------------------------------------------------------ with models


def requests(vocabulary: int, seed: int = 0) -> list[TokenRow]:
    """Documents of four choices behind one header, and rows that share nothing."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, vocabulary, (count,), generator=draw).tolist())

    header, rows = tokens(40), []
    for document in range(6):
        body = (*header, *tokens(5 + 2 * document))
        rows += [TokenRow((*body, *(end := tokens(1 + choice))), len(end)) for choice in range(4)]
    return rows + [TokenRow(tokens(length), 3) for length in (5, 12, 50)]


def plainly(model: Any, rows: list[TokenRow]) -> list[float]:
    found = []
    for row in rows:
        with torch.inference_mode():
            logits = model(torch.tensor([row.tokens[:-1]])).logits[0, -row.scored :].double()
        targets = torch.tensor(row.tokens[-row.scored :])
        found.append(float(logits.log_softmax(-1)[torch.arange(row.scored), targets].sum()))
    return found


def scorer_of(architecture: str, **more: Any) -> TokenScorer:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(architecture, **{**small, **more})
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return TokenScorer(model, BatchLimits.for_device("cpu", None))


GQA = {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize(
    ("architecture", "more", "share", "prefixes"),
    [
        ("llama", GQA, True, True),
        ("qwen2", {"intermediate_size": 64, "num_key_value_heads": 2}, True, True),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, True, True),
        ("gpt_neox", {"intermediate_size": 64}, True, True),
        ("gemma2", {**GQA, "sliding_window": 4096}, True, True),
        ("mistral", {**GQA, "sliding_window": 16}, False, False),
        ("mamba", {"state_size": 4}, False, False),
    ],
)
def test_sharing_changes_no_score_and_is_left_where_it_would(
    architecture: str, more: dict[str, Any], share: bool, prefixes: bool
) -> None:
    scorer = scorer_of(architecture, **more)
    assert scorer.layout.share == share and (not share or scorer.layout.prefixes == prefixes)
    rows = requests(64)
    scores = [score for score, _ in scorer.score(rows)]
    assert scores == pytest.approx(plainly(scorer.model, rows), abs=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_either_attention_takes_the_mask(attention: str) -> None:
    scorer = scorer_of("llama", **GQA, attn_implementation=attention)
    assert scorer.layout.share and scorer.layout.prefixes
    rows = requests(64, seed=1)
    scores = [score for score, _ in scorer.score(rows)]
    assert scores == pytest.approx(plainly(scorer.model, rows), abs=1e-4)


def test_texts_beyond_the_attention_window_are_computed_whole() -> None:
    scorer = scorer_of("gemma2", **GQA, sliding_window=56)
    rows = requests(64, seed=2)
    scores = [score for score, _ in scorer.score(rows)]
    assert scores == pytest.approx(plainly(scorer.model, rows), abs=1e-4)


def test_a_header_is_computed_once_for_one_block_after_another(tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_models.save_llama(tmp_path)).eval()
    scorer = TokenScorer(model, BatchLimits.for_device("cpu", None))
    header = tuple(range(60))

    def block(start: int) -> list[TokenRow]:
        return [TokenRow((*header, *range(start + i, start + i + 9)), 2) for i in range(60)]

    scorer.score(block(100))
    sent = []
    hook = model.model.register_forward_pre_hook(
        lambda _, args, kwargs: sent.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    scorer.score(block(250))
    hook.remove()
    assert sum(sent) <= 60 * 9
