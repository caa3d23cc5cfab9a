"""Judges that compare the direction of an image's features with that of its prompt's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError
from kdbench.metrics.clip_score import Scale, clip_scores
from kdbench.models.encoders import text_image
from kdbench.models.encoders.text_image import Cut, HuggingFaceClip, OpenClip
from kdbench.models.weights import digest_of, path_of

if TYPE_CHECKING:
    import torch

    from kdbench.models.judges.judge import JudgeSpec


class CosineJudge:
    """An encoder of images and texts, a prefix to every prompt, and a scale."""

    def __init__(self, encoder: HuggingFaceClip | OpenClip, scale: Scale, prefix: str = "") -> None:
        self.encoder, self.scale, self.prefix = encoder, scale, prefix
        self.resize = encoder.resize

    def scores(self, pixels: torch.Tensor, prompts: Sequence[str]) -> list[float]:
        """See `Judge.scores`."""
        if len(pixels) != len(prompts):
            raise ModelError(f"{len(pixels)} images came with {len(prompts)} prompts")
        images = self.encoder.encode(pixels)
        texts = self.encoder.encode_text([f"{self.prefix}{prompt}" for prompt in prompts])
        try:
            found = clip_scores(images.numpy(), texts.numpy(), self.scale)
        except ValueError as error:
            raise ModelError(f"{self.encoder.name}: {error}") from error
        return [float(score) for score in found]


def openai(
    spec: JudgeSpec,
    scale: Scale | None,
    device: str,
    *,
    prefix: str = "",
    cut: Cut = "end of text kept",
    activation: str = "quick_gelu",
    tokens: Callable[[Sequence[str]], torch.Tensor] | None = None,
) -> CosineJudge:
    """A judge on a CLIP of Hugging Face; without a `scale`, the model's own is used."""
    name = spec.weights[0]
    encoder = HuggingFaceClip(
        path_of(name), name, digest_of(name),
        activation=activation, cut=cut, tokens=tokens, resize=spec.resize, device=device,
    )  # fmt: skip
    return CosineJudge(encoder, scale or Scale(encoder.logit_scale), prefix)


def open_clip(
    spec: JudgeSpec, architecture: str, scale: Scale, device: str, *, photo_depicts: bool = False
) -> CosineJudge:
    """A judge on a model of open_clip."""
    name = spec.weights[0]
    weights: Path = path_of(name)
    encoder = OpenClip(
        weights, architecture, name, digest_of(name),
        tokens=text_image.photo_depicts if photo_depicts else None,
        resize=spec.resize, device=device,
    )  # fmt: skip
    return CosineJudge(encoder, scale)
