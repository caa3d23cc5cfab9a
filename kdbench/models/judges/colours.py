"""The colour of a detected object, as GenEval asks CLIP for it.

The object is cut out along its mask, set on grey, cropped to its box, and compared with three sentences
for each of ten colours. Source: GenEval, `evaluate_images.py` (`ImageCrops`, `color_classification`), and
clip_benchmark's `zero_shot_classifier`. GenEval's own script gets another CLIP from open_clip 2.29 on, where
`ViT-L-14` with OpenAI's weights has lost its QuickGELU; here it has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kdbench.metrics.geneval import COLOURS
from kdbench.models.detectors.detector import Found
from kdbench.models.images import Image
from kdbench.models.resizing import Resize, resized

if TYPE_CHECKING:
    import torch

WEIGHTS = "clip-vit-large-patch14"
GREY = 0x99
TEMPLATES = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")


class TextImageEncoder(Protocol):
    """What a colour is read with: CLIP, or a small one in tests."""

    resize: Resize

    def encode(self, pixels: torch.Tensor) -> torch.Tensor: ...

    def encode_text(self, prompts: Sequence[str]) -> torch.Tensor: ...


class ColourJudge:
    """Names colours of objects; the sentences of a class are encoded once."""

    def __init__(self, encoder: TextImageEncoder) -> None:
        self.encoder = encoder
        self._known: dict[str, torch.Tensor] = {}

    def colours(self, image: Image, objects: Sequence[Found]) -> list[str]:
        """One of `COLOURS` for each object found in the image."""
        if not objects:
            return []
        crops = resized([cut_out(image, one) for one in objects], self.encoder.resize)
        features = _unit(self.encoder.encode(crops))
        return [
            COLOURS[int((feature @ self._sentences(one.label).T).argmax())]
            for feature, one in zip(features, objects, strict=True)
        ]

    def _sentences(self, label: str) -> torch.Tensor:
        """One direction for each colour, shape [10, d]: the mean of its three sentences'."""
        if label not in self._known:
            asked = [template.format(colour, label) for colour in COLOURS for template in TEMPLATES]
            features = _unit(self.encoder.encode_text(asked))
            mean = features.view(len(COLOURS), len(TEMPLATES), -1).mean(1)
            self._known[label] = _unit(mean)
        return self._known[label]


def cut_out(image: Image, one: Found) -> Image:
    """The object on grey, cropped to its box; what has no mask keeps its background.

    Borders are rounded as Pillow rounds them; a crop has at least one pixel, inside the image.
    """
    if one.mask is not None:
        image = np.where(one.mask[..., None], image, np.uint8(GREY))
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(side) for side in one.box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    x2, y2 = min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def load(device: str = "cpu") -> ColourJudge:
    """GenEval's: OpenAI's CLIP ViT-L/14; `ModelError` where its weights are missing."""
    from kdbench.models.encoders.text_image import HuggingFaceClip
    from kdbench.models.weights import digest_of, path_of

    folder = path_of(WEIGHTS)
    return ColourJudge(HuggingFaceClip(folder, WEIGHTS, digest_of(WEIGHTS), device=device))


def _unit(features: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    return normalize(features, dim=-1)
