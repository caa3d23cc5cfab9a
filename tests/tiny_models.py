"""Causal language models of a few thousand random weights, with real tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CORPUS = [
    "the quick brown fox jumps over the lazy dog and the cat sleeps",
    "a student learns from its teacher, one token at a time",
    "Question: what is 2 plus 2? Answer: 4. Question: what is 3 plus 5? Answer: 8.",
    "naïve café déjà vu — ünïcödé text, with línes\nand\nline breaks\n\n",
] * 20
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('no system role here') }}{% endif %}"
    "<{{ message.role }}>{{ message.content }}<eot>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_tokenizer(
    folder: Path, *, bos: bool = True, adds_bos: bool = False, template: str | None = TEMPLATE
) -> Any:
    """A byte-level BPE of 400 tokens; `adds_bos` puts <bos> before every text, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<eos>", "<bos>", "<eot>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet),
    )
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", core.token_to_id("<bos>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<eos>",
        bos_token="<bos>" if bos else None,
        additional_special_tokens=["<eot>"],
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_llama(
    folder: Path, *, seed: int = 0, context: int = 96, rows: int = 400, **more: Any
) -> Path:
    """A two-layer Llama whose weights are large enough to have opinions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=1,
        **more,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_model(folder: Path, *, bos: bool = True, adds_bos: bool = False, **more: Any) -> Path:
    """Weights and tokenizer in one folder, as a suite would name it."""
    save_llama(folder, **more)
    save_tokenizer(folder, bos=bos, adds_bos=adds_bos)
    return folder
