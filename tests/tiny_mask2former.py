"""A small Mask2Former of the real class, and the same weights as mmdet 2 names and lays them out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

SWIN: dict[str, Any] = {
    "model_type": "swin", "image_size": 64, "patch_size": 4, "embed_dim": 16,
    "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8], "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
SIZES: dict[str, Any] = {
    "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 48,
    "encoder_layers": 2, "decoder_layers": 4, "num_attention_heads": 4, "dim_feedforward": 40,
    "num_queries": 10,
}  # fmt: skip


def save(folder: Path) -> Path:
    """Seeded random weights, saved as the library does."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    torch.manual_seed(0)
    config = Mask2FormerConfig(backbone_config=dict(SWIN), num_labels=80, **SIZES)
    model = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)  # biases and norms are 0 and 1 otherwise
    model.save_pretrained(folder)
    return folder


def as_mmdet(folder: Path) -> dict[str, torch.Tensor]:
    """What mmdet 2 would hold of the weights in `folder`; written against mmdet's module names."""
    from safetensors.torch import load_file

    left = load_file(folder / "model.safetensors")
    left.pop("criterion.empty_weight")
    made: dict[str, torch.Tensor] = {}

    def take(name: str) -> torch.Tensor:
        return left.pop(name)

    def move(theirs: str, ours: str) -> None:
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in left:
                made[f"{ours}.{kind}"] = take(f"{theirs}.{kind}")

    encoder, pixels = "model.pixel_level_module.encoder", "model.pixel_level_module.decoder"
    queries, head = "model.transformer_module", "panoptic_head"
    move(f"{encoder}.embeddings.patch_embeddings.projection", "backbone.patch_embed.projection")
    move(f"{encoder}.embeddings.norm", "backbone.patch_embed.norm")
    for stage, depth in enumerate(SWIN["depths"]):
        move(f"{encoder}.hidden_states_norms.stage{stage + 1}", f"backbone.norm{stage}")
        for block in range(depth):
            old = f"{encoder}.encoder.layers.{stage}.blocks.{block}"
            new = f"backbone.stages.{stage}.blocks.{block}"
            move(f"{old}.layernorm_before", f"{new}.norm1")
            move(f"{old}.layernorm_after", f"{new}.norm2")
            move(f"{old}.intermediate.dense", f"{new}.ffn.layers.0.0")
            move(f"{old}.output.dense", f"{new}.ffn.layers.1")
            move(f"{old}.attention.output.dense", f"{new}.attn.w_msa.proj")
            table = "relative_position_bias_table"
            made[f"{new}.attn.w_msa.{table}"] = take(f"{old}.attention.self.{table}")
            left.pop(f"{old}.attention.self.relative_position_index", None)
            made[f"{new}.attn.w_msa.relative_position_index"] = mmdet_window_index(
                SWIN["window_size"]
            )
            for kind in ("weight", "bias"):
                parts = [
                    take(f"{old}.attention.self.{one}.{kind}") for one in ("query", "key", "value")
                ]
                made[f"{new}.attn.w_msa.qkv.{kind}"] = torch.cat(parts)
        old, new = (
            f"{encoder}.encoder.layers.{stage}.downsample",
            f"backbone.stages.{stage}.downsample",
        )
        if f"{old}.reduction.weight" in left:
            made[f"{new}.reduction.weight"] = channel_by_channel(take(f"{old}.reduction.weight"))
            for kind in ("weight", "bias"):
                made[f"{new}.norm.{kind}"] = channel_by_channel(take(f"{old}.norm.{kind}"))
    for level in range(3):
        move(
            f"{pixels}.input_projections.{level}.0",
            f"{head}.pixel_decoder.input_convs.{level}.conv",
        )
        move(
            f"{pixels}.input_projections.{level}.1", f"{head}.pixel_decoder.input_convs.{level}.gn"
        )
    for layer in range(SIZES["encoder_layers"]):
        old, new = (
            f"{pixels}.encoder.layers.{layer}",
            f"{head}.pixel_decoder.encoder.layers.{layer}",
        )
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            move(f"{old}.self_attn.{part}", f"{new}.attentions.0.{part}")
        move(f"{old}.self_attn_layer_norm", f"{new}.norms.0")
        move(f"{old}.final_layer_norm", f"{new}.norms.1")
        move(f"{old}.fc1", f"{new}.ffns.0.layers.0.0")
        move(f"{old}.fc2", f"{new}.ffns.0.layers.1")
    made[f"{head}.pixel_decoder.level_encoding.weight"] = take(f"{pixels}.level_embed")
    move(f"{pixels}.adapter_1.0", f"{head}.pixel_decoder.lateral_convs.0.conv")
    move(f"{pixels}.adapter_1.1", f"{head}.pixel_decoder.lateral_convs.0.gn")
    move(f"{pixels}.layer_1.0", f"{head}.pixel_decoder.output_convs.0.conv")
    move(f"{pixels}.layer_1.1", f"{head}.pixel_decoder.output_convs.0.gn")
    move(f"{pixels}.mask_projection", f"{head}.pixel_decoder.mask_feature")
    for theirs, ours in (
        ("queries_embedder", "query_embed"), ("queries_features", "query_feat"),
        ("level_embed", "level_embed"), ("decoder.layernorm", "transformer_decoder.post_norm"),
    ):  # fmt: skip
        move(f"{queries}.{theirs}", f"{head}.{ours}")
    for layer in range(SIZES["decoder_layers"] - 1):
        old, new = f"{queries}.decoder.layers.{layer}", f"{head}.transformer_decoder.layers.{layer}"
        for kind in ("weight", "bias"):
            cross = f"cross_attn.in_proj_{kind}"
            made[f"{new}.attentions.0.attn.in_proj_{kind}"] = take(f"{old}.{cross}")
            parts = [take(f"{old}.self_attn.{one}_proj.{kind}") for one in "qkv"]
            made[f"{new}.attentions.1.attn.in_proj_{kind}"] = torch.cat(parts)
        move(f"{old}.cross_attn.out_proj", f"{new}.attentions.0.attn.out_proj")
        move(f"{old}.self_attn.out_proj", f"{new}.attentions.1.attn.out_proj")
        move(f"{old}.cross_attn_layer_norm", f"{new}.norms.0")
        move(f"{old}.self_attn_layer_norm", f"{new}.norms.1")
        move(f"{old}.final_layer_norm", f"{new}.norms.2")
        move(f"{old}.fc1", f"{new}.ffns.0.layers.0.0")
        move(f"{old}.fc2", f"{new}.ffns.0.layers.1")
    for place in range(3):
        old = f"{queries}.decoder.mask_predictor.mask_embedder.{place}.0"
        move(old, f"{head}.mask_embed.{2 * place}")
    move("class_predictor", f"{head}.cls_embed")
    unused = [name for name in left if not re.search(r"swin\.layernorm|encoder\.layernorm", name)]
    assert not unused, unused
    return made


def channel_by_channel(weight: torch.Tensor) -> torch.Tensor:
    """Four pixels times C channels as mmdet stores them, by its own published conversion of Swin."""
    wide = weight.reshape(*weight.shape[:-1], 4, weight.shape[-1] // 4)
    return wide[..., [0, 2, 1, 3], :].transpose(-1, -2).reshape(weight.shape).contiguous()


def mmdet_window_index(size: int) -> torch.Tensor:
    """How mmdet numbers the pairs of places in a window (`WindowMSA.double_step_seq`)."""
    first = torch.arange(0, (2 * size - 1) * size, 2 * size - 1)
    second = torch.arange(0, size)
    places = (first[:, None] + second[None, :]).reshape(1, -1)
    return (places + places.T).flip(1).contiguous()
