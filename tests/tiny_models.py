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
    folder: Path,
    *,
    seed: int = 0,
    context: int = 96,
    rows: int = 400,
    dtype: str = "float32",
    **more: Any,
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
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def save_model(folder: Path, *, bos: bool = True, adds_bos: bool = False, **more: Any) -> Path:
    """Weights and tokenizer in one folder, as a suite would name it."""
    save_llama(folder, **more)
    save_tokenizer(folder, bos=bos, adds_bos=adds_bos)
    return folder


def save_gguf(folder: Path, file: Path) -> Path:
    """The model in `folder` (`save_model`) as a float32 GGUF file for llama.cpp."""
    import json

    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    words = json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    special = {token["id"] for token in words["added_tokens"]}
    vocabulary = sorted(words["model"]["vocab"].items(), key=lambda pair: pair[1])
    writer.add_token_list([word for word, _ in vocabulary])
    kinds = gguf.TokenType
    writer.add_token_types(
        [kinds.CONTROL if index in special else kinds.NORMAL for _, index in vocabulary]
    )
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in words["model"]["merges"]
    ]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        for kind, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
            if name.endswith(f"self_attn.{kind}_proj.weight"):
                # GGUF interleaves the two halves that the rotation pairs.
                split = tensor.reshape(config[heads], 2, -1, tensor.shape[1])
                tensor = split.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
