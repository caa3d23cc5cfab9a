"""Encoders by the names that metrics and commands call them, described without being loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError, did_you_mean
from kdbench.models import weights
from kdbench.models.adapter import Download
from kdbench.models.checkpoint import Checkpoint
from kdbench.models.encoders import classifier
from kdbench.models.file_hash import sha256_of
from kdbench.models.requirements import require
from kdbench.models.resizing import DIALECTS

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

OWN = "classifier"
"""The name of the encoder that a person brings along, a folder of their own."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """An encoder that is not loaded.

    `dialect` names its resizing and `file` the manifest's entry of its weights; both are empty for one's
    own. `place` is where the weights lie if not where the manifest's do.
    """

    name: str
    network: str
    dialect: str
    file: str
    open: Callable[[EncoderSpec, Path, str], ImageEncoder]
    place: Path | None = None

    def protocol(self) -> str:
        """Network, weights and resizing, in a line."""
        if self.name == OWN:
            own = classifier.protocol(self._own())
            return f"{self.network} {own['weights'][:12]}, {own['resize']}, {own['normalise']}"
        return f"{self.network} {self.digest()[:12]}, {DIALECTS[self.dialect].protocol()}"

    def digest(self) -> str:
        """sha256 of the weights, whole; a dialect needs no more than its beginning."""
        if self.name == OWN:
            return classifier.protocol(self._own())["weights"]
        if self.place is None:
            return weights.digest_of(self.file)
        folder = self.place.is_dir()
        return Checkpoint(self.place).weights_digest() if folder else sha256_of(self.place)

    def downloads(self) -> list[Download]:
        return weights.download(self.file) if self._published else []

    def fetch(self) -> None:
        if self._published:
            weights.fetch(self.file)

    def load(self, device: str = "cpu") -> ImageEncoder:
        """On a device; `ModelError` where the weights are missing or wrong."""
        require("torch", "transformers", extra="images")
        if self.name == OWN:
            return self.open(self, self._own(), device)
        return self.open(self, self.place or weights.path_of(self.file), device)

    @property
    def _published(self) -> bool:
        return self.place is None and self.name != OWN

    def _own(self) -> Path:
        if self.place is None:
            raise ModelError(_NAMELESS)
        return self.place


def _inception(spec: EncoderSpec, place: Path, device: str) -> ImageEncoder:
    from kdbench.models.encoders.inception import InceptionEncoder

    return InceptionEncoder(place, spec.dialect, device=device)


def _dinov2(spec: EncoderSpec, place: Path, device: str) -> ImageEncoder:
    from kdbench.models.encoders.dinov2 import DinoV2Encoder

    return DinoV2Encoder(place, DIALECTS[spec.dialect], device)


def _clip(spec: EncoderSpec, place: Path, device: str) -> ImageEncoder:
    from kdbench.models.encoders.text_image import HuggingFaceClip

    resize = DIALECTS[spec.dialect]
    return HuggingFaceClip(place, spec.file, spec.digest(), resize=resize, device=device)


def _classifier(spec: EncoderSpec, place: Path, device: str) -> ImageEncoder:
    return classifier.ClassifierEncoder(place, device)


_NETWORK = "Inception 2015-12-05"
_TORCHSCRIPT, _STATE = "inception-torchscript", "inception-fid"
_B32, _L14 = "clip-vit-base-patch32", "clip-vit-large-patch14-336"

ENCODERS: Mapping[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec("clean", _NETWORK, "clean", _TORCHSCRIPT, _inception),
        EncoderSpec("legacy_tensorflow", _NETWORK, "legacy_tensorflow", _TORCHSCRIPT, _inception),
        EncoderSpec("dmd2-256", _NETWORK, "dmd2-256", _TORCHSCRIPT, _inception),
        EncoderSpec("legacy_pytorch", _NETWORK, "legacy_pytorch", _STATE, _inception),
        EncoderSpec("torchmetrics", _NETWORK, "torchmetrics", _STATE, _inception),
        EncoderSpec("dinov2", "DINOv2 ViT-L/14", "dinov2", "dinov2-vitl14", _dinov2),
        EncoderSpec("clip-b32", "OpenAI CLIP ViT-B/32", "clip", _B32, _clip),
        EncoderSpec("clip-l14-336", "OpenAI CLIP ViT-L/14-336", "cmmd-336", _L14, _clip),
        EncoderSpec(OWN, "image classifier", "", "", _classifier),
    )
}
"""Inception in its dialects, DINOv2, CLIP as FD-CLIP and as CMMD see, and one's own classifier."""

_NAMELESS = f"the encoder {OWN} is one's own: name its folder (in a suite with `encoder`)"

INCEPTIONS = frozenset(name for name, spec in ENCODERS.items() if spec.network == _NETWORK)


def encoder_spec(name: str, place: Path | None = None) -> EncoderSpec:
    """The encoder called `name`, with the manifest's weights or those at `place`.

    Raises `ModelError` for an unknown name, and for one's own without a folder.
    """
    if name not in ENCODERS:
        raise ModelError(
            f"no encoder named {name!r}{did_you_mean(name, list(ENCODERS))}; known are "
            f"{', '.join(ENCODERS)}"
        )
    if name == OWN and place is None:
        raise ModelError(_NAMELESS)
    return replace(ENCODERS[name], place=place)
