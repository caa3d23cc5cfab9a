"""LPIPS as an embedding: the squared distance of two images' embeddings is their LPIPS.

For each layer LPIPS sums w_c (f1_c - f2_c)^2 over channels of unit-length features and averages over places.
The published w are not negative, so features times sqrt(w / places) are coordinates. n images of a prompt are
then n forward passes, not n (n - 1). The networks are torchmetrics'; its own function takes two images at a
time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdbench.errors import ModelError
from kdbench.models.encoders.encoder import exact
from kdbench.models.file_hash import digest_of, sha256_of
from kdbench.models.requirements import require
from kdbench.models.resizing import Resize

if TYPE_CHECKING:
    import torch

Backbone = Literal["alex", "vgg"]


class LpipsEncoder:
    """Zhang et al. (2018), "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1.

    `backbone` is the file of torchvision's ImageNet weights of AlexNet (or VGG16); the linear weights, of
    version 0.1, come with torchmetrics. Pixels are taken to -1..1, as the networks expect (DMD2's script
    gives 0..1). An embedding has hundreds of thousands of numbers: compare within a prompt, then drop it.
    """

    name = "lpips"

    def __init__(
        self,
        backbone: Path,
        net: Backbone = "alex",
        resize: Resize | None = None,
        device: str = "cpu",
    ) -> None:
        """Raises `ModelError` for weights that don't fit `net`."""
        require("torchmetrics", "torchvision", extra="images")
        import torch
        from torchmetrics.functional.image import lpips

        # torchmetrics keeps the class to itself, and its function only ever downloads the backbone
        network: Any = lpips._LPIPS(pretrained=True, net=net, pnet_rand=True)
        try:
            tensors = torch.load(backbone, map_location="cpu", weights_only=True)
            _fill(network.net, tensors)
        except Exception as error:  # torch raises whatever its parsers raise
            raise ModelError(f"{backbone}: not torchvision's weights of {net} ({error})") from error
        self.resize = resize or Resize(256, "lanczos-uint8", "square")
        self._net = net
        self._device = device
        self._network = network.eval().to(device)
        heads = {
            name: value for name, value in network.state_dict().items() if name.startswith("lin")
        }
        if any((value < 0).any() for value in heads.values()):
            raise ModelError(
                "the linear weights of LPIPS have become negative in this torchmetrics"
            )
        linear = Path(str(lpips.__file__)).parent / "lpips_models" / f"{net}.pth"
        self._digest = digest_of({"backbone": sha256_of(backbone), "linear": sha256_of(linear)})
        self.dimension = self.encode(torch.zeros(1, 3, self.resize.size, self.resize.size)).shape[1]

    def protocol(self) -> dict[str, str]:
        return {
            "encoder": f"{self.name} {self._net} 0.1",
            "weights": self._digest,
            "resize": self.resize.protocol(),
            "normalise": "-1..1",
            "dtype": "float32",
        }

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        with exact():
            x = self._network.scaling_layer(pixels.to(self._device) / 127.5 - 1)
            parts = []
            for head, features in zip(self._network.lins, self._network.net(x), strict=True):
                lengths = (features.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
                weights = head.model[-1].weight.view(1, -1, 1, 1)
                places = features.shape[2] * features.shape[3]
                parts.append((features / lengths * (weights / places).sqrt()).flatten(1))
            return torch.cat(parts, dim=1).float().cpu()


def _fill(network: Any, tensors: dict[str, torch.Tensor]) -> None:
    """torchvision's `features.N.weight` into slices that keep the number N."""
    convolutions = {
        name: tensor for name, tensor in tensors.items() if name.startswith("features.")
    }
    own = network.state_dict()
    taken = {name: convolutions["features." + name.partition(".")[2]] for name in own}
    network.load_state_dict(taken)
