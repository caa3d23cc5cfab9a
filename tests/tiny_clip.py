"""Small CLIP-like models of the real classes, with seeded random weights, saved as published ones are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch

VOCABULARY = 49408


def save_hugging_face(folder: Path, activation: str = "quick_gelu") -> Path:
    """A `CLIPModel` at 32 pixels with OpenAI's tokenizer and processor, whose words open_clip ships."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    side: dict[str, Any] = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "projection_dim": 16, "hidden_act": activation,
        "attention_dropout": 0.0,
    }  # fmt: skip
    # eos_token_id 2, as in the published configurations: the pooled token is the one of the largest id
    text = {**side, "vocab_size": VOCABULARY, "max_position_embeddings": 77, "eos_token_id": 2}
    vision = {**side, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    widen(model)
    model.save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    words, merges = _byte_pairs()
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    return CLIPTokenizer.from_pretrained(folder)


def save_open_clip(folder: Path, name: str = "tiny-open-clip", width: int = 32) -> Path:
    """A state dict of an open_clip model at 32 pixels; its configuration is registered as `name`."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": VOCABULARY, "width": width, "heads": 2, "layers": 2},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    widen(model)
    place = folder / "weights.pt"
    torch.save({"state_dict": model.state_dict()}, place)
    return place


def widen(model: torch.nn.Module) -> None:
    """Larger random weights, so that an activation or a token that is wrong shows in the features."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embedding" not in name:
                weight.mul_(6.0)


def _byte_pairs() -> tuple[dict[str, int], list[str]]:
    """OpenAI's words and merges, from the file that open_clip carries."""
    import open_clip.tokenizer

    with gzip.open(open_clip.tokenizer.default_bpe()) as file:
        lines = file.read().decode().split("\n")
    merges = lines[1 : VOCABULARY - 512 - 2 + 1]
    own = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*own, *(f"{one}</w>" for one in own), *("".join(pair.split()) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: index for index, word in enumerate(words)}, merges
