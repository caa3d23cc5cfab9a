"""What a loaded model is made of: parameters, FLOPs of a token, bytes of weights and of a token's cache."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from kdbench.models.timing.flop_count import active_parameters, text_flops
from kdbench.models.timing.text_run import cache_bytes_per_token


@dataclass(frozen=True, slots=True)
class Footprint:
    """Tied weights count once. `active` are the parameters that take part in a token (fewer in a mixture of
    experts); `bytes_by_dtype` is the memory of parameters and buffers; `flops` are those of one token that
    attends to `context` tokens, a multiply-add counted as two; `cache_bytes` what it adds to the cache.
    """

    parameters: int
    active: int
    trainable: int
    bytes_by_dtype: dict[str, int]
    flops: int
    context: int
    cache_bytes: float


def footprint_of(model: Any, context: int) -> Footprint:
    """The footprint of a transformers model, at a context of so many tokens."""
    weights = list(model.parameters())
    held: Counter[str] = Counter()
    for tensor in [*weights, *model.buffers()]:
        held[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * tensor.element_size()
    return Footprint(
        parameters=sum(weight.numel() for weight in weights),
        active=active_parameters(model),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
        bytes_by_dtype=dict(held),
        flops=text_flops(model, max(1, context - 1), context)[1],
        context=context,
        cache_bytes=cache_bytes_per_token(model),
    )
