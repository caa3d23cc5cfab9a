"""A Mask2Former that mmdet 2 trained, rewritten so that transformers reads it: no mmdet, no mmcv.

The network is the same; three things lie differently besides the names. Swin's and the decoder's
projections of query, key and value are fused in mmdet; and where four pixels are merged mmdet orders
channel by channel (torch's unfold), transformers pixel by pixel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.detectors.coco import CLASSES
from kdbench.models.file_hash import cache_dir, sha256_of
from kdbench.models.requirements import require
from kdbench.models.weights.manifest import placed_by_hand
from kdbench.models.weights.state import read_state
from kdbench.results.files import publish

if TYPE_CHECKING:
    import torch

CHECKPOINT = "mask2former-swin-s-mmdet"
"""The published weights' name in the manifest."""

NOTE = "conversion.json"
WEIGHTS = "model.safetensors"
VERSION = 1

SWIN_S: Mapping[str, Any] = {
    "model_type": "swin", "image_size": 224, "patch_size": 4, "embed_dim": 96,
    "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip

_ENCODER = "model.pixel_level_module.encoder"
_PIXELS = "model.pixel_level_module.decoder"
_QUERIES = "model.transformer_module"
_HEAD = r"panoptic_head"
_BLOCK = r"backbone\.stages\.(\d+)\.blocks\.(\d+)"
_LAYER = rf"{_HEAD}\.pixel_decoder\.encoder\.layers\.(\d+)"
_DECODER = rf"{_HEAD}\.transformer_decoder\.layers\.(\d+)"
_INTO_BLOCK = rf"{_ENCODER}.encoder.layers.\1.blocks.\2"
_INTO_LAYER = rf"{_PIXELS}.encoder.layers.\1"
_INTO_DECODER = rf"{_QUERIES}.decoder.layers.\1"

_NAMES = tuple(
    (re.compile(f"{pattern}\\Z"), new)
    for pattern, new in (
        (r"backbone\.patch_embed\.projection\.(\w+)",
         rf"{_ENCODER}.embeddings.patch_embeddings.projection.\1"),
        (r"backbone\.patch_embed\.norm\.(\w+)", rf"{_ENCODER}.embeddings.norm.\1"),
        (rf"{_BLOCK}\.norm1\.(\w+)", rf"{_INTO_BLOCK}.layernorm_before.\3"),
        (rf"{_BLOCK}\.norm2\.(\w+)", rf"{_INTO_BLOCK}.layernorm_after.\3"),
        (rf"{_BLOCK}\.attn\.w_msa\.proj\.(\w+)", rf"{_INTO_BLOCK}.attention.output.dense.\3"),
        (rf"{_BLOCK}\.attn\.w_msa\.(relative_position_bias_table)",
         rf"{_INTO_BLOCK}.attention.self.\3"),
        (rf"{_BLOCK}\.ffn\.layers\.0\.0\.(\w+)", rf"{_INTO_BLOCK}.intermediate.dense.\3"),
        (rf"{_BLOCK}\.ffn\.layers\.1\.(\w+)", rf"{_INTO_BLOCK}.output.dense.\3"),
        (r"backbone\.stages\.(\d+)\.downsample\.(norm|reduction)\.(\w+)",
         rf"{_ENCODER}.encoder.layers.\1.downsample.\2.\3"),
        (rf"{_HEAD}\.pixel_decoder\.input_convs\.(\d)\.conv\.(\w+)",
         rf"{_PIXELS}.input_projections.\1.0.\2"),
        (rf"{_HEAD}\.pixel_decoder\.input_convs\.(\d)\.gn\.(\w+)",
         rf"{_PIXELS}.input_projections.\1.1.\2"),
        (rf"{_LAYER}\.attentions\.0\.(\w+)\.(\w+)", rf"{_INTO_LAYER}.self_attn.\2.\3"),
        (rf"{_LAYER}\.norms\.0\.(\w+)", rf"{_INTO_LAYER}.self_attn_layer_norm.\2"),
        (rf"{_LAYER}\.norms\.1\.(\w+)", rf"{_INTO_LAYER}.final_layer_norm.\2"),
        (rf"{_LAYER}\.ffns\.0\.layers\.0\.0\.(\w+)", rf"{_INTO_LAYER}.fc1.\2"),
        (rf"{_LAYER}\.ffns\.0\.layers\.1\.(\w+)", rf"{_INTO_LAYER}.fc2.\2"),
        (rf"{_HEAD}\.pixel_decoder\.level_encoding\.weight", rf"{_PIXELS}.level_embed"),
        (rf"{_HEAD}\.pixel_decoder\.lateral_convs\.0\.conv\.(\w+)", rf"{_PIXELS}.adapter_1.0.\1"),
        (rf"{_HEAD}\.pixel_decoder\.lateral_convs\.0\.gn\.(\w+)", rf"{_PIXELS}.adapter_1.1.\1"),
        (rf"{_HEAD}\.pixel_decoder\.output_convs\.0\.conv\.(\w+)", rf"{_PIXELS}.layer_1.0.\1"),
        (rf"{_HEAD}\.pixel_decoder\.output_convs\.0\.gn\.(\w+)", rf"{_PIXELS}.layer_1.1.\1"),
        (rf"{_HEAD}\.pixel_decoder\.mask_feature\.(\w+)", rf"{_PIXELS}.mask_projection.\1"),
        (rf"{_HEAD}\.query_embed\.weight", rf"{_QUERIES}.queries_embedder.weight"),
        (rf"{_HEAD}\.query_feat\.weight", rf"{_QUERIES}.queries_features.weight"),
        (rf"{_HEAD}\.level_embed\.weight", rf"{_QUERIES}.level_embed.weight"),
        (rf"{_DECODER}\.attentions\.0\.attn\.(.+)", rf"{_INTO_DECODER}.cross_attn.\2"),
        (rf"{_DECODER}\.attentions\.1\.attn\.out_proj\.(\w+)",
         rf"{_INTO_DECODER}.self_attn.out_proj.\2"),
        (rf"{_DECODER}\.norms\.0\.(\w+)", rf"{_INTO_DECODER}.cross_attn_layer_norm.\2"),
        (rf"{_DECODER}\.norms\.1\.(\w+)", rf"{_INTO_DECODER}.self_attn_layer_norm.\2"),
        (rf"{_DECODER}\.norms\.2\.(\w+)", rf"{_INTO_DECODER}.final_layer_norm.\2"),
        (rf"{_DECODER}\.ffns\.0\.layers\.0\.0\.(\w+)", rf"{_INTO_DECODER}.fc1.\2"),
        (rf"{_DECODER}\.ffns\.0\.layers\.1\.(\w+)", rf"{_INTO_DECODER}.fc2.\2"),
        (rf"{_HEAD}\.transformer_decoder\.post_norm\.(\w+)", rf"{_QUERIES}.decoder.layernorm.\1"),
        (rf"{_HEAD}\.cls_embed\.(\w+)", r"class_predictor.\1"),
    )
)  # fmt: skip
_FUSED = (
    (re.compile(rf"{_BLOCK}\.attn\.w_msa\.qkv\.(weight|bias)\Z"),
     rf"{_INTO_BLOCK}.attention.self.{{}}.\3", ("query", "key", "value")),
    (re.compile(rf"{_DECODER}\.attentions\.1\.attn\.in_proj_(weight|bias)\Z"),
     rf"{_INTO_DECODER}.self_attn.{{}}.\2", ("q_proj", "k_proj", "v_proj")),
)  # fmt: skip
_MASK = re.compile(rf"{_HEAD}\.mask_embed\.([024])\.(\w+)\Z")
_NORM = re.compile(r"backbone\.norm(\d)\.(\w+)\Z")
_INDEX = re.compile(rf"{_BLOCK}\.attn\.w_msa\.relative_position_index\Z")


def renamed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint of mmdet 2 as the published ones of transformers are named and laid out.

    Raises `ModelError` for a weight that has no place there.
    """
    found: dict[str, torch.Tensor] = {}
    for name, weight in state.items():
        if _INDEX.match(name):
            _check_index(name, weight)
            continue
        fused = next((rule for rule in _FUSED if rule[0].match(name)), None)
        if fused is not None:
            pattern, new, parts = fused
            for part, own in zip(parts, weight.chunk(3), strict=True):
                found[pattern.sub(new, name).format(part)] = own.contiguous()
            continue
        if (mask := _MASK.match(name)) is not None:
            place = f"{_QUERIES}.decoder.mask_predictor.mask_embedder.{int(mask[1]) // 2}.0"
            found[f"{place}.{mask[2]}"] = weight
            continue
        if (norm := _NORM.match(name)) is not None:
            found[f"{_ENCODER}.hidden_states_norms.stage{int(norm[1]) + 1}.{norm[2]}"] = weight
            continue
        rule = next((rule for rule in _NAMES if rule[0].match(name)), None)
        if rule is None:
            raise ModelError(f"not a Mask2Former of mmdet 2: the weight {name} is not known")
        if ".downsample." in name:
            weight = pixel_by_pixel(weight)
        found[rule[0].sub(rule[1], name)] = weight
    return found


def pixel_by_pixel(weight: torch.Tensor) -> torch.Tensor:
    """The last axis, four pixels times C channels, from mmdet's order to that of transformers.

    mmdet counts channels first and, in each, the pixels (0, 0), (0, 1), (1, 0), (1, 1); transformers
    counts pixels (0, 0), (1, 0), (0, 1), (1, 1) first and, in each, the channels.
    """
    by_channel = weight.reshape(*weight.shape[:-1], weight.shape[-1] // 4, 4)
    return by_channel[..., [0, 2, 1, 3]].transpose(-1, -2).reshape(weight.shape).contiguous()


def window_index(size: int) -> torch.Tensor:
    """Which entry of the position table each pair of places in a window uses, shape [size^2, size^2].

    Source: Liu et al. (2021), "Swin Transformer", arXiv:2103.14030, as its reference code numbers them.
    """
    import torch

    place = torch.arange(size)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    down = rows[:, None] - rows[None, :] + size - 1
    right = columns[:, None] - columns[None, :] + size - 1
    return down * (2 * size - 1) + right


def _check_index(name: str, index: torch.Tensor) -> None:
    import torch

    if not torch.equal(index.long(), window_index(round(index.shape[0] ** 0.5))):
        raise ModelError(f"{name}: the places in a window are numbered otherwise than expected")


def convert(
    checkpoint: Path, folder: Path, backbone: Mapping[str, Any] = SWIN_S, **sizes: Any
) -> Path:
    """Write the checkpoint to `folder` as transformers reads it, with a note of both files' sha256.

    `sizes` are further keys of `Mask2FormerConfig`. Raises `ModelError` for what is no such checkpoint.
    """
    require("transformers", "torch", "torchvision", "safetensors", extra="images")
    from safetensors.torch import save
    from transformers import Mask2FormerConfig

    read: Any = read_state(checkpoint)
    state = renamed(read.get("state_dict", read))
    config = Mask2FormerConfig(
        backbone_config=dict(backbone),
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
        **sizes,
    )
    config.architectures = ["Mask2FormerForUniversalSegmentation"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    publish(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
    note = {
        "version": VERSION,
        "from": sha256_of(checkpoint),
        "sha256": sha256_of(folder / WEIGHTS),
    }
    publish(folder / NOTE, json.dumps(note, indent=1).encode())
    return folder


def converted_folder() -> Path:
    """Where the converted detector lies: beside the weights placed by hand, else in the cache."""
    by_hand = placed_by_hand()
    if by_hand is not None and (by_hand / f"{CHECKPOINT}-converted" / NOTE).is_file():
        return by_hand / f"{CHECKPOINT}-converted"
    return cache_dir() / "weights" / f"{CHECKPOINT}-converted"


def checked(folder: Path) -> dict[str, Any]:
    """The note of a converted detector, after its weights were found to be those that it tells of."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} holds no converted detector; `kdbench weights fetch {CHECKPOINT}` and "
            "`kdbench weights convert-geneval-detector` make it"
        ) from error
    digest = sha256_of(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else "missing"
    if note.get("version") != VERSION or note.get("sha256") != digest:
        raise ModelError(
            f"{folder / WEIGHTS} is not what was converted (sha256 {digest}, expected "
            f"{note.get('sha256')}); convert it anew: `kdbench weights convert-geneval-detector`"
        )
    return note
