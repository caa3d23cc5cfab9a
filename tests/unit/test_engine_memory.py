"""How much the language engine holds at once: bounded by its limits, whatever it is asked."""

from __future__ import annotations

from typing import Any

import tiny_models
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from kdbench.models.batches import BatchLimits
from kdbench.models.generation import TextGenerator
from kdbench.models.protocols import Prompt
from kdbench.models.scoring import TokenScorer
from kdbench.models.tokens import TextEncoder, TokenRow

VOCABULARY = 128_000
ROWS, POSITIONS = 512, 24


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor that an operation gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.numel())
        return found


def _model() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        eos_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def _rows() -> list[TokenRow]:
    """Texts that begin differently; their last three tokens are scored."""
    return [
        TokenRow(tuple((row * 31 + place * 7) % VOCABULARY for place in range(POSITIONS + 1)), 3)
        for row in range(ROWS)
    ]


def test_scoring_a_large_vocabulary_allocates_no_logits_but_the_scored_ones() -> None:
    model = _model()
    limits = BatchLimits.for_device("cpu", ROWS)
    scorer = TokenScorer(model, limits)
    assert scorer.layout.share  # found out before we watch
    with Largest() as largest:
        scores = scorer.score(_rows())
    assert len(scores) == ROWS
    assert largest.elements <= limits.logits < ROWS * POSITIONS * VOCABULARY / 40


def test_every_position_of_long_texts_is_scored_a_bounded_part_at_a_time() -> None:
    scorer = TokenScorer(_model(), limits := BatchLimits.for_device("cpu", None))
    rows = [TokenRow(row.tokens, POSITIONS) for row in _rows()[:40]]
    assert scorer.layout.share
    with Largest() as largest:
        scorer.score(rows)
    assert largest.elements <= limits.logits < len(rows) * POSITIONS * VOCABULARY / 3


def test_generating_with_a_large_vocabulary_allocates_logits_of_one_position_a_row(
    tmp_path: Any,
) -> None:
    encoder = TextEncoder(tiny_models.save_tokenizer(tmp_path), 64)
    limits = BatchLimits(64, 4096, 1 << 24)
    generator = TextGenerator(_model(), encoder, limits)
    assert generator.loop is not None
    with Largest() as largest:
        generator.generate([Prompt(f"the cat {n} sleeps and the dog", (), 2) for n in range(200)])
    assert largest.elements <= limits.logits
