"""Encoders by the names that suites and commands call them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.encoders import classifier, dinov2, inception
from kdbench.models.requirements import require
from kdbench.models.resizing import dialect
from kdbench.models.weights import path_of

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

WEIGHTS = {"inception": "inception-torchscript", "dinov2": "dinov2-vitl14"}
"""What each encoder reads where no path is given, by its name in the manifest."""

ENCODERS = (*WEIGHTS, "classifier")


def encoder_protocol(
    name: str, weights: Path | None = None, resize: str | None = None
) -> dict[str, str]:
    """What the encoder's `protocol()` will be, from its files alone: torch is not imported.

    Raises `ModelError` as `load_encoder` does for names, and for files that are missing.
    """
    place = _checked(name, weights, resize)
    if name == "inception":
        return inception.protocol(place, dialect(resize or "clean"))
    if name == "dinov2":
        return dinov2.protocol(place, dialect(resize or "dinov2"))
    return classifier.protocol(place)


def load_encoder(
    name: str, weights: Path | None = None, resize: str | None = None, device: str = "cpu"
) -> ImageEncoder:
    """An encoder with its weights: a path, or those that the manifest names for it.

    `resize` names a dialect where the encoder has a choice. Raises `ModelError` for an unknown name,
    weights that are missing or don't fit, and a dialect that doesn't.
    """
    place = _checked(name, weights, resize)
    require("torch", "transformers", extra="images")
    if name == "inception":
        return inception.InceptionEncoder(place, resize or "clean", device=device)
    if name == "dinov2":
        return dinov2.DinoV2Encoder(place, dialect(resize or "dinov2"), device)
    return classifier.ClassifierEncoder(place, device)


def _checked(name: str, weights: Path | None, resize: str | None) -> Path:
    if name not in ENCODERS:
        raise ModelError(
            f"no encoder named {name!r}{did_you_mean(name, list(ENCODERS))}; known are "
            f"{', '.join(ENCODERS)}"
        )
    if name == "classifier" and resize is not None:
        raise ModelError(
            "a classifier's folder says how its images are resized; leave `resize` out"
        )
    if weights is not None:
        return weights
    if name not in WEIGHTS:
        raise ModelError(f"the encoder {name} has no published weights; name its folder")
    return path_of(WEIGHTS[name])
