"""ImageReward: BLIP reads prompt and image together, an MLP turns that into a reward.

The published checkpoint holds the original BLIP's names; it is read into Hugging Face's classes, which have
the same layers. Source: Xu et al. (2023), "ImageReward", arXiv:2304.05977, and its `ImageReward.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.encoders.encoder import CLIP_MEAN, CLIP_STD, normalised
from kdbench.models.requirements import require
from kdbench.models.weights import path_of, read_state

if TYPE_CHECKING:
    import torch

    from kdbench.models.judges.judge import JudgeSpec
    from kdbench.models.resizing import Resize

MEAN, SPREAD = 0.16717362830052426, 1.0333394966054072
LONGEST = 35
BATCH = 32

VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
          "num_attention_heads": 16, "image_size": 224, "patch_size": 16,
          "layer_norm_eps": 1e-6}  # fmt: skip
TEXT = {"vocab_size": 30524, "hidden_size": 768, "encoder_hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "max_position_embeddings": 512, "layer_norm_eps": 1e-12,
        "attention_probs_dropout_prob": 0.1, "is_decoder": True}  # fmt: skip

_VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layers.\1.self_attn."),
    (r"^blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.\1."),
)
_LAYERS = {"0": "0", "2": "1", "4": "2", "6": "3", "7": "4"}
"""The MLP's linear layers by their places among the dropouts, which do nothing here."""


class ImageReward:
    """The judge; `vision` and `text` are sizes of Hugging Face's BLIP classes."""

    def __init__(
        self,
        state: Mapping[str, torch.Tensor],
        tokenizer: Any,
        resize: Resize,
        device: str = "cpu",
        vision: Mapping[str, Any] = VISION,
        text: Mapping[str, Any] = TEXT,
    ) -> None:
        """`state` is the published checkpoint's content. Raises `ModelError` where a weight is missing."""
        import torch
        from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

        own = _part(state, "mlp.layers.")
        self.vision: Any = BlipVisionModel(BlipVisionConfig(**vision))
        self.text: Any = BlipTextModel(BlipTextConfig(**text), add_pooling_layer=False)
        sizes = (text["hidden_size"], 1024, 128, 64, 16, 1)
        self.mlp = torch.nn.Sequential(
            *(torch.nn.Linear(wide, narrow) for wide, narrow in pairwise(sizes))
        )
        mlp = {f"{_LAYERS[n.split('.')[0]]}.{n.split('.')[1]}": w for n, w in own.items()}
        for module, weights in (
            (self.vision, vision_names(_part(state, "blip.visual_encoder."))),
            (self.text, _part(state, "blip.text_encoder.")),
            (self.mlp, mlp),
        ):
            _read(module, weights)
            module.float().eval().to(device)
        self.tokenizer, self.resize, self.device = tokenizer, resize, device

    def scores(self, pixels: torch.Tensor, prompts: Sequence[str]) -> list[float]:
        """See `Judge.scores`."""
        import torch

        if len(pixels) != len(prompts):
            raise ModelError(f"{len(pixels)} images came with {len(prompts)} prompts")
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                own = slice(start, start + BATCH)
                found += self._rewards(pixels[own].to(self.device), list(prompts[own]))
        return found

    def _rewards(self, pixels: torch.Tensor, prompts: list[str]) -> list[float]:
        tokens = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt"
        ).to(self.device)
        image = self.vision(pixel_values=normalised(pixels, CLIP_MEAN, CLIP_STD))
        features = image.last_hidden_state
        read = self.text(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=features,
            encoder_attention_mask=features.new_ones(features.shape[:2]),
            is_decoder=False,
        )
        rewards = self.mlp(read.last_hidden_state[:, 0].float()).squeeze(1)
        return [float(reward) for reward in (rewards - MEAN) / SPREAD]


def load(spec: JudgeSpec, device: str) -> ImageReward:
    """ImageReward v1.0 from the published files."""
    require("transformers", "torch", "torchvision", extra="images")
    weights, vocabulary = (path_of(name) for name in spec.weights)
    return ImageReward(read_state(weights), word_pieces(vocabulary), spec.resize, device)


def word_pieces(vocabulary: Path) -> Any:
    """BERT's lower-casing tokenizer from its list of word pieces."""
    from transformers import BertTokenizer

    words = vocabulary.read_text(encoding="utf-8").splitlines()
    return BertTokenizer(
        vocab={word: index for index, word in enumerate(words)}, do_lower_case=True
    )


def vision_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the original BLIP's image tower under Hugging Face's names."""
    found = {}
    for name, weight in state.items():
        for pattern, new in _VISION_NAMES:
            renamed, count = re.subn(pattern, new, name)
            if count:
                name = renamed
                break
        found[name] = weight
    return found


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): weight
        for name, weight in state.items()
        if name.startswith(prefix)
    }


def _read(module: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Every weight of `module` must be there and fit; position ids and the like may be over."""
    try:
        told = module.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        raise ModelError(f"these are not ImageReward's weights: {error}") from error
    if told.missing_keys:
        raise ModelError(
            f"these are not ImageReward's weights: {len(told.missing_keys)} are missing, "
            f"{told.missing_keys[0]} for one"
        )
