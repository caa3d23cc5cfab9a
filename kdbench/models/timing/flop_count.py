"""Counting what a model's forward pass does, without doing it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from kdbench.errors import ModelError
from kdbench.metrics.flops import DecoderShape, decode_flops, prefill_flops


def counted(call: Callable[[], object], plain_attention: bool = True) -> int:
    """FLOPs of matrix products, convolutions and attention in `call`, a multiply-add counted as two.

    With `plain_attention` it runs in plain operations meanwhile, which takes the most memory: torch's counter
    knows the fused kernels of GPUs, but takes the CPU's for nothing.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH) if plain_attention else nullcontext(),
        FlopCounterMode(display=False) as counter,
    ):
        call()
    return int(counter.get_total_flops())


def text_flops(model: Any, prompt_tokens: int, context: int) -> tuple[int, int]:
    """FLOPs of a prompt, and of one further token that attends to `context` tokens (itself included), for
    one row.

    Counted by torch on a twin without weights (the meta device), so nothing is computed. A mixture of
    experts sends tokens where their values say, which a twin can't know: there the closed form is taken,
    each token passing as many experts as the configuration says. So it is for a model that looks at its
    values to leave early, which counts with all its layers. Of an encoder-decoder the prompt is the encoder
    and the first step of the decoder, and `context` counts the decoder's own tokens behind the prompt's.

    Raises `ModelError` for an encoder-decoder whose way depends on values.
    """
    encoder = bool(getattr(model.config, "is_encoder_decoder", False))
    if expert_share(model) < 1 and not encoder:
        return _closed_form(model, prompt_tokens, context)
    try:
        return _on_a_twin(model, prompt_tokens, context)
    except (
        RuntimeError,
        NotImplementedError,
    ) as error:  # what meta tensors say when they are looked at
        if encoder:
            raise ModelError(
                "the operations of this encoder-decoder depend on the values that pass through it (experts, "
                f"or leaving early), so they can't be counted ({' '.join(str(error).split())[:120]})"
            ) from error
        return _closed_form(model, prompt_tokens, context)


def _closed_form(model: Any, prompt_tokens: int, context: int) -> tuple[int, int]:
    shape = decoder_shape(model)
    return prefill_flops(shape, prompt_tokens), decode_flops(shape, context)


def _on_a_twin(model: Any, prompt_tokens: int, context: int) -> tuple[int, int]:
    import torch

    from kdbench.models.timing.text_run import Decoder

    with torch.device("meta"):
        twin = type(model)(copy.deepcopy(model.config)).eval()
    ids = torch.zeros((1, prompt_tokens), dtype=torch.long, device="meta")
    one = ids[:, :1]
    decoder = Decoder(twin)
    prefill = counted(lambda: decoder.prefill(ids))

    def decode(behind: int) -> int:
        with torch.inference_mode():
            decoder.prefill(torch.zeros((1, behind), dtype=torch.long, device="meta"))
        return counted(lambda: decoder.step(one))

    if decoder.encoder_decoder:
        with torch.inference_mode():
            decoder.prefill(ids)
            for _ in range(max(0, context - prompt_tokens - 2)):
                decoder.step(one)
        return prefill, counted(lambda: decoder.step(one))
    return prefill, decode(max(1, context - 1))


def decoder_shape(model: Any) -> DecoderShape:
    """What `decode_flops` needs, read off a decoder's weights and configuration."""
    config = getattr(model.config, "text_config", None) or model.config
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    share, linear = expert_share(model), 0.0
    for name, weight in model.named_parameters():
        if weight is embedding or weight is head or weight.dim() < 2:
            continue
        linear += weight.numel() * (share if _is_expert(name) else 1)
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return DecoderShape(round(linear), head.numel(), config.num_hidden_layers * heads * size)


def expert_share(model: Any) -> float:
    """Of a mixture's expert weights, the share that a token passes; 1 for a dense model."""
    config = getattr(model.config, "text_config", None) or model.config
    chosen = getattr(config, "num_experts_per_tok", None)
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((n for name in names if (n := getattr(config, name, None))), None)
    return min(1.0, chosen / experts) if chosen and experts else 1.0


def active_parameters(model: Any) -> int:
    """Parameters that take part in a token: all, but of experts only the share that it is sent to."""
    share = expert_share(model)
    counts = [(name, int(weight.numel())) for name, weight in model.named_parameters()]
    return round(sum(count * (share if _is_expert(name) else 1) for name, count in counts))


def _is_expert(name: str) -> bool:
    return ".experts." in name
