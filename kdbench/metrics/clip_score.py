"""CLIPScore: how well an image fits a text, from their features; every dialect of the field by its name.

Dialects differ by network, resizing, prefix, cut of long texts and scale, so their numbers are never
comparable with each other. What is here is the last step: from features to scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class Scale:
    """From a cosine to a score: `factor` times it, and with `floor` nothing below 0."""

    factor: float
    floor: bool = False


SCALES: Mapping[str, Scale] = {
    "hessel": Scale(2.5, floor=True),
    "torchmetrics": Scale(100.0),
    "dmd2": Scale(1.0),
    "logit": Scale(100.0),
}
"""`hessel`: Hessel et al. (2021), "CLIPScore", arXiv:2104.08718, w * max(cos, 0) with w = 2.5.
`torchmetrics`: 100 cos for every pair; only the mean is kept from falling below 0. `dmd2` (also SiD-LSG,
GigaGAN): the cosine. `logit` (Sana, Taited/clip-score): the network's own factor, 100 in OpenAI's weights."""


def cosines(images: ArrayLike, texts: ArrayLike) -> Floats:
    """Cosine of each image with its own text, shape [N], from features of shape [N, d].

    Raises `ValueError` where the shapes differ, or where a vector is 0 or not finite.
    """
    import numpy as np

    one, other = (np.asarray(values, dtype=np.float64) for values in (images, texts))
    if one.ndim != 2 or one.shape != other.shape or not one.size:
        raise ValueError(f"images and texts need one shape [N, d], got {one.shape}, {other.shape}")
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise ValueError("a feature vector is 0 or not finite, so it has no direction")
    found: Floats = (one * other).sum(axis=1) / lengths
    return found


def clip_scores(images: ArrayLike, texts: ArrayLike, scale: Scale) -> Floats:
    """Scores of pairs, shape [N], from their features of shape [N, d]; errors as `cosines`."""
    import numpy as np

    found = scale.factor * cosines(images, texts)
    return np.maximum(found, 0.0) if scale.floor else found


def torchmetrics_clip_score(images: ArrayLike, texts: ArrayLike) -> float:
    """What `torchmetrics.functional.multimodal.clip_score` returns: the mean, not below 0."""
    return max(float(clip_scores(images, texts, SCALES["torchmetrics"]).mean()), 0.0)
