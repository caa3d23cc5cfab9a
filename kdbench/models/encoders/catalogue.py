"""Encoders by the names that suites and commands call them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.requirements import require
from kdbench.models.resizing import dialect

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

ENCODERS = {
    "inception": "the Inception of 2015-12-05, for FID, KID, precision and recall",
    "dinov2": "DINOv2's class token, for FD-DINOv2",
    "classifier": "the penultimate layer of an image classifier of transformers",
}


def load_encoder(
    name: str, weights: Path, resize: str | None = None, device: str = "cpu"
) -> ImageEncoder:
    """An encoder with its weights; `resize` names a dialect where the encoder has a choice.

    Raises `ModelError` for an unknown name, weights that don't fit, and a dialect that doesn't.
    """
    if name not in ENCODERS:
        raise ModelError(
            f"no encoder named {name!r}{did_you_mean(name, list(ENCODERS))}; known are "
            f"{', '.join(ENCODERS)}"
        )
    require("torch", "transformers", extra="images")
    if name == "inception":
        from kdbench.models.encoders.inception import InceptionEncoder

        return InceptionEncoder(weights, resize or "clean", device=device)
    if name == "dinov2":
        from kdbench.models.encoders.dinov2 import DinoV2Encoder

        return DinoV2Encoder(weights, dialect(resize or "dinov2"), device)
    from kdbench.models.encoders.classifier import ClassifierEncoder

    if resize is not None:
        raise ModelError(
            "a classifier's folder says how its images are resized; leave `resize` out"
        )
    return ClassifierEncoder(weights, device)
