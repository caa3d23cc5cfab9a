"""Features of FD-DINOv2: the class token of a self-supervised vision transformer.

Stein et al. (2023), "Exposing flaws of generative model evaluation metrics and their unfair treatment of
diffusion models", found that they follow people's judgement where Inception's don't.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.checkpoint import Checkpoint
from kdbench.models.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, exact, normalised
from kdbench.models.file_hash import sha256_of
from kdbench.models.resizing import DIALECTS, Resize

if TYPE_CHECKING:
    import torch

_OFFSET = 0.1
"""What the published code adds to the grid before it stretches the position table."""

_RENAMED = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"^blocks\.(\d+)\.ls([12])\.gamma$", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^blocks\.(\d+)\.mlp\.w12\.", r"encoder.layer.\1.mlp.weights_in."),
    (r"^blocks\.(\d+)\.mlp\.w3\.", r"encoder.layer.\1.mlp.weights_out."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
)


class DinoV2Encoder:
    """transformers' Dinov2Model on the published weights.

    `weights` is a folder as `save_pretrained` writes it or Meta's own .pth. The position table is
    stretched once, as Meta's code does it, so that 224 pixels give what `torch.hub` gives.
    """

    name = "dinov2"

    def __init__(
        self, weights: Path, resize: Resize = DIALECTS["dinov2"], device: str = "cpu"
    ) -> None:
        """Raises `ModelError` for weights that are not DINOv2's or a size that its patches don't divide."""
        import torch

        model = _folder(weights) if weights.is_dir() else _published(weights)
        patch = int(model.config.patch_size)
        if resize.size % patch:
            raise ModelError(
                f"{weights}: patches of {patch} pixels don't divide an image of {resize.size}"
            )
        table = model.embeddings.position_embeddings
        model.embeddings.position_embeddings = torch.nn.Parameter(
            stretched(table.detach(), resize.size // patch), requires_grad=False
        )
        self.resize = resize
        self._weights = weights
        self.dimension = int(model.config.hidden_size)
        self._device = device
        self._model = model.float().eval().to(device)

    def protocol(self) -> dict[str, str]:
        return protocol(self._weights, self.resize)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        with exact():
            x = normalised(pixels.to(self._device), IMAGENET_MEAN, IMAGENET_STD)
            found: torch.Tensor = self._model(pixel_values=x).pooler_output
            return found.float().cpu()


def protocol(weights: Path, resize: Resize = DIALECTS["dinov2"]) -> dict[str, str]:
    """The dialect in parts, from the files alone; `ModelError` where they are missing."""
    if not weights.exists():
        raise ModelError(f"{weights}: no such file or folder; it should hold the weights of DINOv2")
    digest = Checkpoint(weights).weights_digest() if weights.is_dir() else sha256_of(weights)
    return {
        "encoder": DinoV2Encoder.name,
        "weights": digest,
        "resize": resize.protocol(),
        "normalise": "ImageNet",
        "features": "class token",
        "dtype": "float32",
    }


def stretched(table: torch.Tensor, side: int) -> torch.Tensor:
    """A position table [1, 1 + n^2, d] for `side` x `side` patches instead of n x n.

    Source: interpolate_pos_encoding of DINOv2: bicubic, with the scale (side + 0.1) / n.
    """
    import torch

    own = math.isqrt(table.shape[1] - 1)
    if own == side:
        return table
    grid = table[:, 1:].reshape(1, own, own, -1).permute(0, 3, 1, 2).float()
    scale = (side + _OFFSET) / own
    grid = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _folder(folder: Path) -> Any:
    from transformers import Dinov2Model

    files = Checkpoint(folder)
    if (kind := files.config.get("model_type")) != "dinov2":
        raise ModelError(f"{folder}: expected weights of DINOv2, found model_type {kind!r}")
    return Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True)


def _published(file: Path) -> Any:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    if not file.is_file():
        raise ModelError(f"{file}: no such file or folder; it should hold the weights of DINOv2")
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
        table, patches = tensors["pos_embed"], tensors["patch_embed.proj.weight"]
        layers = 1 + max(int(name.split(".")[1]) for name in tensors if name[:7] == "blocks.")
    except Exception as error:  # torch raises whatever its parsers raise
        raise ModelError(f"{file}: not the weights of DINOv2 ({error}); fetch it again") from error
    width, patch = table.shape[-1], patches.shape[-1]
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        image_size=patch * math.isqrt(table.shape[1] - 1),
        patch_size=patch,
        use_swiglu_ffn="blocks.0.mlp.w12.weight" in tensors,
    )
    loaded: Any = Dinov2Model.from_pretrained(
        None, config=config, state_dict=renamed(tensors), output_loading_info=True
    )
    model, report = loaded
    absent = sorted(report["missing_keys"]) + sorted(report["unexpected_keys"])
    if absent:
        raise ModelError(f"{file}: not the weights of DINOv2 ({absent[0]} doesn't fit)")
    return model


def renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Meta's names as transformers publishes them; queries, keys and values apart."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        joint = re.match(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", name)
        if joint:
            layer, kind = joint.groups()
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            for part, own in parts:
                found[f"encoder.layer.{layer}.attention.attention.{part}.{kind}"] = own
            continue
        for pattern, name_there in _RENAMED:
            if re.match(pattern, name):
                name = re.sub(pattern, name_there, name)
                break
        found[name] = tensor
    return found
