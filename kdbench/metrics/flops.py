"""Floating-point operations of a decoder, in closed form. A multiply-add counts as two.

Matrix products and attention are counted; norms, activations, softmax and rotations are not. Attention counts
the full square of a prompt, as the usual counters do, though a causal kernel may skip half of it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """What a decoder-only transformer multiplies with.

    `linear` is the number of weights in all layers that each token passes (of a mixture of experts those of
    the experts that it is sent to); `head` those of the output layer; `attention` the sum over layers of
    query heads times head size.
    """

    linear: int
    head: int
    attention: int


def llama_shape(
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    vocab: int,
) -> DecoderShape:
    """The shape of a Llama: grouped-query attention and a gated feed-forward, no biases."""
    projections = 2 * hidden * heads * head_size + 2 * hidden * kv_heads * head_size
    return DecoderShape(
        layers * (projections + 3 * hidden * intermediate),
        hidden * vocab,
        layers * heads * head_size,
    )


def prefill_flops(shape: DecoderShape, tokens: int) -> int:
    """Operations of a prompt of `tokens`, with the output layer at its last token only.

    Source: Kaplan et al. (2020), "Scaling laws for neural language models", table 1, forward pass,
    with the attention term for the whole square.
    """
    return 2 * shape.linear * tokens + 4 * shape.attention * tokens**2 + 2 * shape.head


def decode_flops(shape: DecoderShape, context: int) -> int:
    """Operations of one further token that attends to `context` tokens, itself included."""
    return 2 * (shape.linear + shape.head) + 4 * shape.attention * context
