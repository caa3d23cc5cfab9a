"""Encoders by the names that commands call them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.checkpoint import Checkpoint
from kdbench.models.encoders import classifier, dinov2, inception
from kdbench.models.requirements import require
from kdbench.models.resizing import dialect
from kdbench.models.weights import digest_of, path_of

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

_INCEPTION = {
    "clean": "inception-torchscript",
    "legacy_tensorflow": "inception-torchscript",
    "dmd2-256": "inception-torchscript",
    "legacy_pytorch": "inception-fid",
    "torchmetrics": "inception-fid",
}
_CLIP = {
    "clip-b32": ("clip-vit-base-patch32", "clip"),
    "clip-l14-336": ("clip-vit-large-patch14-336", "cmmd-336"),
}
ENCODERS = (*_INCEPTION, "dinov2", *_CLIP, "classifier")
"""Inception in its dialects, then DINOv2, CLIP as FD-CLIP and as CMMD see, and one's own classifier."""


def load_encoder(name: str, weights: Path | None = None, device: str = "cpu") -> ImageEncoder:
    """An encoder with its weights: a path, or those that the manifest names for it.

    Raises `ModelError` for an unknown name and for weights that are missing or don't fit.
    """
    if name not in ENCODERS:
        raise ModelError(
            f"no encoder named {name!r}{did_you_mean(name, list(ENCODERS))}; known are "
            f"{', '.join(ENCODERS)}"
        )
    if name == "classifier" and weights is None:
        raise ModelError("the encoder classifier is one's own: name its folder as its weights")
    require("torch", "transformers", extra="images")
    if name in _INCEPTION:
        return inception.InceptionEncoder(weights or path_of(_INCEPTION[name]), name, device=device)
    if name == "dinov2":
        return dinov2.DinoV2Encoder(weights or path_of("dinov2-vitl14"), device=device)
    if name in _CLIP:
        return _clip(*_CLIP[name], weights, device)
    assert weights is not None
    return classifier.ClassifierEncoder(weights, device)


def _clip(published: str, how: str, weights: Path | None, device: str) -> ImageEncoder:
    from kdbench.models.encoders.text_image import HuggingFaceClip

    digest = digest_of(published) if weights is None else Checkpoint(weights).weights_digest()
    place = path_of(published) if weights is None else weights
    return HuggingFaceClip(place, published, digest, resize=dialect(how), device=device)
