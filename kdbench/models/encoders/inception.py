"""Features of the Frechet and Kernel Inception Distance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.encoders.encoder import exact
from kdbench.models.encoders.inception_weights import digest
from kdbench.models.resizing import Resize, dialect

if TYPE_CHECKING:
    import torch


class InceptionEncoder:
    """The Inception of 2015-12-05 in one dialect.

    `layer` is the features' width: 2048 (FID, KID), 768, 192 or 64. The dialects `clean`,
    `legacy_tensorflow`, `torchmetrics` and `dmd2-256` normalise by (x - 128) / 128, `legacy_pytorch` by
    x / 127.5 - 1, as their tools do. `weights` is NVIDIA's TorchScript or the .pth of pytorch-fid.
    """

    name = "inception-2015-12-05"

    def __init__(
        self,
        weights: Path,
        resize: Resize | str = "clean",
        layer: int = 2048,
        device: str = "cpu",
    ) -> None:
        import torch

        from kdbench.models.encoders.inception_network import LAYERS, InceptionNetwork
        from kdbench.models.encoders.inception_weights import load

        if layer not in LAYERS:
            raise ModelError(
                f"Inception has features of width {', '.join(map(str, LAYERS))}, not {layer}"
            )
        self.resize = dialect(resize) if isinstance(resize, str) else resize
        if self.resize.size != 299:
            raise ModelError(
                f"Inception takes 299 x 299 pixels, and {self.resize.name} gives others"
            )
        self.dimension = layer
        self._device = device
        network: Any = InceptionNetwork(layer)
        digest(weights)  # a missing file has its own message
        load(network, weights)
        self._weights = weights
        self._network = network.eval().to(device=device, memory_format=torch.channels_last)

    def protocol(self) -> dict[str, str]:
        return protocol(self._weights, self.resize, self.dimension)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        with exact():
            x = pixels.to(self._device)
            x = x / 127.5 - 1 if _halved(self.resize) else (x - 128) / 128
            found: torch.Tensor = self._network(x.contiguous(memory_format=torch.channels_last))
            return found.float().cpu()


def protocol(weights: Path, resize: Resize, layer: int = 2048) -> dict[str, str]:
    """The dialect in parts, from the files alone."""
    return {
        "encoder": InceptionEncoder.name,
        "weights": digest(weights),
        "resize": resize.protocol(),
        "normalise": "x / 127.5 - 1" if _halved(resize) else "(x - 128) / 128",
        "features": str(layer),
        "dtype": "float32",
    }


def _halved(resize: Resize) -> bool:
    return resize.filter == "bilinear-pytorch"
