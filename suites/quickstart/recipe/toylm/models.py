"""The two model shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MAX_LENGTH = 512


@dataclass(frozen=True)
class Shape:
    """The numbers that decide the size of a model."""

    width: int
    layers: int
    heads: int
    feed_forward: int


TEACHER = Shape(width=128, layers=3, heads=4, feed_forward=352)
STUDENT = Shape(width=96, layers=2, heads=4, feed_forward=256)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return a freshly initialized model; the same seed gives the same weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=MAX_LENGTH,
        # The customary 0.02 starts far too slowly at these widths and step counts.
        initializer_range=shape.width**-0.5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    # The plain attention is faster than the fused one for these shapes in bfloat16 on a CPU.
    model.set_attn_implementation("eager")
    return model
