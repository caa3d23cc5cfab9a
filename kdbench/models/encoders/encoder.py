"""What every image encoder has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from kdbench.models.resizing import Resize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(Protocol):
    """A network bound to its weights, its resizing and a device."""

    name: str
    dimension: int
    resize: Resize

    def protocol(self) -> dict[str, str]:
        """The dialect in parts: network, sha256 of the weights, resizing, normalisation, dtype."""
        ...

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features [N, dimension], float32 on the CPU, of pixels [N, 3, S, S] in 0..255 (see `resized`)."""
        ...


@contextmanager
def exact() -> Iterator[None]:
    """Inference in whole float32.

    On recent GPUs torch lets convolutions round their inputs to TF32 unless it is told not to, and
    features then differ in the third digit.
    """
    import torch

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def normalised(
    pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """(pixels / 255 - mean) / std, channel by channel."""
    import torch

    shape = (1, len(mean), 1, 1)
    middle = torch.tensor(mean, device=pixels.device).view(shape)
    spread = torch.tensor(std, device=pixels.device).view(shape)
    return (pixels / 255 - middle) / spread
