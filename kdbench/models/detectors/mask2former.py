"""Mask2Former in transformers, used as mmdet 2 uses it for GenEval.

The library's own processor squashes images to 384 x 384 and draws masks over each other, so sizes and
scores are made here. Source: mmdet 2.x, `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py` (test pipeline),
`maskformer_head.simple_test` and `maskformer_fusion_head.instance_postprocess`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.errors import ModelError
from kdbench.models.detectors.coco import CLASSES
from kdbench.models.detectors.detector import Found
from kdbench.models.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, normalised
from kdbench.models.images import Image
from kdbench.models.requirements import require

if TYPE_CHECKING:
    import torch

SHORT, LONG, MULTIPLE, GREY = 800, 1333, 32, 128.0
MOST = 100
TOGETHER = 4
UNUSED = re.compile(r"^criterion\.|encoder\.(swin\.)?layernorm\.|relative_position_index$")
"""Weights of the loss and of Swin's own last norm, which no detection uses, and tables that are made anew."""


class Mask2Former:
    """The network in a folder of transformers; `weights` says which one it is, for protocol ids."""

    certain = 0.9

    def __init__(self, folder: Path, name: str, weights: str, device: str = "cpu") -> None:
        """Raises `ModelError` where the folder holds no Mask2Former of 80 classes."""
        require("transformers", "torch", "torchvision", extra="images")
        from transformers import Mask2FormerForUniversalSegmentation

        try:
            read: Any = Mask2FormerForUniversalSegmentation.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"{folder}: no Mask2Former can be read ({error})") from error
        model, told = read
        lost = sorted(key for key in told["missing_keys"] if not UNUSED.search(key))
        if lost or model.config.num_labels != len(CLASSES):
            raise ModelError(
                f"{folder}: "
                + (f"{len(lost)} weights are missing ({lost[0]})" if lost else "")
                + ("" if lost else f"{model.config.num_labels} classes, {len(CLASSES)} expected")
            )
        self.model = model.float().eval().to(device)
        self.name, self.weights, self.device = name, weights, device

    def protocol(self) -> dict[str, str]:
        """See `Detector.protocol`."""
        return {"detector": self.name, "detector weights": self.weights, **HOW}

    def detect(self, images: Sequence[Image]) -> list[list[Found]]:
        """See `Detector.detect`; images of one size go through the network together."""
        import torch

        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(index)
        found: dict[int, list[Found]] = {}
        with torch.inference_mode():
            for own in by_shape.values():
                for start in range(0, len(own), TOGETHER):
                    part = own[start : start + TOGETHER]
                    pixels, size = prepared([images[index] for index in part], self.device)
                    seen = self.model(pixel_values=pixels)
                    for place, index in enumerate(part):
                        masks = _on_image(
                            seen.masks_queries_logits[place], tuple(pixels.shape[2:]), size,
                            images[index].shape[:2],
                        )  # fmt: skip
                        found[index] = instances(seen.class_queries_logits[place], masks)
        return [found[index] for index in range(len(images))]


HOW = {
    "detector input": f"short side {SHORT}, long side at most {LONG}, bilinear, padded to {MULTIPLE}",
    "detector scores": f"best {MOST} of query x class, probability x mean sigmoid inside the mask",
}


def prepared(images: Sequence[Image], device: str = "cpu") -> tuple[torch.Tensor, tuple[int, int]]:
    """Normalised pixels [N, 3, H, W] of images of one size, and the size (h, w) without the padding.

    Resizing is OpenCV's bilinear: no antialiasing, rounded to whole grey levels.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    height, width = images[0].shape[:2]
    scale = min(LONG / max(height, width), SHORT / min(height, width))
    h, w = int(height * scale + 0.5), int(width * scale + 0.5)
    pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float()
    if (h, w) != (height, width):
        pixels = interpolate(pixels, size=(h, w), mode="bilinear", align_corners=False)
        pixels = pixels.round_().clamp_(0, 255)
    right, below = -w % MULTIPLE, -h % MULTIPLE
    pixels = pad(pixels, (0, right, 0, below), value=GREY)
    return normalised(pixels, IMAGENET_MEAN, IMAGENET_STD), (h, w)


def _on_image(
    masks: torch.Tensor, padded: tuple[int, ...], size: tuple[int, int], original: tuple[int, ...]
) -> torch.Tensor:
    """Mask logits [Q, h, w] on the original image: to the padded input, padding off, then back."""
    from torch.nn.functional import interpolate

    masks = interpolate(masks[None], size=padded, mode="bilinear", align_corners=False)
    masks = masks[..., : size[0], : size[1]]
    back: torch.Tensor = interpolate(masks, size=original, mode="bilinear", align_corners=False)[0]
    return back


def instances(
    classes: torch.Tensor, masks: torch.Tensor, labels: Sequence[str] = CLASSES, most: int = MOST
) -> list[Found]:
    """Objects from class logits [Q, C + 1] and mask logits [Q, H, W] on the image.

    The last class is "no object". The best `most` pairs of query and class are taken, so a query may
    stand for several classes; their score is multiplied by how sure the mask is of its own inside.
    """
    shares = classes.softmax(-1)[:, :-1].flatten()
    scores, pairs = shares.topk(min(most, len(shares)))
    found = []
    queries: dict[int, tuple[float, tuple[float, float, float, float], Any]] = {}
    for score, pair in zip(scores.tolist(), pairs.tolist(), strict=True):
        query, label = divmod(pair, len(labels))
        if query not in queries:
            inside = masks[query] > 0
            sure = float((masks[query].sigmoid() * inside).sum() / (inside.sum() + 1e-6))
            mask = inside.cpu().numpy()
            queries[query] = (sure, _box(mask), mask)
        sure, box, mask = queries[query]
        found.append(Found(labels[label], score * sure, box, mask))
    return found


def _box(mask: Any) -> tuple[float, float, float, float]:
    """Corners around a mask, the far ones beyond its last pixel; zeros around nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
