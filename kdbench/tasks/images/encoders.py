"""Encoders by the names that metrics carry in brackets, described without being loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import TaskError, did_you_mean
from kdbench.models import weights
from kdbench.models.adapter import Download
from kdbench.models.encoders import classifier
from kdbench.models.resizing import DIALECTS

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

OWN = "classifier"
"""The name of the encoder that a suite brings along."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder that is not loaded: `file` is an entry of the manifest, or empty for the suite's own."""

    name: str
    network: str
    resize: str
    file: str
    open: Callable[[Path, str], ImageEncoder]
    folder: Path | None = None

    def protocol(self) -> str:
        """Network, weights and resizing, in a line."""
        if self.folder is None:
            return f"{self.network} {self.digest()[:12]}, {self.resize}"
        own = classifier.protocol(self.folder)
        return f"{self.network} {own['weights'][:12]}, {own['resize']}, {own['normalise']}"

    def digest(self) -> str:
        """sha256 of the weights, whole; a dialect needs no more than its beginning."""
        if self.folder is None:
            return weights.digest_of(self.file)
        return classifier.protocol(self.folder)["weights"]

    def downloads(self) -> list[Download]:
        return [] if self.folder is not None else weights.download(self.file)

    def fetch(self) -> None:
        if self.folder is None:
            weights.fetch(self.file)

    def load(self, device: str) -> ImageEncoder:
        """On a device; `ModelError` where the weights are missing or wrong."""
        return self.open(self.folder or weights.path_of(self.file), device)


def _inception(dialect: str, file: str) -> EncoderSpec:
    def opened(path: Path, device: str) -> ImageEncoder:
        from kdbench.models.encoders.inception import InceptionEncoder

        return InceptionEncoder(path, dialect, device=device)

    resize = DIALECTS[dialect].protocol()
    return EncoderSpec(dialect, "Inception 2015-12-05", resize, file, opened)


def _dinov2(path: Path, device: str) -> ImageEncoder:
    from kdbench.models.encoders.dinov2 import DinoV2Encoder

    return DinoV2Encoder(path, device=device)


def _clip(file: str, dialect: str) -> Callable[[Path, str], ImageEncoder]:
    def opened(path: Path, device: str) -> ImageEncoder:
        from kdbench.models.encoders.text_image import HuggingFaceClip

        digest = weights.digest_of(file)
        return HuggingFaceClip(path, file, digest, resize=DIALECTS[dialect], device=device)

    return opened


_TORCHSCRIPT, _STATE = "inception-torchscript", "inception-fid"
_B32, _L14 = "clip-vit-base-patch32", "clip-vit-large-patch14-336"

KNOWN: Mapping[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        _inception("clean", _TORCHSCRIPT),
        _inception("legacy_tensorflow", _TORCHSCRIPT),
        _inception("dmd2-256", _TORCHSCRIPT),
        _inception("legacy_pytorch", _STATE),
        _inception("torchmetrics", _STATE),
        EncoderSpec(
            "dinov2", "DINOv2 ViT-L/14", DIALECTS["dinov2"].protocol(), "dinov2-vitl14", _dinov2
        ),
        EncoderSpec(
            "clip-b32", "OpenAI CLIP ViT-B/32", DIALECTS["clip"].protocol(), _B32,
            _clip(_B32, "clip"),
        ),
        EncoderSpec(
            "clip-l14-336", "OpenAI CLIP ViT-L/14-336", DIALECTS["cmmd-336"].protocol(), _L14,
            _clip(_L14, "cmmd-336"),
        ),
    )
}  # fmt: skip
INCEPTIONS = frozenset(name for name, spec in KNOWN.items() if spec.network.startswith("Inception"))


def encoder_spec(name: str, own: Path | None) -> EncoderSpec:
    """The encoder called `name`; `own` is the folder of the suite's classifier, if it has one."""
    if name == OWN:
        if own is None:
            raise TaskError("the encoder 'classifier' needs `encoder`, the folder of one")
        return EncoderSpec(OWN, "image classifier", "", "", classifier.ClassifierEncoder, own)
    if name not in KNOWN:
        names = [*KNOWN, OWN]
        raise TaskError(
            f"no encoder named {name!r}{did_you_mean(name, names)}; known are {', '.join(names)}"
        )
    return KNOWN[name]


def device() -> str:
    """Where encoders run: a GPU where there is one."""
    from kdbench.models.loading import torch_device

    return torch_device("auto")
