"""Images of 8 bits to the square of floats that an encoder takes: each way of the field a named dialect.

Scores of one network under two dialects differ by more than models do, so a dialect is part of every
protocol id. A `Resize` is exact about four things: the size, whether the filter widens with the scale
(antialiasing) and where pixel centres lie, whether the result is rounded to 8 bits, and what is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kdbench.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"
"""An image [H, W, 3], RGB."""

Filter = Literal[
    "bicubic",  # antialiased, kept as floats: Pillow's in its 32-bit float mode, clipped to 0..255
    "bilinear",  # antialiased, kept as floats
    "bilinear-pytorch",  # no antialiasing, half-pixel centres
    "bilinear-tf1",  # no antialiasing, corners at the origin: TensorFlow 1
    "bicubic-uint8",  # Pillow on 8 bits: antialiased and rounded
    "lanczos-uint8",
]
Crop = Literal[
    "none",  # squashed to the square
    "square",  # the middle square is cut out, then resized
    "short-side",  # the shorter side is resized, then the middle square cut out
    "long-side",  # the longer side is resized, the rest of the square filled with black
]


@dataclass(frozen=True, slots=True)
class Resize:
    """One dialect. `before` is a step of 8 bits that comes first (DMD2 shrinks to 256)."""

    size: int
    filter: Filter = "bicubic"
    crop: Crop = "none"
    before: Resize | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ModelError(f"images are resized to at least 1 pixel, not {self.size}")
        if self.before is not None and not self.before.rounds:
            raise ModelError(f"a first step ends in 8 bits, which {self.before.filter} does not")
        if self.crop.endswith("-side") and not self.rounds:
            raise ModelError(f"the crop {self.crop} goes with 8-bit filters, not {self.filter}")

    @property
    def rounds(self) -> bool:
        """The result holds whole grey levels."""
        return self.filter.endswith("-uint8")

    @property
    def name(self) -> str:
        """The dialect's name among `DIALECTS`, else what it does."""
        return next((name for name, how in DIALECTS.items() if how == self), self.protocol())

    def protocol(self) -> str:
        """All of it in words, for protocol ids."""
        crop = "square crop, " if self.crop == "square" else ""
        end = {"short-side": ", crop", "long-side": ", black border"}.get(self.crop, "")
        own = f"{crop}{self.filter} {self.size}{end}"
        return own if self.before is None else f"{self.before.protocol()}, then {own}"


_SHRUNK = Resize(256, "lanczos-uint8", "square")

DIALECTS: Mapping[str, Resize] = {
    "clean": Resize(299, "bicubic"),
    "legacy_pytorch": Resize(299, "bilinear-pytorch"),
    "legacy_tensorflow": Resize(299, "bilinear-tf1"),
    "torchmetrics": Resize(299, "bilinear"),
    "dmd2-256": Resize(299, "bicubic", before=_SHRUNK),
    "clip": Resize(224, "bicubic-uint8", "short-side"),
    "clip-336": Resize(336, "bicubic-uint8", "short-side"),
    "cmmd-336": Resize(336, "bicubic-uint8", "square"),
    "dinov2": Resize(224, "bicubic-uint8"),
    "hpsv2": Resize(224, "bicubic-uint8", "long-side"),
}
"""`clean` as clean-fid, `legacy_pytorch` as pytorch-fid, `legacy_tensorflow` as TTUR, EDM and torch-fidelity,
`torchmetrics` as torchmetrics since 1.8, `dmd2-256` as DMD2 on COCO-30k, `clip` as OpenAI's and open_clip's
preprocessing, `cmmd-336` as google-research's CMMD, `dinov2` as dgm-eval, `hpsv2` as HPSv2."""


def dialect(name: str) -> Resize:
    """A dialect by its name; `ModelError` for one that is not known."""
    if name not in DIALECTS:
        raise ModelError(
            f"no resizing named {name!r}{did_you_mean(name, list(DIALECTS))}; known are "
            f"{', '.join(DIALECTS)}"
        )
    return DIALECTS[name]


def resized(images: Sequence[Pixels], how: Resize, device: str = "cpu") -> torch.Tensor:
    """Images [H, W, 3] of 8 bits and any sizes as one float32 tensor [N, 3, S, S] in 0..255.

    Float filters run on `device`, images of one size together; filters of 8 bits are Pillow's. An image
    alone gives the same numbers as among others. Raises `ModelError` for what is not such an image.
    """
    import numpy as np
    import torch

    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ModelError(
                f"an image has 8 bits and shape (height, width, 3), got {image.dtype} {image.shape}"
            )
    if how.before is not None:
        images = [_rounded(image, how.before) for image in images]
    found = torch.empty((len(images), 3, how.size, how.size), device=device)
    if how.rounds:
        for index, image in enumerate(images):
            found[index] = torch.from_numpy(_rounded(image, how)).permute(2, 0, 1)
        return found
    if how.crop == "square":
        images = [_middle(image, min(image.shape[:2])) for image in images]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for own in by_shape.values():
        batch = torch.from_numpy(np.stack([images[index] for index in own]))
        batch = batch.to(device).permute(0, 3, 1, 2).float()
        found[own] = _floats(batch, how)
    return found


def _floats(batch: torch.Tensor, how: Resize) -> torch.Tensor:
    from torch.nn.functional import interpolate

    if batch.shape[2:] == (how.size, how.size):
        return batch
    if how.filter == "bilinear-tf1":
        return _tf1(batch, how.size)
    mode = "bicubic" if how.filter == "bicubic" else "bilinear"
    smooth = how.filter != "bilinear-pytorch"
    size = (how.size, how.size)
    found: torch.Tensor = interpolate(
        batch, size=size, mode=mode, align_corners=False, antialias=smooth
    )
    return found.clamp_(0, 255)  # a bicubic kernel overshoots


def _tf1(batch: torch.Tensor, size: int) -> torch.Tensor:
    """TensorFlow 1's bilinear: output i looks at i * in / out, the next pixel, and nothing beyond.

    Source: resize_bilinear of TensorFlow 1 with align_corners and half_pixel_centers false.
    """
    import numpy as np
    import torch

    def along(values: torch.Tensor, dim: int) -> torch.Tensor:
        length = values.shape[dim]
        at = torch.arange(size, dtype=torch.float32, device=values.device)
        at *= float(np.float32(length / size))
        low = at.long()
        shape = [1] * values.dim()
        shape[dim] = size
        share = (at - low).view(shape)
        first = values.index_select(dim, low)
        second = values.index_select(dim, (low + 1).clamp_max(length - 1))
        return first + (second - first) * share

    return along(along(batch, 3), 2)


def _rounded(image: Pixels, how: Resize) -> Pixels:
    """Pillow's resize on 8 bits, cropped before or after."""
    import numpy as np
    from PIL import Image

    kind: Any = Image.Resampling.BICUBIC
    if how.filter == "lanczos-uint8":
        kind = Image.Resampling.LANCZOS
    height, width = image.shape[:2]
    short = min(height, width)
    if how.crop == "square":
        image, target = _middle(image, short), (how.size, how.size)
    elif how.crop == "short-side":
        longer = int(how.size * max(height, width) / short)
        target = (how.size, longer) if width <= height else (longer, how.size)
    elif how.crop == "long-side":
        scale = how.size / max(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    else:
        target = (how.size, how.size)
    done = np.array(Image.fromarray(image).resize(target, kind))
    if how.crop == "long-side":
        return _bordered(done, how.size)
    return _middle_rounded(done, how.size) if how.crop == "short-side" else done


def _bordered(image: Pixels, side: int) -> Pixels:
    import numpy as np

    top, left = ((side - length) // 2 for length in image.shape[:2])
    found = np.zeros((side, side, 3), dtype=np.uint8)
    found[top : top + image.shape[0], left : left + image.shape[1]] = image
    return found


def _middle(image: Pixels, side: int) -> Pixels:
    import numpy as np

    top, left = ((length - side) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _middle_rounded(image: Pixels, side: int) -> Pixels:
    # half pixels go to the even neighbour, as in torchvision's CenterCrop
    top, left = (round((length - side) / 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]
