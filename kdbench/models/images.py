"""Generating images: what is asked, what comes back, and arrays of colours as everything here holds them.

An image is a numpy array of uint8, shape (height, width, 3), red, green and blue. Teacher and student
are asked the same requests; a seed fixes the noise that an image begins from, whatever the batch and however
many steps follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from kdbench.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Image: TypeAlias = "NDArray[np.uint8]"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One image: of a prompt, of a class, or of neither (an empty prompt and no label).

    `number` counts the images that are asked of the same prompt or label, from 0; generators go by the
    seed, folders of images by the number.
    """

    prompt: str
    label: int | None
    seed: int
    number: int = 0


@runtime_checkable
class GeneratesImages(Protocol):
    """`steps` is the number of function evaluations of an image (NFE): a step with guidance is two.

    None where it is not known, or not before the first image.
    """

    @property
    def steps(self) -> int | None: ...

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[Image]:
        """One image for each request, in their order; sizes may differ."""
        ...


def checked(images: Sequence[Any], requests: Sequence[ImageRequest], whose: str) -> list[Image]:
    """`images` as they should be; `ModelError` for a wrong count, shape or type."""
    import numpy as np

    if len(images) != len(requests):
        raise ModelError(f"{whose}: {len(requests)} images were asked for, {len(images)} came back")
    for image in images:
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise ModelError(
                f"{whose}: an image is uint8 of shape (height, width, 3), got {array.dtype} "
                f"{array.shape}"
            )
    return [np.ascontiguousarray(image) for image in images]


def to_uint8(values: NDArray[Any]) -> Image:
    """Colours from 0 to 1, shape (..., 1 or 3), rounded to the nearest of 256 levels; grey becomes RGB.

    Rounding, not truncation, as diffusers and EDM do; torchmetrics and DMD2 truncate, another dialect.
    Raises `ModelError` for values that are not finite.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise ModelError(
            "the generator made values that are not finite (a smaller dtype's overflow?)"
        )
    levels: Image = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return levels.repeat(3, axis=-1) if levels.shape[-1] == 1 else levels
