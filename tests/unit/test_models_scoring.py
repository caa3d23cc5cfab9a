"""Log-probabilities equal those of the whole logits, whatever the batch and the architecture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
import torch

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits
from kdbench.models.scoring import TokenScorer
from kdbench.models.tokens import TokenRow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    folder = tiny_models.save_llama(tmp_path_factory.mktemp("llama"))
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def _rows(count: int = 40, seed: int = 0) -> list[TokenRow]:
    """Random rows of different lengths; every fourth shares its input with the one before."""
    draw = torch.Generator().manual_seed(seed)
    rows: list[TokenRow] = []
    for index in range(count):
        length = int(torch.randint(3, 30, (1,), generator=draw))
        tokens = torch.randint(0, 400, (length,), generator=draw).tolist()
        scored = int(torch.randint(1, length, (1,), generator=draw))
        if index % 4 == 3:
            tokens, scored = [*rows[-1].tokens[:-1], tokens[-1]], 1
        rows.append(TokenRow(tuple(tokens), scored))
    return rows


def _one_by_one(model: Any, rows: list[TokenRow]) -> list[tuple[float, bool]]:
    answers = []
    for row in rows:
        with torch.inference_mode():
            logits = model(torch.tensor([row.tokens[:-1]])).logits[0, -row.scored :].double()
        targets = torch.tensor(row.tokens[-row.scored :])
        logprobs = logits.log_softmax(-1)[torch.arange(row.scored), targets]
        answers.append((float(logprobs.sum()), bool((logits.argmax(-1) == targets).all())))
    return answers


def _scorer(model: Any, rows: int | None = None) -> TokenScorer:
    return TokenScorer(model, BatchLimits.for_device("cpu", rows))


@pytest.mark.parametrize("batch_size", [1, 7, 64, None])
def test_scores_are_those_of_one_row_at_a_time(model: Any, batch_size: int | None) -> None:
    rows = _rows()
    scores = _scorer(model, batch_size).score(rows)
    expected = _one_by_one(model, rows)
    assert [score for score, _ in scores] == pytest.approx([s for s, _ in expected], abs=1e-5 * 30)
    assert max(abs(a - b) for (a, _), (b, _) in zip(scores, expected, strict=True)) < 1e-4
    assert [greedy for _, greedy in scores] == [greedy for _, greedy in expected]


def test_the_most_probable_continuation_is_greedy_and_another_is_not(model: Any) -> None:
    tokens = [5, 6, 7]
    with torch.inference_mode():
        best = int(model(torch.tensor([tokens])).logits[0, -1].argmax())
    rows = [TokenRow((*tokens, best), 1), TokenRow((*tokens, (best + 1) % 400), 1)]
    assert [greedy for _, greedy in _scorer(model).score(rows)] == [True, False]


def test_rows_with_the_same_input_share_a_forward_pass(model: Any) -> None:
    seen: list[torch.Size] = []
    hook = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    scorer = _scorer(model, 64)
    scorer.score([TokenRow((1, 2), 1)])
    seen.clear()
    answers = scorer.score([TokenRow((5, 6, 7, choice), 1) for choice in range(10, 14)])
    hook.remove()
    assert seen == [(1, 3)]
    assert len({score for score, _ in answers}) == 4


def test_short_rows_are_not_padded_to_the_length_of_long_ones(model: Any) -> None:
    seen: list[tuple[int, ...]] = []
    scorer = _scorer(model, 64)
    scorer.score([TokenRow((1, 2), 1)])
    hook = model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    scorer.score([TokenRow(tuple(range(at, at + length)), 1) for at, length in
                  enumerate([41, 40, 31, 21, 20, 5])])  # fmt: skip
    hook.remove()
    assert seen == [(3, 40), (2, 20), (1, 4)]


def test_the_output_layer_sees_only_scored_positions(model: Any) -> None:
    seen: list[tuple[int, ...]] = []
    scorer = _scorer(model, 64)
    scorer.score([TokenRow((1, 2), 1)])
    hook = model.lm_head.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape)))
    scorer.score([TokenRow(tuple(range(20)), 2), TokenRow(tuple(range(30, 48)), 3)])
    hook.remove()
    assert seen == [(1, 5, 400)]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gemma2", "cohere", "opt", "mamba"])
def test_architectures_that_treat_their_logits_differently_score_right(architecture: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    special: dict[str, dict[str, Any]] = {
        "gpt2": {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "gpt_neox": {**small, "intermediate_size": 64},
        "gemma2": {**small, "intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8,
                   "final_logit_softcapping": 3.0},
        "cohere": {**small, "intermediate_size": 64, "logit_scale": 0.3, "pad_token_id": 0},
        "opt": {**small, "ffn_dim": 64, "word_embed_proj_dim": 16, "max_position_embeddings": 64},
        "mamba": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **special[architecture])
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    rows = [TokenRow(tuple(token % 64 for token in row.tokens), row.scored) for row in _rows(12)]
    scores = _scorer(model, 5).score(rows)
    expected = _one_by_one(model, rows)
    assert [score for score, _ in scores] == pytest.approx([s for s, _ in expected], abs=1e-3)


class _Stub:
    """A language model of ready-made logits, without an output layer to hook into."""

    device = torch.device("cpu")
    dtype = torch.float16
    config = SimpleNamespace(sliding_window=1)  # too narrow to share anything

    def __init__(self, logits: torch.Tensor, most_rows: int = 1 << 30) -> None:
        self.logits = logits
        self.most_rows = most_rows
        self.batches: list[int] = []

    def __call__(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        self.batches.append(len(input_ids))
        if len(input_ids) > self.most_rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))

    def get_input_embeddings(self) -> SimpleNamespace:
        return SimpleNamespace(weight=torch.zeros(len(self.logits), 2))

    def get_output_embeddings(self) -> None:
        return None


def test_an_architecture_without_an_output_layer_falls_back_to_whole_logits() -> None:
    stub = _Stub(torch.tensor([0.0, 1.0, 2.0]))
    ((score, greedy),) = _scorer(stub).score([TokenRow((0, 1, 2), 1)])
    assert score == pytest.approx(float(torch.tensor([0.0, 1.0, 2.0]).log_softmax(0)[2]))
    assert greedy


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_name_the_dtype_and_the_remedy(bad: float) -> None:
    stub = _Stub(torch.tensor([0.0, 1.0, bad]))
    with pytest.raises(ModelError, match=r"dtype float16; try dtype: float32 or bfloat16"):
        _scorer(stub).score([TokenRow((0, 1, 2), 1)])


def test_a_forward_pass_that_runs_out_of_memory_is_repeated_with_fewer_rows() -> None:
    stub = _Stub(torch.tensor([0.0, 1.0, 2.0]), most_rows=3)
    rows = [TokenRow((0, 1, index % 3, index % 2), 1) for index in range(3)]
    rows += [TokenRow((1, 2, index % 3, index % 2), 1) for index in range(3)]
    scores = _scorer(stub, 6).score(rows)
    assert len(scores) == 6
    assert stub.batches[-3:] == [6, 3, 3]


def test_an_empty_continuation_is_certain_and_costs_nothing(model: Any) -> None:
    assert _scorer(model).score([TokenRow((5,), 0)]) == [(0.0, True)]
